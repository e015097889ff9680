#include "core/format/safetensors_writer.h"

#include <cmath>
#include <cstring>
#include <set>
#include <type_traits>

#include "absl/base/config.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace splineserve {
namespace {

// safetensors are little-endian, as is every machine that this builds for.
static_assert(
#if defined(ABSL_IS_LITTLE_ENDIAN)
    true,
#else
    false,
#endif
    "safetensors are written by copying numbers as they are in memory");

absl::Status WriteError(const NewTensor& tensor, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", tensor.name, ": ", problem));
}

template <typename T>
absl::Status AppendValues(const NewTensor& tensor, std::string* out) {
  for (size_t i = 0; i < tensor.values.size(); ++i) {
    const T rounded = static_cast<T>(tensor.values[i]);
    if (!std::isfinite(rounded)) {
      return WriteError(
          tensor, absl::StrFormat("expected a finite %s number at flat index %d, found %g",
                                  std::is_same_v<T, float> ? "float32" : "float64", i, tensor.values[i]));
    }
    char bytes[sizeof(T)];
    std::memcpy(bytes, &rounded, sizeof(T));
    out->append(bytes, sizeof(T));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> SerializeSafetensors(absl::Span<const NewTensor> tensors, DType dtype) {
  if (dtype != DType::kF32 && dtype != DType::kF64) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected dtype F32 or F64, found ", std::string(Name(dtype))));
  }
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::set<std::string> names;
  size_t total = 0;
  for (const NewTensor& tensor : tensors) {
    size_t elements = 1;
    for (const size_t extent : tensor.shape) {
      if (__builtin_mul_overflow(elements, extent, &elements))
        return WriteError(tensor, "the shape overflows");
    }
    if (elements != tensor.values.size()) {
      return WriteError(tensor, absl::StrCat("expected as many values as shape ", ShapeString(tensor.shape),
                                             " has, found ", tensor.values.size()));
    }
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      return WriteError(tensor, "expected a name that is not taken");
    }
    const size_t begin = total;
    total += elements * SizeOf(dtype);
    header[tensor.name] = {
        {"dtype", std::string(Name(dtype))}, {"shape", tensor.shape}, {"data_offsets", {begin, total}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  file.reserve(sizeof(length) + text.size() + total);
  file += text;
  for (const NewTensor& tensor : tensors) {
    SPLINESERVE_RETURN_IF_ERROR(dtype == DType::kF32 ? AppendValues<float>(tensor, &file)
                                                     : AppendValues<double>(tensor, &file));
  }
  return file;
}

}  // namespace splineserve
