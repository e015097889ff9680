// Files of splines, from a stranger. The first byte chooses what the rest is: 0 a spline (JSON or .npz, as
// its bytes say), 1 one array of NumPy, 2 a spline that is compiled, too, if it is small. Whatever is
// accepted must be what the headers promise; a broken promise aborts.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "core/format/npy.h"
#include "core/spline/compile/compile.h"
#include "core/spline/compile/spline_file.h"
#include "tests/fuzz/fuzzer.h"
#include "tests/testing/temp_dir.h"

namespace splineserve {
namespace {

constexpr const char* kJson[] = {
    R"({"x": [0, 1, 3], "c": [[[1, 0], [2, 0]], [[0, -1], [2, 1]], [[1, 1], [2, 0]]]})",
    R"({"t": [[0, 0, 0, 1, 2, 2, 2], [0, 0, 1, 1]], "k": [2, 1], "c": [[1, 2], [0.5, 1e-3], [-4, 0], [3, 3]]})",
    R"({"t": [0, 0, 1, 1], "k": 1, "c": [3, 4]})",
    R"({"variables": 2, "outputs": [{"max": [1, {"scale": [-2, {"min": [{"polynomial": {"terms":
        [{"coefficient": 3, "powers": [1, 2]}, {"coefficient": 1, "powers": [0, 4]}]}}, 0]}]}, {"sum": [1, 2]}]}]})"};

void Promise(bool kept) {
  if (!kept) abort();
}

void CheckRefusal(const absl::Status& status) {
  Promise(absl::IsInvalidArgument(status) || absl::IsOutOfRange(status));
  Promise(!status.message().empty() && status.message().size() < 5000);
}

void FuzzArray(std::string_view bytes) {
  const auto array = ParseNpy(bytes, "fuzz");
  if (!array.ok()) return CheckRefusal(array.status());
  size_t elements = 1;
  for (const size_t extent : array->shape) elements *= extent;
  Promise(elements == array->values.size() && elements <= bytes.size());
}

void FuzzSpline(std::string_view bytes, bool compile) {
  const auto source = ParseSplineFile(bytes, "fuzz");
  if (!source.ok()) return CheckRefusal(source.status());
  Promise(Variables(*source) >= 1 && Outputs(*source) >= 1);
  if (!compile) return;
  CompileOptions options;
  options.max_bytes = size_t{1} << 20;
  options.bound_work = {.most = 1e5, .worthwhile = 1e4};
  const auto compiled = CompileSpline(*source, options);
  if (!compiled.ok()) return CheckRefusal(compiled.status());
  Promise(compiled->files.at("model.safetensors").size() < options.max_bytes + (size_t{1} << 16));
  Promise(compiled->degree <= compiled->degree_bound);
  std::vector<double> middle;
  for (const Interval& side : compiled->domain) {
    middle.push_back(static_cast<float>(side.low + (side.high - side.low) / 2));
  }
  const std::vector<double> expected = Evaluate(*source, options.extrapolation, middle);
  const std::vector<double> found = compiled->program.Evaluate(middle);
  Promise(expected.size() == found.size() && found.size() == compiled->error_bound.size());
  for (size_t o = 0; o < found.size(); ++o) {
    // The program in float64 is within what float32 is allowed, if the middle is in the domain.
    const bool inside = middle[0] >= compiled->domain[0].low && middle[0] <= compiled->domain[0].high;
    Promise(!inside || std::fabs(found[o] - expected[o]) <= compiled->error_bound[o]);
  }
}

std::string Npy(const std::string& shape, const std::vector<double>& values) {
  std::string header = "{'descr': '<f8', 'fortran_order': False, 'shape': " + shape + ", }";
  header.append(63 - (header.size() + 10) % 64, ' ');
  header += '\n';
  std::string file = std::string("\x93NUMPY\1\0", 8);
  file += static_cast<char>(header.size());
  file += '\0';
  file += header;
  file.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
  return file;
}

}  // namespace

namespace testing {

std::vector<std::string> FuzzerSeeds() {
  std::vector<std::string> seeds = {"\1" + Npy("(2, 2)", {1, 2, 3, 4}), "\1" + Npy("()", {1})};
  for (const char* json : kJson) {
    seeds.push_back(std::string(1, '\0') + json);
    seeds.push_back(std::string("\2") + json);
  }
  if (const char* source = std::getenv("SPLINESERVE_SOURCE_DIR"); source != nullptr) {
    for (const char* name :
         {"piecewise.npz", "piecewise_compressed.npz", "tensor.npz", "tensor_2d_knots.npz"}) {
      seeds.push_back(std::string(1, '\0') +
                      ReadFile(std::string(source) + "/tests/spline/compile/data/" + name));
    }
  }
  return seeds;
}

}  // namespace testing
}  // namespace splineserve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 3 == 1) {
    splineserve::FuzzArray(rest);
  } else {
    splineserve::FuzzSpline(rest, data[0] % 3 == 2);
  }
  return 0;
}
