// How soon a server answers, and how much memory it holds: the real binary, started afresh for every run.
//
//   build/release/bench/load_bench [--runs 10] [--server build/release/bin/splineserve] [--source .]
//   [--generated MB,...]
//
// Rows: the shipped g2p alone, all shipped models, and generated encoders (d = 1024, F32) of about the given
// sizes (300). Times are milliseconds from just before the process is made, medians over runs: until it says
// that it listens, and until the first answer has come (Generate for a model that generates, else Encode of 8
// tokens) over a fresh connection. The files are in the page cache, as after a deployment's copy. Memory is
// read from /proc/PID/status after the first answer; VmHWM is the peak. Its bound is 1.25 times the weight
// files plus 40 MB (10^6 bytes). Exit status 1 if a bound does not hold: 150 ms for g2p, resident memory for
// all, the peak included.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/substitute.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "tests/bench/server_process.h"
#include "tests/testing/model_builder.h"

namespace splineserve {
namespace {

namespace fs = std::filesystem;

constexpr double kAnswerBoundMs = 150;
constexpr double kBoundFactor = 1.25;
constexpr double kBoundMegabytes = 40;

[[noreturn]] void Fail(const std::string& what) { throw std::runtime_error(what); }

// One request that `model` must answer. A fresh channel each time: gRPC keeps none to a port that has gone.
void Ask(const std::string& address, const std::string& model, bool generates) {
  const client::Client client({.server = address, .deadline = absl::Seconds(60)});
  absl::Status status;
  if (generates) {
    v1::GenerateRequest request;
    request.mutable_model()->set_name(model);
    request.mutable_source()->set_text("example");
    status = client.Generate(request).status();
  } else {
    v1::EncodeRequest request;
    request.mutable_model()->set_name(model);
    v1::Sequence* const input = request.add_inputs();
    for (int i = 0; i < 8; ++i) input->mutable_tokens()->add_ids(i);
    status = client.Encode(request).status();
  }
  if (!status.ok()) Fail("the first answer is " + status.ToString());
}

struct Row {
  std::string name;
  std::string repository;
  std::string model;
  bool generates = false;
  bool timed = false;  // the bound on the first answer is this row's
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

double WeightMegabytes(const std::string& repository) {
  double bytes = 0;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (const auto& entry : fs::recursive_directory_iterator(repository, options)) {
    if (entry.path().extension() == ".safetensors") bytes += static_cast<double>(fs::file_size(entry.path()));
  }
  return bytes / 1e6;
}

// Prints a line of the table; false if a bound does not hold.
bool Measure(const Row& row, const std::string& server, int runs) {
  std::map<std::string, std::vector<double>> seen;
  for (int run = 0; run < runs; ++run) {
    const ServerProcess process(server, row.repository);
    Ask(process.address(), row.model, row.generates);
    seen["answer"].push_back(process.Milliseconds());
    seen["listening"].push_back(process.listening_ms());
    for (const char* field : {"VmRSS", "RssAnon", "RssFile", "VmHWM"})
      seen[field].push_back(process.Memory(field));
  }
  const double weights = WeightMegabytes(row.repository);
  const double bound = kBoundFactor * weights + kBoundMegabytes;
  const std::vector<double>& answers = seen["answer"];
  const double most = *std::max_element(seen["VmHWM"].begin(), seen["VmHWM"].end());
  const bool holds = most <= bound && (!row.timed || Median(answers) <= kAnswerBoundMs);
  std::printf("%-18s %8.1f %9.1f %8.1f %15s %8.1f %8.1f %8.1f %8.1f %8.1f  %s\n", row.name.c_str(), weights,
              Median(seen["listening"]), Median(answers),
              absl::Substitute("$0-$1", std::lround(*std::min_element(answers.begin(), answers.end())),
                               std::lround(*std::max_element(answers.begin(), answers.end())))
                  .c_str(),
              Median(seen["VmRSS"]), Median(seen["RssAnon"]), Median(seen["RssFile"]), most, bound,
              holds ? "holds" : "EXCEEDED");
  std::fflush(stdout);
  return holds;
}

// An encoder with about `megabytes` of weights, as DIRECTORY/generated/1.
testing::TempDir GeneratedRepository(double megabytes) {
  // d = f = 1024: four projections of d * d and two of d * f a layer.
  constexpr double layer = 6 * 1024 * 1024 * sizeof(float) / 1e6;
  const std::string config = absl::Substitute(
      R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 1024, "num_encoder_layers": $0,
          "num_attention_heads": 16, "intermediate_size": 1024, "norm": "layer_norm", "input": {"kind": "tokens", "vocab_size": 100}})",
      std::max(1L, std::lround(megabytes / layer)));
  testing::ModelFiles files;
  for (auto& [name, contents] : testing::BuildModel(config))
    files["generated/1/" + name] = std::move(contents);
  return testing::WriteFiles(files);
}

int Main(int argc, char** argv) {
  int runs = 10;
  std::string server = "build/release/bin/splineserve", source = ".";
  std::vector<double> generated = {300};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i], value = argv[i + 1];
    if (option == "--runs") {
      runs = std::max(1, std::atoi(value.c_str()));
    } else if (option == "--server") {
      server = value;
    } else if (option == "--source") {
      source = value;
    } else if (option == "--generated") {
      generated.clear();
      for (const auto part : absl::StrSplit(value, ',', absl::SkipEmpty())) {
        if (!absl::SimpleAtod(part, &generated.emplace_back()))
          Fail("--generated: expected numbers, found " + value);
      }
    } else {
      Fail("expected --runs, --server, --source or --generated, found " + option);
    }
  }
  if (argc % 2 == 0) Fail("expected a value after each option");

  std::printf("%-18s %8s %9s %8s %15s %8s %8s %8s %8s %8s\n", "models", "weights", "listening", "answer",
              "least-most", "RSS", "anon", "file", "peak", "bound");
  std::printf("%-18s %8s %9s %8s %15s %8s %8s %8s %8s %8s\n", "", "MB", "ms", "ms", "ms", "MB", "MB", "MB",
              "MB", "MB");
  const std::string shipped = source + "/models/repository";
  const testing::TempDir g2p;
  fs::copy(shipped + "/g2p", g2p.Path("g2p"), fs::copy_options::recursive);
  {  // gRPC's own start in this process, and the page cache, are no part of the first row
    const ServerProcess process(server, g2p.path());
    Ask(process.address(), "g2p", true);
  }
  bool holds = Measure({"g2p", g2p.path(), "g2p", true, true}, server, runs);
  holds &= Measure({"all shipped", shipped, "g2p", true, true}, server, runs);
  for (const double megabytes : generated) {
    const testing::TempDir repository = GeneratedRepository(megabytes);
    holds &= Measure({"generated encoder", repository.path(), "generated", false, false}, server, runs);
  }
  return holds ? 0 : 1;
}

}  // namespace
}  // namespace splineserve

int main(int argc, char** argv) {
  try {
    return splineserve::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "load_bench: %s\n", error.what());
    return 2;
  }
}
