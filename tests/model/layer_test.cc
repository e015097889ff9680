// A layer against its steps one row after the other, with attention replaced by something simple: block by
// block or map by map, the same numbers and the same faults.
#include "core/model/layer.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/kernels/norms.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

constexpr size_t kWidth = 20, kUnits = 70, kHeads = 24;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class LayerTest : public ::testing::Test {
 protected:
  LayerTest() {
    config_.hidden_size = kWidth;
    config_.intermediate_size = kUnits;
    config_.hidden_act = HiddenAct::kRelu;
    weights_.self_attention.output = Map(kWidth, kHeads);
    weights_.feed_forward.up = Map(kUnits, kWidth);
    weights_.feed_forward.down = Map(kWidth, kUnits);
    weights_.cross_attention.emplace();
    weights_.cross_attention->output = Map(kWidth, kHeads);
    for (NormWeights* norm :
         {&weights_.self_attention.norm, &weights_.cross_attention->norm, &weights_.feed_forward.norm}) {
      norm->weight = AlignedBuffer<float>(kWidth);
      const std::vector<float> weight = random_.Vector(kWidth, testing::Values::kNormal);
      std::copy(weight.begin(), weight.end(), norm->weight.data());
    }
  }

  AffineMap Map(size_t outer, size_t inner) {
    std::vector<float> w = random_.Vector(outer * inner, testing::Values::kNormal);
    // A large first input overflows in every output.
    for (size_t n = 0; n < outer; ++n) w[n * inner] = 1e10f;
    AffineMap map;
    map.weight = PackedMatrix::FromRows({w.data(), outer, inner});
    return map;
  }

  // What stands for the heads of an attention: x but for its first number, shifted by `by` columns.
  static std::vector<float> Heads(MatrixView<const float> x, size_t by) {
    std::vector<float> heads(x.rows * kHeads, 0.0f);
    for (size_t r = 0; r < x.rows; ++r) {
      for (size_t c = 1; c < kWidth; ++c) heads[r * kHeads + 1 + (c + by) % (kHeads - 1)] = x(r, c);
    }
    return heads;
  }

  std::vector<float> Times(const AffineMap& map, const std::vector<float>& x) const {
    const size_t rows = x.size() / map.weight.inner();
    std::vector<float> out(rows * map.weight.outer());
    for (size_t r = 0; r < rows; ++r) {
      kernels_.product(x.data() + r * map.weight.inner(), 0, 1, map.weight.view(), nullptr, 1,
                       out.data() + r * map.weight.outer(), 0);
    }
    return out;
  }
  std::vector<float> Normed(const NormWeights& norm, std::vector<float> x) const {
    for (size_t i = 0; i < x.size(); i += kWidth) {
      LayerNorm(x.data() + i, norm.weight.data(), nullptr, config_.norm_eps, kWidth, x.data() + i);
    }
    return x;
  }
  std::vector<float> SubLayer(const NormWeights& norm, std::vector<float> x,
                              const std::function<std::vector<float>(const std::vector<float>&)>& map) const {
    const bool has_norm = config_.norm != NormKind::kNone;
    const bool pre = config_.norm_placement == NormPlacement::kPre;
    const std::vector<float> branch = map(has_norm && pre ? Normed(norm, x) : x);
    for (size_t i = 0; i < x.size(); ++i) x[i] = config_.residual ? x[i] + branch[i] : branch[i];
    return has_norm && !pre ? Normed(norm, x) : x;
  }
  // The layer, step by step.
  std::vector<float> Expected(std::vector<float> x, bool cross) const {
    const auto attention = [&](const AttentionWeights& weights, size_t by) {
      x = SubLayer(weights.norm, x, [&](const std::vector<float>& in) {
        return Times(weights.output, Heads({in.data(), in.size() / kWidth, kWidth}, by));
      });
    };
    attention(weights_.self_attention, 0);
    if (cross) attention(*weights_.cross_attention, 5);
    return SubLayer(weights_.feed_forward.norm, x, [&](const std::vector<float>& in) {
      std::vector<float> units = Times(weights_.feed_forward.up, in);
      for (float& unit : units) unit = std::max(unit, 0.0f);
      return Times(weights_.feed_forward.down, units);
    });
  }

  // Takes `hidden` through the layer; the heads of row `bad_heads` are not finite.
  absl::Status Run(size_t threads, bool cross, std::vector<float>& hidden,
                   size_t bad_heads = SIZE_MAX) const {
    const size_t rows = hidden.size() / kWidth;
    const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(threads);
    const std::function<bool()> go_on = [] { return true; };
    Workspace workspace;
    Evaluation evaluation(config_, kernels_, *pool, workspace, nullptr, go_on);
    const RowRange range = {0, rows, 0};
    evaluation.Begin("encoder", {&range, 1});
    std::vector<float> heads;
    const auto made_of = [&](MatrixView<const float> x, size_t by) {
      heads = Heads(x, by);
      if (bad_heads < rows) heads[bad_heads * kHeads + 3] = kInfinity;
      return MatrixView<const float>(heads.data(), rows, kHeads);
    };
    const auto self = [&](MatrixView<const float> x) { return made_of(x, 0); };
    const auto over_memory = [&](MatrixView<const float> x) { return made_of(x, 5); };
    const HeadsOf cross_heads = over_memory;
    RunLayer(evaluation, weights_, 7, self, cross ? &cross_heads : nullptr, {hidden.data(), rows, kWidth});
    return evaluation.statuses()[0];
  }

  const KernelSet& kernels_ = *AvailableKernelSets()[0];
  testing::RandomFloats random_{testing::TestSeed()};
  ModelConfig config_;
  LayerWeights weights_;
};

// Rows for several blocks of the feed-forward network, and too few to be split by rows.
TEST_F(LayerTest, IsItsStepsWhateverTheNormAndTheThreads) {
  for (const NormKind norm : {NormKind::kNone, NormKind::kLayerNorm}) {
    for (const NormPlacement placement : {NormPlacement::kPre, NormPlacement::kPost}) {
      for (const bool residual : {true, false}) {
        config_.norm = norm;
        config_.norm_placement = placement;
        config_.residual = residual;
        for (const bool cross : {false, true}) {
          for (const size_t rows : {1, 30, 9000}) {
            const std::vector<float> x = random_.Vector(rows * kWidth, testing::Values::kNormal);
            const std::vector<float> expected = Expected(x, cross);
            for (const size_t threads : {1, 2, 3}) {
              SCOPED_TRACE(std::to_string(threads) + " threads, " + std::to_string(rows) + " rows, seed " +
                           std::to_string(testing::TestSeed()));
              std::vector<float> actual = x;
              EXPECT_TRUE(Run(threads, cross, actual).ok());
              ASSERT_TRUE(testing::BitsEqual(actual.data(), expected.data(), actual.size()));
            }
          }
        }
      }
    }
  }
}

// The fault of the earliest step counts, though a later step has met another before in an earlier block.
TEST_F(LayerTest, NamesTheFaultOfTheEarliestStep) {
  constexpr char kFound[] = " overflowed float32: expected finite numbers, found infinity or NaN";
  for (const bool cross : {false, true}) {
    for (const size_t rows : {30, 9000}) {
      for (const size_t threads : {1, 2}) {
        SCOPED_TRACE(std::to_string(threads) + " threads, " + std::to_string(rows) + " rows");
        std::vector<float> x(rows * kWidth, 0.0f);
        x[5 * kWidth] = 1e30f;
        std::vector<float> hidden = x;
        EXPECT_EQ(Run(threads, cross, hidden).message(),
                  "encoder layer 7, token 5: a feed-forward pre-activation" + std::string(kFound));
        hidden = x;
        EXPECT_EQ(Run(threads, cross, hidden, rows - 1).message(),
                  "encoder layer 7, token " + std::to_string(rows - 1) + ": an attention output" + kFound);
        // Finite units, of which the network's sums overflow.
        hidden = x;
        hidden[5 * kWidth] = 1e20f;
        EXPECT_EQ(Run(threads, cross, hidden).message(),
                  "encoder layer 7, token 5: an output" + std::string(kFound));
        // What attention is added to, which its heads do not see: before token 5's network.
        hidden = x;
        hidden[9 * kWidth] = kInfinity;
        EXPECT_EQ(Run(threads, cross, hidden).message(),
                  "encoder layer 7, token 9: an output" + std::string(kFound));
      }
    }
  }
}

}  // namespace
}  // namespace splineserve
