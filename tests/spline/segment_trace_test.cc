// Traces against brute force: dense evaluation, bisection, the slow reference.
#include "core/spline/segment_trace.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "core/spline/chebyshev.h"
#include "core/spline/piece.h"
#include "gtest/gtest.h"
#include "tests/spline/analysis_model.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kSegments = 300;  // an evaluation takes thirty times as long
#else
constexpr size_t kSegments = 10000;
#endif

constexpr char kSmall[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
  "hidden_size": 4, "num_attention_heads": 2, "head_dim": 2, "intermediate_size": 6, "num_encoder_layers": $0,
  "input": {"kind": "vectors", "size": 3}, "head": {"kind": "linear", "size": 3, "pooling": "mean"}})";

struct Traced {
  std::vector<TracePiece> pieces;
  std::vector<InputRows64> gradients;
};

Traced TraceAll(const Segment& segment, const TraceOptions& options) {
  SegmentTrace trace(segment, options);
  Traced traced;
  while (!trace.done()) {
    absl::StatusOr<TracePiece> piece = trace.Next();
    if (!piece.ok()) {
      ADD_FAILURE() << piece.status();
      break;
    }
    traced.pieces.push_back(*std::move(piece));
  }
  traced.gradients = trace.gradient_integrals();
  return traced;
}

PassResult FreeAt(const Segment& segment, const std::vector<double>& t) {
  return segment.pass().Run(segment.At(t), {.unit_roundoff = 0x1p-53});
}

std::vector<uint8_t> SignsAt(const Segment& segment, double t) {
  return segment.pass().Signs(FreeAt(segment, {t}), 0);
}

double Value(const TracePiece& piece, size_t output, double t) {
  const Row64 row = piece.coefficients.row(static_cast<Eigen::Index>(output));
  return EvaluateSeries({row.data(), static_cast<size_t>(row.size())},
                        2 * (t - piece.begin) / (piece.end - piece.begin) - 1);
}

// Pieces cover [0, 1]; flips lead from the first piece's pattern to each piece's, which is that of its inside
// wherever no argument is within rounding of zero; knots are where bisection finds them.
void CheckKnots(const Segment& segment, const Traced& traced, Random* random) {
  ASSERT_FALSE(traced.pieces.empty());
  EXPECT_EQ(traced.pieces.front().begin, 0);
  EXPECT_EQ(traced.pieces.back().end, 1);
  EXPECT_TRUE(traced.pieces.front().flips.empty());
  std::vector<uint8_t> pattern =
      SignsAt(segment, (traced.pieces.front().begin + traced.pieces.front().end) / 2);
  for (size_t i = 0; i < traced.pieces.size(); ++i) {
    const TracePiece& piece = traced.pieces[i];
    if (i > 0) {
      ASSERT_EQ(piece.begin, traced.pieces[i - 1].end);
    }
    ASSERT_LT(piece.begin, piece.end);
    for (const GateFlip& flip : piece.flips) {
      ASSERT_EQ(flip.opens, pattern[flip.gate] == 0) << "a gate that is so already";
      pattern[flip.gate] ^= 1;
    }
    if (!piece.certified) continue;
    std::vector<double> inside;
    for (int s = 0; s < 6; ++s) inside.push_back(piece.begin + (piece.end - piece.begin) * random->Uniform());
    const PassResult result = FreeAt(segment, inside);
    for (size_t s = 0; s < inside.size(); ++s) {
      // Knots are known to within their errors only.
      const double next_error = i + 1 < traced.pieces.size() ? traced.pieces[i + 1].knot_error : 0;
      if (inside[s] < piece.begin + piece.knot_error || inside[s] > piece.end - next_error) continue;
      for (size_t g = 0; g < pattern.size(); ++g) {
        const Eigen::Index row = static_cast<Eigen::Index>(s), column = static_cast<Eigen::Index>(g);
        const double argument = result.arguments.value(row, column);
        if (std::abs(argument) <= result.arguments.error(row, column)) continue;
        ASSERT_EQ(argument > 0, pattern[g] != 0)
            << "missed a knot of gate " << g << " in piece " << i << " = [" << piece.begin << ", "
            << piece.end << "] at t = " << inside[s] << ", argument " << argument;
      }
    }
  }
}

// Between two points with different signs, bisection on the gates that differ ends at a knot of the trace.
void CheckBisection(const Segment& segment, const Traced& traced, Random* random) {
  double lo = random->Uniform(), hi = random->Uniform();
  if (lo > hi) std::swap(lo, hi);
  const std::vector<uint8_t> at_lo = SignsAt(segment, lo);
  if (at_lo == SignsAt(segment, hi)) return;
  for (int step = 0; step < 50; ++step) {
    const double mid = lo + (hi - lo) / 2;
    (SignsAt(segment, mid) == at_lo ? lo : hi) = mid;
  }
  double nearest = 1, error = 0;
  for (const TracePiece& piece : traced.pieces) {
    if (std::abs(piece.begin - lo) < nearest && piece.begin > 0) {
      nearest = std::abs(piece.begin - lo);
      error = piece.knot_error;
    }
  }
  // A gate that is zero over a stretch is closed there in the trace, of any sign by rounding.
  const bool certified = std::all_of(traced.pieces.begin(), traced.pieces.end(),
                                     [](const TracePiece& p) { return p.certified; });
  if (certified) {
    EXPECT_LE(nearest, 2 * error + 1e-10) << "t = " << lo;
  }
}

TEST(SegmentTraceTest, NoKnotIsMissedOnRandomSegments) {
  size_t pieces = 0, certified = 0;
  for (size_t i = 0; i < kSegments; ++i) {
    const uint64_t seed = TestSeed() + i / 20;  // twenty segments a model
    Random random(TestSeed() + i);
    SCOPED_TRACE(absl::StrCat("model seed ", seed, ", segment ", i));
    const AnalysisModel model(absl::Substitute(kSmall, seed % 4 == 0 ? 2 : 1), {.seed = seed});
    const size_t tokens = random.Between(1, 3);
    const Segment segment(model.weights(), model.RandomInput(&random, tokens, 0),
                          model.RandomInput(&random, tokens, 0));
    const Traced traced = TraceAll(segment, {.outputs = AllOutputs(model.config(), tokens, true)});
    CheckKnots(segment, traced, &random);
    CheckBisection(segment, traced, &random);
    if (::testing::Test::HasFailure()) return;
    pieces += traced.pieces.size();
    for (const TracePiece& piece : traced.pieces) certified += piece.certified;
  }
  RecordProperty("pieces", static_cast<int>(pieces));
  RecordProperty("certified", static_cast<int>(certified));
  EXPECT_GT(pieces, 5 * kSegments) << "the segments cross too few knots to tell";
  EXPECT_GT(certified, pieces - pieces / 1000);
}

// Models of all shapes, with every stack moving: the polynomials are what the reference computes.
class TraceShapesTest : public ::testing::TestWithParam<Architecture> {};

TEST_P(TraceShapesTest, PolynomialsReproduceTheReference) {
  size_t pieces = 0;
  for (size_t i = 0; i < 60; ++i) {
    const uint64_t seed = TestSeed() + 1000 * static_cast<uint64_t>(GetParam()) + i;
    Random random(seed);
    const std::string config = RandomConfig(&random, GetParam(), /*exact=*/true);
    SCOPED_TRACE(absl::StrCat("model seed ", seed, ", config ", config));
    const AnalysisModel model(config, {.seed = seed});
    const size_t source = model.config().has_encoder() ? random.Between(1, 3) : 0;
    const size_t target = model.config().has_decoder() ? random.Between(1, 3) : 0;
    const ContinuousInput from = model.RandomInput(&random, source, target);
    ContinuousInput to = model.RandomInput(&random, source, target);
    // Near enough to cross tens of knots, not thousands.
    to = Between(from, to, 0.1);
    if (source != 0 && target != 0) {
      const size_t moving = random.Between(0, 2);
      if (moving == 0) to.source = from.source;
      if (moving == 1) to.target = from.target;
    }
    const Segment segment(model.weights(), from, to);
    const size_t tokens = target != 0 ? target : source;
    const bool head = model.config().head.kind == HeadKind::kLinear;
    const OutputChoice outputs = AllOutputs(model.config(), tokens, head);
    const ReferenceResult<double> start = model.Reference<double>(from);
    if (start.overflowed) continue;
    double size = 0;
    for (const auto& row : start.hidden) {
      for (double value : row) size = std::max(size, std::abs(value));
    }
    if (size > 1e30) continue;  // float64 would be no yardstick
    const bool truncated = segment.layout().degree() >= TraceOptions{}.max_samples;
    TraceOptions options{.outputs = outputs};
    SegmentTrace trace(segment, options);
    for (size_t count = 0; count < 40 && !trace.done(); ++count, ++pieces) {
      const absl::StatusOr<TracePiece> piece = trace.Next();
      ASSERT_TRUE(piece.ok()) << piece.status();
      EXPECT_EQ(piece->certified && truncated, false);
      const double t = piece->begin + (piece->end - piece->begin) * random.Uniform();
      const ReferenceResult<double> expected = model.Reference<double>(Between(from, to, t));
      double largest = 1e-300;
      for (const auto& row : head ? expected.head : expected.hidden) {
        for (double value : row) largest = std::max(largest, std::abs(value));
      }
      for (size_t o = 0; o < outputs.indices.size(); ++o) {
        const OutputIndex& index = outputs.indices[o];
        const double value = (head ? expected.head : expected.hidden)[index.row][index.col];
        ASSERT_NEAR(Value(*piece, o, t), value, (truncated ? 1e-6 : 1e-9) * largest)
            << "piece " << count << ", t = " << t << ", output " << o;
      }
      // The piece's id is Encode's.
      if (piece->certified && piece->margin > 1e-6 && target == 0) {
        const ReferenceResult<double> middle =
            model.Reference<double>(Between(from, to, (piece->begin + piece->end) / 2));
        EXPECT_EQ(piece->sequence_id, middle.sequence_id);
      }
    }
  }
  EXPECT_GT(pieces, 300u);
}

INSTANTIATE_TEST_SUITE_P(All, TraceShapesTest,
                         ::testing::Values(Architecture::kEncoder, Architecture::kDecoder,
                                           Architecture::kEncoderDecoder),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST(SegmentTraceTest, IntegratedGradientsAddUpAndAreIntegrals) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    const AnalysisModel model(absl::Substitute(kSmall, 2), {.seed = seed});
    const Segment segment(model.weights(), model.RandomInput(&random, 2, 0),
                          model.RandomInput(&random, 2, 0));
    const OutputChoice outputs = AllOutputs(model.config(), 2, true);
    const Traced traced = TraceAll(segment, {.outputs = outputs, .integrated_gradients = true});
    ASSERT_EQ(traced.gradients.size(), 3u);
    // A fine midpoint rule over free gradients.
    constexpr size_t kSteps = 2000;
    std::vector<double> t;
    for (size_t k = 0; k < kSteps; ++k) t.push_back((static_cast<double>(k) + 0.5) / kSteps);
    const PassResult result = segment.pass().Run(segment.At(t), {.tape = true});
    for (size_t o = 0; o < 3; ++o) {
      const Matrix64 attribution = traced.gradients[o].source.cwiseProduct(segment.direction().source);
      const double difference = Value(traced.pieces.back(), o, 1) - Value(traced.pieces.front(), o, 0);
      EXPECT_NEAR(attribution.sum(), difference, 1e-10 * (1 + attribution.cwiseAbs().sum()));
      Matrix64 weights = Matrix64::Zero(kSteps, 3);
      weights.col(static_cast<Eigen::Index>(o)).setOnes();
      const Matrix64 gradients = AdjointOf(segment.pass(), result.tape,
                                           OutputWeightsToRows(segment.pass(), outputs, weights), kSteps)
                                     .source;
      Matrix64 sum = Matrix64::Zero(2, 3);
      for (size_t k = 0; k < kSteps; ++k) {
        sum += gradients.middleRows(static_cast<Eigen::Index>(2 * k), 2) / kSteps;
      }
      EXPECT_LT((sum - traced.gradients[o].source).cwiseAbs().maxCoeff(),
                1e-2 * (1 + sum.cwiseAbs().maxCoeff()))
          << "seed " << seed << ", output " << o;
    }
  }
}

TEST(SegmentTraceTest, TopChangesAreWhereTheLargestChanges) {
  size_t changes = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Random random(seed);
    const AnalysisModel model(absl::Substitute(kSmall, 1), {.seed = seed});
    const Segment segment(model.weights(), model.RandomInput(&random, 2, 0),
                          model.RandomInput(&random, 2, 0));
    const Traced traced =
        TraceAll(segment, {.outputs = AllOutputs(model.config(), 2, true), .top_output = true});
    std::vector<TopChange> found;
    for (const TracePiece& piece : traced.pieces) {
      found.insert(found.end(), piece.top_changes.begin(), piece.top_changes.end());
    }
    changes += found.size();
    const auto top_at = [&](double t) {
      const auto piece = std::find_if(traced.pieces.begin(), traced.pieces.end(),
                                      [&](const TracePiece& p) { return t <= p.end; });
      size_t top = 0;
      for (size_t o = 1; o < 3; ++o) {
        if (Value(*piece, o, t) > Value(*piece, top, t)) top = o;
      }
      return top;
    };
    // Between changes nothing changes, densely looked at.
    size_t next = 0, top = top_at(0);
    for (int k = 1; k < 4000; ++k) {
      const double t = k / 4000.0;
      for (; next < found.size() && found[next].t <= t; ++next) {
        EXPECT_EQ(found[next].from, top);
        top = found[next].to;
      }
      if (next > 0 && t - found[next - 1].t < 1e-9) continue;
      EXPECT_EQ(top_at(t), top) << "t = " << t;
    }
  }
  EXPECT_GT(changes, 30u);
}

TEST(SegmentTraceTest, GoesOnWhereItStopped) {
  Random random(5);
  const AnalysisModel model(absl::Substitute(kSmall, 2), {.seed = 3});
  const Segment segment(model.weights(), model.RandomInput(&random, 3, 0), model.RandomInput(&random, 3, 0));
  const TraceOptions options{.outputs = AllOutputs(model.config(), 3, true)};
  const Traced whole = TraceAll(segment, options);
  ASSERT_GT(whole.pieces.size(), 10u);
  const std::string fingerprint(16, 'f');
  std::string state;
  for (const TracePiece& expected : whole.pieces) {
    SegmentTrace trace(segment, options);
    if (!state.empty()) {
      ASSERT_TRUE(trace.Restore(state, fingerprint).ok());
    }
    const absl::StatusOr<TracePiece> piece = trace.Next();
    ASSERT_TRUE(piece.ok());
    EXPECT_EQ(piece->begin, expected.begin);
    EXPECT_EQ(piece->end, expected.end);
    EXPECT_EQ(piece->flips, expected.flips);
    EXPECT_EQ(piece->coefficients, expected.coefficients);
    state = trace.State(fingerprint);
  }
  // Nobody else's bytes.
  SegmentTrace trace(segment, options);
  ASSERT_TRUE(trace.Next().ok());
  const std::string sound = trace.State(fingerprint);
  for (size_t i = 0; i < sound.size(); ++i) {
    std::string damaged = sound;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_EQ(trace.Restore(damaged, fingerprint).code(), absl::StatusCode::kInvalidArgument) << i;
    EXPECT_EQ(trace.Restore(sound.substr(0, i), fingerprint).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(trace.Restore(sound, std::string(16, 'g')).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(trace.Restore(sound, fingerprint).ok());
}

// Anybody can make a checksum: whatever a token says, every piece moves on.
TEST(SegmentTraceTest, ForgedTokensDoNotStall) {
  Random random(5);
  const AnalysisModel model(absl::Substitute(kSmall, 2), {.seed = 3});
  const Segment segment(model.weights(), model.RandomInput(&random, 3, 0), model.RandomInput(&random, 3, 0));
  const TraceOptions options{.outputs = AllOutputs(model.config(), 3, true)};
  const std::string fingerprint(16, 'f');
  SegmentTrace begun(segment, options);
  ASSERT_TRUE(begun.Next().ok());
  const std::string sound = begun.State(fingerprint);
  const auto forged = [&](double step, bool other_gates) {
    std::string body = sound.substr(0, sound.size() - 16);
    std::memcpy(body.data() + 16 + 2 * sizeof(double), &step, sizeof(step));
    if (other_gates) {
      for (size_t k = body.size() - 5; k < body.size(); ++k) body[k] = static_cast<char>(body[k] ^ 0x5a);
    }
    return body + PieceHash({reinterpret_cast<const uint8_t*>(body.data()), body.size()});
  };
  for (const bool other_gates : {false, true}) {
    for (const double step : {1e-300, 1e-17, 4.0}) {
      SegmentTrace trace(segment, options);
      if (!trace.Restore(forged(step, other_gates), fingerprint).ok()) continue;  // bits past the last gate
      double reached = trace.reached();
      for (int k = 0; k < 20 && !trace.done(); ++k) {
        const absl::StatusOr<TracePiece> piece = trace.Next();
        ASSERT_TRUE(piece.ok()) << piece.status();
        ASSERT_GT(trace.reached(), reached) << "step " << step;
        reached = trace.reached();
      }
    }
  }
}

// Without biases every gate is tied at zero, and decides right after it; and next to zero knots are next to
// the beginning.
TEST(SegmentTraceTest, TiesAtTheBeginningAreSettled) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    for (const double size : {0.0, 1e-30, 1e-14, 1e-9}) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, ", size ", size));
      Random random(seed);
      const AnalysisModel model(absl::Substitute(kSmall, 1), {.seed = seed, .optional_tensors = 0});
      const ContinuousInput direction = model.RandomInput(&random, 2, 0),
                            to = model.RandomInput(&random, 2, 0);
      const ContinuousInput from{size * direction.source, {}};
      const Segment segment(model.weights(), from, to);
      const OutputChoice outputs = AllOutputs(model.config(), 2, true);
      const Traced traced = TraceAll(segment, {.outputs = outputs});
      for (const TracePiece& piece : traced.pieces) {
        const double t = piece.begin + 0.37 * (piece.end - piece.begin);
        if (t < piece.begin + piece.knot_error) continue;
        const ReferenceResult<double> expected = model.Reference<double>(Between(from, to, t));
        for (size_t o = 0; o < outputs.indices.size(); ++o) {
          const double value = expected.head[0][outputs.indices[o].col];
          ASSERT_NEAR(Value(piece, o, t), value, 1e-9 * std::abs(value) + 1e-12 * t) << "t = " << t;
        }
      }
    }
  }
}

TEST(SegmentTraceTest, ATraceAsksWhetherToGoOn) {
  Random random(5);
  const AnalysisModel model(absl::Substitute(kSmall, 2), {.seed = 3});
  const Segment segment(model.weights(), model.RandomInput(&random, 3, 0), model.RandomInput(&random, 3, 0));
  SegmentTrace trace(segment, {.outputs = AllOutputs(model.config(), 3, true)});
  int asked = 0;
  const absl::StatusOr<TracePiece> piece =
      trace.Next([&] { return ++asked == 2 ? absl::CancelledError("left") : absl::OkStatus(); });
  EXPECT_EQ(piece.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked, 2);
}

TEST(SegmentTraceTest, NumbersThatOverflowAreRefused) {
  const AnalysisModel model(absl::Substitute(kSmall, 2), {.seed = 3});
  Random random(1);
  ContinuousInput from = model.RandomInput(&random, 2, 0);
  const Segment segment(model.weights(), from, {from.source * 1e60, {}});
  SegmentTrace trace(segment, {.outputs = AllOutputs(model.config(), 2, true)});
  absl::Status status;
  while (status.ok() && !trace.done()) status = trace.Next().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
}

TEST(SegmentTraceTest, AStandingSegmentIsOnePiece) {
  const AnalysisModel model(absl::Substitute(kSmall, 2), {.seed = 3});
  Random random(1);
  const ContinuousInput at = model.RandomInput(&random, 2, 0);
  const Segment segment(model.weights(), at, at);
  const Traced traced = TraceAll(segment, {.outputs = AllOutputs(model.config(), 2, true)});
  ASSERT_EQ(traced.pieces.size(), 1u);
  EXPECT_EQ(traced.pieces[0].coefficients.cols(), 1);
}

}  // namespace
}  // namespace splineserve::testing
