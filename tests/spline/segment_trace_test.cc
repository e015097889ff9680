// Traces against brute force: dense evaluation, bisection, the slow reference.
#include "core/spline/segment_trace.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "core/spline/chebyshev.h"
#include "gtest/gtest.h"
#include "tests/spline/analysis_model.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

constexpr char kSmall[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
  "hidden_size": 4, "num_attention_heads": 2, "head_dim": 2, "intermediate_size": 6, "num_encoder_layers": $0,
  "input": {"kind": "vectors", "size": 3}, "head": {"kind": "linear", "size": 3, "pooling": "mean"}})";

struct Traced {
  std::vector<TracePiece> pieces;
  uint64_t evaluations = 0;
  bool certified = true;
};

Traced TraceAll(const Segment& segment, TraceOptions options) {
  SegmentTrace trace(segment, std::move(options));
  Traced traced;
  while (!trace.done()) {
    absl::StatusOr<TracePiece> piece = trace.Next();
    EXPECT_TRUE(piece.ok()) << piece.status();
    if (!piece.ok()) break;
    traced.certified = traced.certified && piece->certified;
    traced.pieces.push_back(*std::move(piece));
  }
  traced.evaluations = trace.evaluations();
  return traced;
}

// Signs of all gates at each t.
std::vector<std::vector<uint8_t>> SignsAt(const Segment& segment, const std::vector<double>& t) {
  const PassResult result = segment.pass().Run(segment.At(t), {});
  std::vector<std::vector<uint8_t>> signs;
  for (size_t p = 0; p < t.size(); ++p) signs.push_back(segment.pass().Signs(result, p));
  return signs;
}

TEST(SegmentTraceTest, Look) {
  for (size_t layers : {1u, 2u, 3u}) {
    size_t pieces = 0, certified = 0, evaluations = 0;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      Random random(seed);
      const AnalysisModel model(absl::Substitute(kSmall, layers), {.seed = seed});
      const size_t tokens = random.Between(1, 3);
      const Segment segment(model.weights(), model.RandomInput(&random, tokens, 0),
                            model.RandomInput(&random, tokens, 0));
      const Traced traced = TraceAll(segment, {.outputs = AllOutputs(model.config(), tokens, true)});
      pieces += traced.pieces.size();
      for (const TracePiece& piece : traced.pieces) certified += piece.certified;
      evaluations += traced.evaluations;
    }
    printf("layers %zu: %zu pieces, %zu certified, %zu evaluations\n", layers, pieces, certified, evaluations);
  }
}

}  // namespace
}  // namespace splineserve::testing
