// The open units that screening finds are those of the product, whatever part of them is asked for and
// however the candidates are spread; it gives up where it must.
#include "core/model/screened_units.h"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/base/thread_pool.h"
#include "core/model/feed_forward.h"
#include "core/model/open_rows.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::SameNumber;
using testing::Values;

class ScreenedUnitsTest : public ::testing::Test {
 protected:
  // Random weights; half of the gates are open in the columns from `from` on, as `bias` has it in the others.
  void Make(size_t rows, size_t inner, size_t outer, float bias, size_t from) {
    x_ = random_.Vector(rows * inner, Values::kNormal);
    w_ = random_.Vector(outer * inner, Values::kNormal);
    bias_.assign(outer, bias);
    for (size_t n = from; n < outer; ++n) bias_[n] = 0;
    packed_ = PackedMatrix::FromRows({w_.data(), outer, inner});
    screen_ = ScreenedMatrix::Make(packed_, bias_.data());
    expected_.resize(rows * outer);
    testing::ScalarProduct({x_.data(), rows, inner}, {w_.data(), outer, inner}, bias_.data(), 1,
                           {expected_.data(), rows, outer});
  }

  const ScreenedInput& Rounded(const KernelSet& kernels, size_t rows, size_t inner) {
    input_.Prepare({x_.data(), rows, inner});
    for (size_t r = 0; r < rows; ++r) input_.Round(kernels, r);
    return input_;
  }

  void ExpectFound(const KernelSet& kernels, const ScreenRange& range, bool square) {
    const size_t outer = bias_.size(), rows = expected_.size() / outer, inner = packed_.inner();
    const RowListRoom lists = open_.ListedByCaller(rows, outer);
    const ScreenedInput& input = Rounded(kernels, rows, inner);
    ASSERT_TRUE(input.screenable());
    ASSERT_TRUE(units_.Find(kernels, screen_.view(), range, bias_.data(), square, input, 1, lists));
    const size_t begin = range.first_panel * kScreenPanel;
    const size_t end = std::min(outer, begin + range.panels * kScreenPanel);
    for (size_t r = 0; r < rows; ++r) {
      size_t i = 0;
      for (size_t n = begin; n < end; ++n) {
        const float number = expected_[r * outer + n];
        if (!(number > 0)) continue;
        ASSERT_LT(i, units_.count(r)) << "row " << r << " unit " << n;
        ASSERT_EQ(lists.index[r * lists.stride + i], n) << "row " << r;
        ASSERT_TRUE(SameNumber(lists.value[r * lists.stride + i], square ? number * number : number));
        ++i;
      }
      ASSERT_EQ(i, units_.count(r)) << "row " << r;
    }
  }

  const uint64_t seed_ = testing::TestSeed();
  testing::RandomFloats random_{seed_};
  std::vector<float> x_, w_, bias_, expected_;
  PackedMatrix packed_;
  ScreenedMatrix screen_;
  ScreenedInput input_;
  ScreenedUnits units_;
  OpenRows open_;
};

TEST_F(ScreenedUnitsTest, AreThoseOfTheProduct) {
  constexpr float kAllClosed = -1e3f;
  struct Case {
    size_t rows, inner, outer;
    float bias;
    size_t from;  // columns that are half open
  };
  for (const Case& c : {Case{7, 30, 200, -8, 200}, Case{1, 30, 200, 0, 0}, Case{3, 16, 64, kAllClosed, 64},
                        // Above kNarrowed.
                        Case{5, kNarrowed + 1, 900, -20, 900}, Case{2, 300, 900, kAllClosed, 800}}) {
    Make(c.rows, c.inner, c.outer, c.bias, c.from);
    const size_t panels = screen_.view().panels();
    for (const KernelSet* set : AvailableKernelSets()) {
      for (const bool square : {false, true}) {
        SCOPED_TRACE(std::string(set->name) + " inner " + std::to_string(c.inner) + " outer " +
                     std::to_string(c.outer) + " bias " + std::to_string(c.bias) + " seed " +
                     std::to_string(seed_));
        ASSERT_NO_FATAL_FAILURE(ExpectFound(*set, {0, panels}, square));
        ASSERT_NO_FATAL_FAILURE(ExpectFound(*set, {panels / 2, panels - panels / 2}, square));
        ASSERT_NO_FATAL_FAILURE(ExpectFound(*set, {0, 0}, square));
      }
    }
  }
}

TEST_F(ScreenedUnitsTest, GivesUpAboveTheLimitAndOnRowsThatCannotBeScreened) {
  Make(4, 40, 128, 0, 0);  // half of the gates are open
  for (const KernelSet* set : AvailableKernelSets()) {
    const RowListRoom lists = open_.ListedByCaller(4, 128);
    const auto find = [&](double limit) {
      const ScreenedInput& input = Rounded(*set, 4, 40);
      return input.screenable() &&
             units_.Find(*set, screen_.view(), {0, 2}, bias_.data(), false, input, limit, lists);
    };
    EXPECT_FALSE(find(0.3)) << set->name;
    EXPECT_TRUE(find(0.9)) << set->name;
    const double share = static_cast<double>(units_.candidates()) / (4 * 128);
    EXPECT_GT(share, 0.4) << set->name;
    EXPECT_LT(share, 0.7) << set->name;
    EXPECT_FALSE(find(share * 0.99)) << set->name;
    EXPECT_TRUE(find(share)) << set->name;
    const float kept = x_[2 * 40 + 7];
    for (const float bad : {std::numeric_limits<float>::infinity(), 1e30f}) {
      x_[2 * 40 + 7] = bad;
      EXPECT_FALSE(find(1)) << set->name << " " << bad;
    }
    x_[2 * 40 + 7] = kept;
    EXPECT_TRUE(find(1)) << set->name;
  }
}

// Hands out memory that is not clean, and keeps what was recorded.
class DirtySink : public GateSink {
 public:
  DirtySink(size_t tokens, size_t width) : bits_(tokens, std::vector<uint8_t>((width + 7) / 8, 0xAB)) {}
  uint8_t* Bits(const GateGroupRef& group) override {
    return group.position % 3 == 1 ? nullptr : bits_[group.position].data();
  }
  bool BitsOfHeads(const GateGroupRef&, absl::Span<uint8_t*>) override { return false; }
  void RecordHeads(const GateGroupRef&, absl::Span<const GateRow>) override {}
  bool WantsMargin(size_t) const override { return false; }
  void Record(const GateGroupRef& group, const GateRow& row) override {
    std::lock_guard<std::mutex> lock(mutex_);
    recorded.emplace(group.position, row.open);
  }
  const std::vector<std::vector<uint8_t>>& bits() const { return bits_; }
  std::map<size_t, uint32_t> recorded;

 private:
  std::mutex mutex_;
  std::vector<std::vector<uint8_t>> bits_;
};

TEST(ScreenedFeedForwardTest, ReportsTheGatesOfTheProduct) {
  constexpr size_t kWidth = 20, kUnits = 330;
  ModelConfig config;
  config.hidden_size = kWidth;
  config.intermediate_size = kUnits;
  config.hidden_act = HiddenAct::kRelu;
  testing::RandomFloats random(testing::TestSeed());
  const auto map = [&random](size_t outer, size_t inner) {
    const std::vector<float> w = random.Vector(outer * inner, Values::kNormal);
    AffineMap made;
    made.weight = PackedMatrix::FromRows({w.data(), outer, inner});
    return made;
  };
  FeedForwardWeights weights;
  weights.up = map(kUnits, kWidth);
  weights.down = map(kWidth, kUnits);
  // Half of the units are open: some blocks, or shares of the columns, have too many candidates for the lower
  // limits.
  for (const double limit : {1.0, 0.53, 0.526, 0.522, 0.518, 0.514}) {
    for (const KernelSet* set : AvailableKernelSets()) {
      for (const auto& [threads, tokens] : {std::pair<size_t, size_t>{1, 1},
                                            {1, 7},
                                            {2, 1},
                                            {2, 7},
                                            {1, 13},
                                            {1, 17},
                                            {2, 17},
                                            {2, 20},
                                            {2, 27},
                                            {2, 50},
                                            {1, 2000},
                                            {2, 2000}}) {
        if (tokens == 2000 && !set->hardware_fma) continue;  // a second each
        SCOPED_TRACE(std::string(set->name) + ", " + std::to_string(threads) + " threads, " +
                     std::to_string(tokens) + " tokens, limit " + std::to_string(limit) + ", seed " +
                     std::to_string(testing::TestSeed()));
        const std::vector<float> x = random.Vector(tokens * kWidth, Values::kNormal);
        const auto pool = ThreadPool::Create(threads).value();
        std::vector<float> out[2];
        DirtySink sinks[2] = {{tokens, kUnits}, {tokens, kUnits}};
        for (const size_t screened : {0, 1}) {
          weights.screen = screened == 0
                               ? ScreenedMatrix()
                               : ScreenedMatrix::Make(weights.up.weight, nullptr,
                                                      tokens % 10 == 7 ? ScreenedMatrix::Columns::kNone
                                                                       : ScreenedMatrix::Columns::kAll);
          weights.screen_limit = {{limit, limit, limit}, {limit, limit}};
          weights.down.sparse_below = 1;
          Workspace workspace;
          const auto go_on = [] { return true; };
          Evaluation evaluation(config, *set, *pool, workspace, &sinks[screened], go_on);
          const RowRange range = {0, tokens, 0};
          evaluation.Begin("encoder", {&range, 1});
          out[screened].resize(tokens * kWidth);
          FeedForward(evaluation, weights, 0, {x.data(), tokens, kWidth},
                      {out[screened].data(), tokens, kWidth});
          EXPECT_TRUE(evaluation.statuses()[0].ok());
        }
        EXPECT_TRUE(testing::BitsEqual(out[1].data(), out[0].data(), out[0].size()));
        EXPECT_EQ(sinks[0].bits(), sinks[1].bits());
        EXPECT_EQ(sinks[0].recorded, sinks[1].recorded);
      }
    }
  }
}

TEST(ScreenLimitTest, OfRowListsFallsFromOneRowToSome) {
  const ScreenLimit limit = {{0.5, 0.2, 0.05}, {}};
  EXPECT_DOUBLE_EQ(limit.OfRows(1), 0.5);
  EXPECT_DOUBLE_EQ(limit.OfRows(2), 0.3);
  EXPECT_DOUBLE_EQ(limit.OfRows(4), 0.2);
  EXPECT_DOUBLE_EQ(limit.OfRows(8), 0.08);  // a fifth of the way left, by the inverse square
  EXPECT_DOUBLE_EQ(limit.OfRows(16), 0.05);
  EXPECT_DOUBLE_EQ(limit.OfRows(400), 0.05);
  EXPECT_EQ(limit.OfTiles(400), 0);
  EXPECT_TRUE(limit.pays());
}

TEST(ScreenLimitTest, OfTilesGoesFromSomeRowsToMany) {
  const ScreenLimit limit = {{}, {0.1, 0.3}};
  EXPECT_EQ(limit.OfTiles(15), 0) << "too few rows for tiles";
  EXPECT_DOUBLE_EQ(limit.OfTiles(16), 0.1);
  EXPECT_DOUBLE_EQ(limit.OfTiles(24), 0.2);  // half way, by the inverse
  EXPECT_DOUBLE_EQ(limit.OfTiles(48), 0.3);
  EXPECT_DOUBLE_EQ(limit.OfTiles(400), 0.3);
  EXPECT_EQ(limit.OfRows(1), 0);
  EXPECT_EQ(limit.OfRows(400), 0);
  EXPECT_TRUE(limit.pays());
  EXPECT_FALSE(ScreenLimit().pays());
}

TEST(ScreenPauseTest, GrowsWithEveryFailureAndEndsWithASuccess) {
  ScreenPause pause;
  const auto refusals = [&pause] {
    size_t count = 0;
    while (!pause.Try()) ++count;
    return count;
  };
  EXPECT_EQ(refusals(), 0);
  for (const size_t expected : {1, 2, 4, 8, 16, 32, 64, 128, 128}) {
    pause.Report(false);
    EXPECT_EQ(refusals(), expected);
  }
  pause.Report(true);
  EXPECT_EQ(refusals(), 0);
  pause.Report(false);
  EXPECT_EQ(refusals(), 1);
}

}  // namespace
}  // namespace splineserve
