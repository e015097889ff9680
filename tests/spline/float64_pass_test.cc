// The float64 evaluation against the slow reference, and its error bounds against what float32 really does.
#include "core/spline/float64_pass.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/spline/analysis_model.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

struct Case {
  Architecture architecture;
  bool exact;
};

class Float64PassTest : public ::testing::TestWithParam<Case> {
 protected:
  // Calls body(model, random) with random models.
  template <typename Body>
  void ForModels(size_t count, const Body& body) {
    for (size_t i = 0; i < count; ++i) {
      const uint64_t seed = TestSeed() + 1000 * static_cast<uint64_t>(GetParam().architecture) + i;
      Random random(seed);
      const std::string config = RandomConfig(&random, GetParam().architecture, GetParam().exact);
      SCOPED_TRACE(absl::StrCat("model seed ", seed, ", config ", config));
      body(AnalysisModel(config, {.seed = seed, .optional_tensors = random.Pick<double>({0, 0.5, 1})}),
           &random);
      if (HasFailure()) return;
    }
  }

  ContinuousInput RandomInput(const AnalysisModel& model, Random* random) const {
    return model.RandomInput(random, model.config().has_encoder() ? random->Between(1, 7) : 0,
                             model.config().has_decoder() ? random->Between(1, 7) : 0);
  }
};

// What is for EXACT models alone.
class ExactPassTest : public Float64PassTest {};

PassInput OnePoint(const ContinuousInput& input) {
  PassInput pass;
  pass.source.value = input.source;
  pass.target.value = input.target;
  return pass;
}

PassShape ShapeOf(const ContinuousInput& input) {
  return {static_cast<size_t>(input.source.rows()), static_cast<size_t>(input.target.rows())};
}

TEST_P(Float64PassTest, EqualsTheReference) {
  ForModels(60, [&](const AnalysisModel& model, Random* random) {
    const ContinuousInput first = RandomInput(model, random);
    const ContinuousInput second = model.RandomInput(random, static_cast<size_t>(first.source.rows()),
                                                     static_cast<size_t>(first.target.rows()));
    const Float64Pass pass(model.weights(), ShapeOf(first));
    PassInput both = OnePoint(first);
    both.points = 2;
    const auto stack = [](const Matrix64& a, const Matrix64& b) {
      Matrix64 rows(a.rows() * 2, a.cols());
      rows << a, b;
      return rows;
    };
    if (first.source.size() != 0) both.source.value = stack(first.source, second.source);
    if (first.target.size() != 0) both.target.value = stack(first.target, second.target);
    const PassResult result = pass.Run(both, {});
    const bool head = model.config().head.kind == HeadKind::kLinear &&
                      (model.config().has_decoder() == (first.target.size() != 0));
    for (Eigen::Index p = 0; p < 2; ++p) {
      const ReferenceResult<double> expected = model.Reference<double>(p == 0 ? first : second);
      if (expected.overflowed) continue;
      const Eigen::Index tokens = result.rows.value.rows() / 2;
      double largest = 1e-300;
      for (const auto& row : expected.hidden) {
        for (double value : row) largest = std::max(largest, std::abs(value));
      }
      for (Eigen::Index t = 0; t < tokens; ++t) {
        for (Eigen::Index c = 0; c < result.rows.value.cols(); ++c) {
          ASSERT_NEAR(result.rows.value(p * tokens + t, c),
                      expected.hidden[static_cast<size_t>(t)][static_cast<size_t>(c)], 1e-9 * largest);
        }
      }
      if (GetParam().exact) {
        const std::vector<double> arguments = Arguments(pass.layout(), expected.tokens);
        const std::vector<uint8_t> signs = pass.Signs(result, static_cast<size_t>(p));
        for (size_t g = 0; g < arguments.size(); ++g) {
          if (std::isnan(arguments[g])) continue;  // of the encoder below a decoder
          ASSERT_NEAR(result.arguments.value(p, static_cast<Eigen::Index>(g)), arguments[g],
                      1e-9 * (1 + std::abs(arguments[g])))
              << "gate " << g;
        }
        // Ids hash what Encode hashes.
        EXPECT_EQ(pass.layout().SequenceIdOf(signs), expected.sequence_id);
      }
      if (head) {
        const Matrix64 outputs = pass.Head(result.rows, 2, 0).value;
        const Eigen::Index rows = outputs.rows() / 2;
        ASSERT_EQ(static_cast<size_t>(rows), expected.head.size());
        for (Eigen::Index r = 0; r < rows; ++r) {
          for (Eigen::Index c = 0; c < outputs.cols(); ++c) {
            ASSERT_NEAR(outputs(p * rows + r, c),
                        expected.head[static_cast<size_t>(r)][static_cast<size_t>(c)], 1e-8 * (largest + 1));
          }
        }
      }
    }
  });
}

// The reference's chains of float32 are within the bounds; and bounds that were a thousandth would not hold.
TEST_P(ExactPassTest, BoundsTheRoundingOfFloat32) {
  double tightest = 0;
  ForModels(60, [&](const AnalysisModel& model, Random* random) {
    const ContinuousInput input = RandomInput(model, random);
    const Float64Pass pass(model.weights(), ShapeOf(input));
    const PassResult result = pass.Run(OnePoint(input), {.unit_roundoff = 0x1p-24});
    const ReferenceResult<float> rounded = model.Reference<float>(input);
    if (rounded.overflowed) return;
    for (Eigen::Index t = 0; t < result.rows.value.rows(); ++t) {
      for (Eigen::Index c = 0; c < result.rows.value.cols(); ++c) {
        const double off =
            std::abs(result.rows.value(t, c) -
                     static_cast<double>(rounded.hidden[static_cast<size_t>(t)][static_cast<size_t>(c)]));
        ASSERT_LE(off, result.rows.error(t, c)) << "row " << t << ", column " << c;
        if (result.rows.error(t, c) > 0) tightest = std::max(tightest, off / result.rows.error(t, c));
      }
    }
    const std::vector<double> arguments = Arguments(pass.layout(), rounded.tokens);
    for (size_t g = 0; g < arguments.size(); ++g) {
      if (std::isnan(arguments[g])) continue;
      const Eigen::Index column = static_cast<Eigen::Index>(g);
      ASSERT_LE(std::abs(result.arguments.value(0, column) - arguments[g]), result.arguments.error(0, column))
          << "gate " << g;
    }
  });
  EXPECT_GT(tightest, 1e-3);
}

// Frozen at its own piece, nothing changes; frozen at another's, gates pass what they are told to.
TEST_P(ExactPassTest, FrozenGatesPassTheirArguments) {
  ForModels(30, [&](const AnalysisModel& model, Random* random) {
    const ContinuousInput input = RandomInput(model, random);
    const Float64Pass pass(model.weights(), ShapeOf(input));
    const PassResult free = pass.Run(OnePoint(input), {});
    std::vector<uint8_t> pattern = pass.Signs(free, 0);
    EXPECT_EQ(pass.Run(OnePoint(input), {.pattern = pattern.data()}).rows.value, free.rows.value);
    if (pattern.empty()) return;
    // A gate of the first block that flips: its own argument stays.
    const size_t gate = random->Between(0, pass.layout().blocks().front().size - 1);
    pattern[gate] ^= 1;
    const PassResult other = pass.Run(OnePoint(input), {.pattern = pattern.data()});
    EXPECT_EQ(other.arguments.value(0, static_cast<Eigen::Index>(gate)),
              free.arguments.value(0, static_cast<Eigen::Index>(gate)));
  });
}

INSTANTIATE_TEST_SUITE_P(All, ExactPassTest,
                         ::testing::Values(Case{Architecture::kEncoder, true},
                                           Case{Architecture::kDecoder, true},
                                           Case{Architecture::kEncoderDecoder, true}));
INSTANTIATE_TEST_SUITE_P(
    All, Float64PassTest,
    ::testing::Values(Case{Architecture::kEncoder, true}, Case{Architecture::kDecoder, true},
                      Case{Architecture::kEncoderDecoder, true}, Case{Architecture::kEncoder, false},
                      Case{Architecture::kDecoder, false}, Case{Architecture::kEncoderDecoder, false}));

}  // namespace
}  // namespace splineserve::testing
