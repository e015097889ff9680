// A feed-forward network against its chains number by number. What it remembers of its gates from one
// evaluation to the next, right or wrong, changes its time, never a bit.
#include "core/model/feed_forward.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

constexpr size_t kWidth = 20, kUnits = 150;

// Keeps the bits and what is said of every row of one sequence.
class Gates : public GateSink {
 public:
  Gates(size_t rows, bool margins) : bits(rows), rows(rows), margins_(margins) {
    for (std::vector<uint8_t>& row : bits) row.assign((kUnits + 7) / 8, 0xFF);
  }
  uint8_t* Bits(const GateGroupRef& group) override { return bits[group.position].data(); }
  bool BitsOfHeads(const GateGroupRef&, absl::Span<uint8_t*>) override { return false; }
  bool WantsMargin(size_t) const override { return margins_; }
  void Record(const GateGroupRef& group, const GateRow& row) override { rows[group.position] = row; }
  void RecordHeads(const GateGroupRef&, absl::Span<const GateRow>) override {}

  std::vector<std::vector<uint8_t>> bits;
  std::vector<GateRow> rows;

 private:
  const bool margins_;
};

// A kernel set that counts how often its product lists.
class Counting {
 public:
  explicit Counting(const KernelSet& set) {
    counted_ = set;
    listed_ = 0;
    counting_ = set;
    counting_.gated_product = Count;
  }
  const KernelSet& kernels() const { return counting_; }
  static int listed() { return listed_; }

 private:
  static void Count(const float* x, size_t x_stride, size_t rows, const PackedView& w, const float* bias,
                    float scale, const GateSpec& gates, float* out, size_t out_stride) {
    if (gates.lists != nullptr) ++listed_;
    counted_.gated_product(x, x_stride, rows, w, bias, scale, gates, out, out_stride);
  }
  static inline KernelSet counted_;
  static inline std::atomic<int> listed_;
  KernelSet counting_;
};

class FeedForwardTest : public ::testing::Test {
 protected:
  FeedForwardTest() {
    config_.hidden_size = kWidth;
    config_.intermediate_size = kUnits;
    config_.hidden_act = HiddenAct::kRelu;
    up_ = random_.Vector(kUnits * kWidth, testing::Values::kNormal);
    down_ = random_.Vector(kWidth * kUnits, testing::Values::kNormal);
    // The first input opens or closes them all.
    for (size_t u = 0; u < kUnits; ++u) up_[u * kWidth] = 1;
    weights_.up.weight = PackedMatrix::FromRows({up_.data(), kUnits, kWidth});
    for (size_t u = 0; u < kUnits; ++u) up_bias_.push_back(u % 3 == 0 ? 0.5f : -0.25f);
    for (size_t n = 0; n < kWidth; ++n) down_bias_.push_back(static_cast<float>(n));
    Fill(up_bias_, weights_.up.bias);
    Fill(down_bias_, weights_.down.bias);
    weights_.down.weight = PackedMatrix::FromRows({down_.data(), kWidth, kUnits});
  }

  static void Fill(const std::vector<float>& from, AlignedBuffer<float>& to) {
    to = AlignedBuffer<float>(from.size());
    std::copy(from.begin(), from.end(), to.data());
  }

  // Rows whose units are shifted by `shift`.
  std::vector<float> Rows(size_t rows, float shift) {
    std::vector<float> x = random_.Vector(rows * kWidth, testing::Values::kNormal);
    for (size_t r = 0; r < rows; ++r) x[r * kWidth] = shift;
    return x;
  }

  // The share of open gates.
  double ExpectExact(const KernelSet& kernels, Workspace& workspace, ThreadPool& pool,
                     const std::vector<float>& x, bool margins) {
    const size_t rows = x.size() / kWidth;
    Gates gates(rows, margins);
    const std::function<bool()> go_on = [] { return true; };
    Evaluation evaluation(config_, kernels, pool, workspace, &gates, go_on);
    evaluation.Begin("encoder", std::vector<RowRange>{{0, rows, 0}});
    std::vector<float> out(rows * kWidth, std::numeric_limits<float>::quiet_NaN());
    FeedForward(evaluation, weights_, 0, {x.data(), rows, kWidth}, {out.data(), rows, kWidth});
    EXPECT_TRUE(evaluation.statuses()[0].ok()) << evaluation.statuses()[0];
    size_t all = 0;
    for (size_t r = 0; r < rows; ++r) {
      std::vector<float> units(kUnits), expected = down_bias_;
      std::vector<uint8_t> bits((kUnits + 7) / 8, 0);
      uint32_t open = 0;
      float margin = std::numeric_limits<float>::infinity();
      for (size_t u = 0; u < kUnits; ++u) {
        float chain = up_bias_[u];
        for (size_t k = 0; k < kWidth; ++k) chain = std::fma(x[r * kWidth + k], up_[u * kWidth + k], chain);
        margin = std::min(margin, std::abs(chain));
        if (!(chain > 0)) continue;
        ++open;
        bits[u / 8] = static_cast<uint8_t>(bits[u / 8] | 1u << u % 8);
        units[u] = config_.hidden_act == HiddenAct::kRelu2 ? chain * chain : chain;
      }
      for (size_t n = 0; n < kWidth; ++n) {
        for (size_t u = 0; u < kUnits; ++u)
          expected[n] = std::fma(units[u], down_[n * kUnits + u], expected[n]);
      }
      EXPECT_TRUE(testing::BitsEqual(&out[r * kWidth], expected.data(), kWidth))
          << "row " << r << " of " << rows;
      EXPECT_EQ(bits, gates.bits[r]) << "row " << r << " of " << rows;
      EXPECT_EQ(open, gates.rows[r].open) << "row " << r << " of " << rows;
      EXPECT_EQ(margins ? margin : 0, gates.rows[r].margin) << "row " << r << " of " << rows;
      all += open;
    }
    return static_cast<double>(all) / static_cast<double>(rows * kUnits);
  }

  testing::RandomFloats random_{testing::TestSeed()};
  ModelConfig config_;
  std::vector<float> up_, down_, up_bias_, down_bias_;
  FeedForwardWeights weights_;
};

TEST_F(FeedForwardTest, WhatIsExpectedOfTheGatesDoesNotMatter) {
  constexpr float kSparse = -6, kHalf = 0, kDense = 12;
  for (const KernelSet* kernels : AvailableKernelSets()) {
    SCOPED_TRACE(kernels->name);
    for (const size_t threads : {1, 2}) {
      const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(threads);
      for (const size_t rows : {1, 2, 3, 8, 11, 12, 31, 200}) {
        config_.hidden_act = rows % 2 == 0 ? HiddenAct::kRelu : HiddenAct::kRelu2;
        Workspace workspace;  // knows nothing yet
        for (const float shift : {kSparse, kSparse, kDense, kDense, kHalf, kHalf, kSparse, kHalf, kSparse}) {
          const double open = ExpectExact(*kernels, workspace, *pool, Rows(rows, shift), rows % 3 == 0);
          ASSERT_FALSE(HasFailure()) << "rows " << rows << ", threads " << threads << ", shift " << shift;
          if (rows == 200) {
            EXPECT_NEAR(open, shift == kSparse ? 0.1 : shift == kDense ? 1 : 0.5, 0.1);
          }
          // Of the block that ended last.
          EXPECT_NEAR(workspace.memory(&weights_).open_units, open, 0.1);
        }
      }
    }
  }
}

// Where few units are expected to be open, `up` lists them; of few rows also where half of them are.
TEST_F(FeedForwardTest, ListsByProductWhereThatPays) {
  const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(1);
  const Counting counting(*AvailableKernelSets()[0]);
  const auto lists = [&](size_t rows, float shift) {
    Workspace workspace;
    ExpectExact(counting.kernels(), workspace, *pool, Rows(rows, shift), false);  // nothing is expected yet
    const int before = Counting::listed();
    ExpectExact(counting.kernels(), workspace, *pool, Rows(rows, shift), false);
    return Counting::listed() > before;
  };
  EXPECT_TRUE(lists(40, -6));
  EXPECT_FALSE(lists(40, 0));
  EXPECT_TRUE(lists(8, -6));
  EXPECT_TRUE(lists(8, 0));
  EXPECT_FALSE(lists(8, 12));
  EXPECT_FALSE(lists(2, -6));
}

TEST_F(FeedForwardTest, UnitsThatOverflowAreFoundWhereTheyAreListed) {
  const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(1);
  const std::function<bool()> go_on = [] { return true; };
  constexpr size_t kRows = 20, kBad = 13;
  for (const KernelSet* kernels : AvailableKernelSets()) {
    SCOPED_TRACE(kernels->name);
    for (const float bad : {std::numeric_limits<float>::max(), -std::numeric_limits<float>::max()}) {
      Workspace workspace;
      std::vector<float> x = Rows(kRows, -6);
      ExpectExact(*kernels, workspace, *pool, x, false);
      ASSERT_LT(workspace.memory(&weights_).open_units, 0.25) << "lists are expected";
      std::fill_n(&x[kBad * kWidth], kWidth, bad);
      Evaluation evaluation(config_, *kernels, *pool, workspace, nullptr, go_on);
      evaluation.Begin("encoder", std::vector<RowRange>{{0, kRows, 0}});
      std::vector<float> out(kRows * kWidth);
      FeedForward(evaluation, weights_, 0, {x.data(), kRows, kWidth}, {out.data(), kRows, kWidth});
      const std::string message(evaluation.statuses()[0].message());
      EXPECT_NE(message.find("token 13: a feed-forward pre-activation"), std::string::npos) << message;
    }
  }
}

}  // namespace
}  // namespace splineserve
