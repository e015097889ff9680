// Speed of traces and what segments cross: SegmentTrace on seeded random models, as layers, width and tokens
// grow. A line of JSON for each size and round; growth of all of them is drawn by trace_growth.py.
//
//   build/release/bench/trace_bench --rounds 3 --only layers
//   build/release/bench/trace_bench --size 48 2 8 --rounds 1 --seconds 10
//
// A round traces one segment between two random inputs (normal numbers) of one random model, both of the
// round's own seed, until its end, `--pieces` or `--seconds`. `crossed` is the number of pieces of the whole
// segment: counted if `reached` is 1, else extrapolated from the part that was traced. Sizes take turns round
// by round, so that a change of the machine's speed hits all of them.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/substitute.h"
#include "core/spline/segment_trace.h"
#include "tests/spline/analysis_model.h"

namespace splineserve::testing {
namespace {

struct Size {
  const char* series;
  size_t d, layers, tokens;
};

// Around d = 48, 2 layers, 8 tokens: about the shape of the shipped digits model.
constexpr Size kSizes[] = {{"layers", 48, 1, 8}, {"layers", 48, 2, 8}, {"layers", 48, 3, 8},
                           {"d", 8, 2, 8},       {"d", 16, 2, 8},      {"d", 32, 2, 8},
                           {"d", 48, 2, 8},      {"d", 64, 2, 8},      {"d", 96, 2, 8},
                           {"d", 128, 2, 8},     {"tokens", 48, 2, 1}, {"tokens", 48, 2, 2},
                           {"tokens", 48, 2, 4}, {"tokens", 48, 2, 8}, {"tokens", 48, 2, 16}};

// Four heads, feed-forward networks twice as wide, no norms, a mean-pooled head of ten outputs.
constexpr char kConfig[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
  "hidden_size": $0, "num_attention_heads": 4, "intermediate_size": $1, "num_encoder_layers": $2,
  "input": {"kind": "vectors", "size": 8}, "head": {"kind": "linear", "size": 10, "pooling": "mean"}})";

struct Flags {
  size_t rounds = 5;
  size_t pieces = 1000;
  double seconds = 4;
  uint64_t seed = 1;
  std::string only;          // a series; empty for all
  std::optional<Size> size;  // instead of the list
};

int Usage() {
  std::fprintf(
      stderr,
      "usage: trace_bench [--rounds N] [--pieces N] [--seconds S] [--seed N] [--only layers|d|tokens] "
      "[--size D LAYERS TOKENS]\n");
  return 2;
}

bool Parse(int argc, char** argv, Flags& flags) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--size" && i + 3 < argc) {
      Size size{"size", 0, 0, 0};
      if (!absl::SimpleAtoi(argv[i + 1], &size.d) || !absl::SimpleAtoi(argv[i + 2], &size.layers) ||
          !absl::SimpleAtoi(argv[i + 3], &size.tokens) || size.d == 0 || size.d % 4 != 0 ||
          size.layers == 0 || size.tokens == 0) {
        return false;
      }
      flags.size = size;
      i += 3;
      continue;
    }
    if (i + 1 >= argc) return false;
    const char* const value = argv[++i];
    bool ok = false;
    if (name == "--rounds") ok = absl::SimpleAtoi(value, &flags.rounds);
    if (name == "--pieces") ok = absl::SimpleAtoi(value, &flags.pieces) && flags.pieces > 0;
    if (name == "--seconds") ok = absl::SimpleAtod(value, &flags.seconds);
    if (name == "--seed") ok = absl::SimpleAtoi(value, &flags.seed);
    if (name == "--only") ok = !(flags.only = value).empty();
    if (!ok) return false;
  }
  return true;
}

bool Measure(const Size& size, size_t round, const Flags& flags) {
  using Clock = std::chrono::steady_clock;
  const uint64_t seed = flags.seed + round;
  const AnalysisModel model(absl::Substitute(kConfig, size.d, 2 * size.d, size.layers), {.seed = seed});
  Random random(seed);
  const ContinuousInput from = model.RandomInput(&random, size.tokens, 0);
  const Segment segment(model.weights(), from, model.RandomInput(&random, size.tokens, 0));
  const Clock::time_point start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  SegmentTrace trace(segment, {.outputs = AllOutputs(model.config(), size.tokens, true)});
  size_t pieces = 0, certified = 0;
  double checksum = 0;  // that two builds trace the same
  while (!trace.done() && pieces < flags.pieces && (pieces == 0 || elapsed() < flags.seconds)) {
    const absl::StatusOr<TracePiece> piece = trace.Next();
    if (!piece.ok()) {
      std::fprintf(stderr, "%s\n", piece.status().ToString().c_str());
      return false;
    }
    ++pieces;
    certified += piece->certified;
    checksum += piece->end * piece->coefficients(0, 0);
  }
  const double seconds = elapsed();
  std::printf(
      "{\"series\": \"%s\", \"d\": %zu, \"layers\": %zu, \"tokens\": %zu, \"round\": %zu, \"gates\": %zu, "
      "\"degree\": %zu, \"pieces\": %zu, \"certified\": %zu, \"reached\": %.9g, \"crossed\": %.6g, "
      "\"evaluations\": %zu, \"seconds\": %.6g, \"pieces_per_second\": %.6g, \"checksum\": %.12g}\n",
      size.series, size.d, size.layers, size.tokens, round, segment.layout().gates(),
      static_cast<size_t>(segment.layout().degree()), pieces, certified, trace.reached(),
      static_cast<double>(pieces) / trace.reached(), static_cast<size_t>(trace.evaluations()), seconds,
      static_cast<double>(pieces) / seconds, checksum);
  std::fflush(stdout);
  return true;
}

int Main(int argc, char** argv) {
  Flags flags;
  if (!Parse(argc, argv, flags)) return Usage();
  for (size_t round = 0; round < flags.rounds; ++round) {
    if (flags.size.has_value()) {
      if (!Measure(*flags.size, round, flags)) return EXIT_FAILURE;
      continue;
    }
    for (const Size& size : kSizes) {
      if (!flags.only.empty() && flags.only != size.series) continue;
      if (!Measure(size, round, flags)) return EXIT_FAILURE;
    }
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace splineserve::testing

int main(int argc, char** argv) { return splineserve::testing::Main(argc, argv); }
