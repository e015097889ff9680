// Maps of the same rows in one parallel section: the numbers and the faults of one map after another.
#include "core/model/evaluation.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/cpu_cache.h"
#include "core/model/weights.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

constexpr size_t kInner = 70, kOuter = 90;
// More rows than fill the second-level cache with their input and both outputs.
const size_t kSeveralBlocks = SecondLevelCacheBytes() / (sizeof(float) * (kInner + 2 * kOuter)) * 3 / 2;

// A map whose column `column` multiplies by numbers that overflow where the input there is large.
AffineMap Map(testing::RandomFloats& random, size_t column) {
  std::vector<float> w = random.Vector(kOuter * kInner, testing::Values::kNormal);
  for (size_t n = 0; n < kOuter; ++n) w[n * kInner + column] = 1e20f;
  AffineMap map;
  map.weight = PackedMatrix::FromRows({w.data(), kOuter, kInner});
  return map;
}

// Wants margins of the sequences given.
class Margins : public GateSink {
 public:
  explicit Margins(std::vector<bool> wanted) : wanted_(std::move(wanted)) {}
  uint8_t* Bits(const GateGroupRef&) override { return nullptr; }
  bool BitsOfHeads(const GateGroupRef&, absl::Span<uint8_t*>) override { return false; }
  bool WantsMargin(size_t sequence) const override { return wanted_[sequence]; }
  void Record(const GateGroupRef&, const GateRow&) override {}
  void RecordHeads(const GateGroupRef&, absl::Span<const GateRow>) override {}

 private:
  const std::vector<bool> wanted_;
};

class EvaluationTest : public ::testing::Test {
 protected:
  // Runs both maps over `rows` rows of one sequence, in which each map overflows at the rows given; returns
  // the sequence's status.
  absl::Status Project(size_t threads, size_t rows, const std::vector<size_t>& first_overflows,
                       const std::vector<size_t>& second_overflows) {
    std::vector<float> x = random_.Vector(rows * kInner, testing::Values::kNormal);
    for (size_t r = 0; r < rows; ++r) x[r * kInner] = x[r * kInner + 1] = 0;
    for (size_t r : first_overflows) x[r * kInner] = 1e30f;
    for (size_t r : second_overflows) x[r * kInner + 1] = 1e30f;
    const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(threads);
    const MatrixView<const float> input(x.data(), rows, kInner);
    std::vector<std::vector<float>> out(4, std::vector<float>(rows * kOuter));
    const auto view = [&](size_t i) { return MatrixView<float>(out[i].data(), rows, kOuter); };
    Workspace workspace;
    Evaluation evaluation(config_, *AvailableKernelSets()[0], *pool, workspace, nullptr, go_on_);
    const RowRange range = {0, rows, 3};
    evaluation.Begin("encoder", {&range, 1});
    std::vector<int> followed(rows, 0);
    const auto after = [&](size_t first, size_t count) {
      for (size_t r = first; r < first + count; ++r) {
        // Rows are another's as soon as they are projected, each once.
        ++followed[r];
        EXPECT_NE(out[0][r * kOuter + 1], 0);
        EXPECT_NE(out[1][r * kOuter + 1], 0);
      }
    };
    const Evaluation::RowStep step = {after, 9};
    evaluation.Project({{&first_, view(0), "a key"}, {&second_, view(1), "a value"}}, input, 1, &step);
    EXPECT_EQ(followed, std::vector<int>(rows, 1));
    evaluation.Apply(first_, input, view(2));
    evaluation.Apply(second_, input, view(3));
    EXPECT_TRUE(testing::BitsEqual(out[0].data(), out[2].data(), rows * kOuter));
    EXPECT_TRUE(testing::BitsEqual(out[1].data(), out[3].data(), rows * kOuter));
    return evaluation.statuses()[0];
  }

  static std::string Fault(const std::string& what, size_t token) {
    return "encoder layer 1, token " + std::to_string(token) + ": " + what +
           " overflowed float32: expected finite numbers, found infinity or NaN";
  }

  testing::RandomFloats random_{testing::TestSeed()};
  const AffineMap first_ = Map(random_, 0), second_ = Map(random_, 1);
  const ModelConfig config_;
  const std::function<bool()> go_on_ = [] { return true; };
};

TEST_F(EvaluationTest, ProjectionsAreThoseOfOneMapAfterAnother) {
  for (size_t threads : {1, 2, 3}) {
    for (size_t rows : {size_t{1}, size_t{7}, size_t{30}, size_t{80}, size_t{200}, kSeveralBlocks}) {
      SCOPED_TRACE(std::to_string(threads) + " threads, " + std::to_string(rows) + " rows");
      EXPECT_TRUE(Project(threads, rows, {}, {}).ok());
      const size_t last = rows - 1, middle = rows / 2;
      EXPECT_EQ(Project(threads, rows, {}, {last}).message(), Fault("a value", 3 + last));
      // The first map's fault counts, wherever the second's are.
      EXPECT_EQ(Project(threads, rows, {last}, {0, middle}).message(), Fault("a key", 3 + last));
      EXPECT_EQ(Project(threads, rows, {last, middle}, {0}).message(), Fault("a key", 3 + middle));
    }
  }
}

TEST_F(EvaluationTest, WhatIsCheckedAndAppliedIsNamedAsInput) {
  for (size_t threads : {1, 2}) {
    for (size_t rows : {5, 120}) {
      std::vector<float> x = random_.Vector(rows * kInner, testing::Values::kNormal);
      for (size_t r = 0; r < rows; ++r) x[r * kInner] = 0;
      const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(threads);
      const MatrixView<const float> input(x.data(), rows, kInner);
      std::vector<float> out(rows * kOuter), expected(rows * kOuter);
      Workspace workspace;
      Evaluation evaluation(config_, *AvailableKernelSets()[0], *pool, workspace, nullptr, go_on_);
      const RowRange range = {0, rows, 0};
      evaluation.Begin("encoder", {&range, 1});
      evaluation.CheckAndApply(input, "an attention output", 1, first_, {out.data(), rows, kOuter});
      evaluation.Apply(first_, input, {expected.data(), rows, kOuter});
      EXPECT_TRUE(evaluation.statuses()[0].ok());
      EXPECT_TRUE(testing::BitsEqual(out.data(), expected.data(), out.size()));
      x[(rows - 1) * kInner + 9] = std::numeric_limits<float>::infinity();
      evaluation.CheckAndApply(input, "an attention output", 1, first_, {out.data(), rows, kOuter});
      EXPECT_EQ(evaluation.statuses()[0].message(), Fault("an attention output", rows - 1));
    }
  }
}

TEST_F(EvaluationTest, MarginsAreWantedOfTheSequencesThatTheSinkSays) {
  const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(1);
  const std::vector<RowRange> ranges = {{0, 1, 0}, {1, 1, 0}, {2, 1, 0}};
  for (const std::vector<bool>& wanted : {std::vector<bool>{false, false, true},
                                          {true, false, false},
                                          {false, false, false},
                                          {true, true, true}}) {
    Workspace workspace;
    Margins sink(wanted);
    Evaluation evaluation(config_, *AvailableKernelSets()[0], *pool, workspace, &sink, go_on_);
    evaluation.Begin("encoder", ranges);
    for (size_t s = 0; s < wanted.size(); ++s) EXPECT_EQ(evaluation.WantsMargin(s), wanted[s]) << s;
    EXPECT_EQ(evaluation.WantsMargins(), std::count(wanted.begin(), wanted.end(), true) != 0);
  }
  Workspace workspace;
  Evaluation nobody(config_, *AvailableKernelSets()[0], *pool, workspace, nullptr, go_on_);
  nobody.Begin("encoder", ranges);
  EXPECT_FALSE(nobody.WantsMargin(0) || nobody.WantsMargins());
}

// Rows that lie apart, as columns of something wider: what is between them is neither looked at nor touched.
TEST_F(EvaluationTest, BetweenRowsThatLieApartAnythingMayBe) {
  constexpr size_t kRows = 9, kStride = kInner + 5;
  const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(1);
  Workspace workspace;
  ModelConfig config;
  config.residual = true;
  Evaluation evaluation(config, *AvailableKernelSets()[0], *pool, workspace, nullptr, go_on_);
  const RowRange range = {0, kRows, 0};
  evaluation.Begin("encoder", {&range, 1});
  std::vector<float> x(kRows * kStride, std::numeric_limits<float>::infinity());
  for (size_t r = 0; r < kRows; ++r) std::fill_n(&x[r * kStride], kInner, 1.0f);
  const std::vector<float> branch(kRows * kInner, 2.0f);
  const MatrixView<float> view(x.data(), kRows, kInner, kStride);
  evaluation.CheckFinite(view, "a key", 1);
  evaluation.AddBranch({branch.data(), kRows, kInner}, nullptr, "an output", 1, view);
  EXPECT_TRUE(evaluation.statuses()[0].ok()) << evaluation.statuses()[0];
  EXPECT_EQ(std::count(x.begin(), x.end(), 3.0f), static_cast<std::ptrdiff_t>(kRows * kInner));
}

// Faults of two sequences in one block, each at its earliest token; and every sum is made once.
TEST_F(EvaluationTest, SumsThatOverflowAreNamedInEverySequence) {
  constexpr size_t kRows = 30;
  constexpr float kMost = std::numeric_limits<float>::max();
  const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(1);
  Workspace workspace;
  ModelConfig config;
  config.residual = true;
  Evaluation evaluation(config, *AvailableKernelSets()[0], *pool, workspace, nullptr, go_on_);
  const std::vector<RowRange> ranges = {{0, 10, 0}, {10, 5, 2}, {15, 15, 7}};
  evaluation.Begin("encoder", ranges);
  std::vector<float> x(kRows * kInner, 1.0f), branch(kRows * kInner, 2.0f);
  for (const size_t r : {11, 13, 20, 29}) x[r * kInner + r] = branch[r * kInner + r] = kMost;
  evaluation.AddBranch({branch.data(), kRows, kInner}, nullptr, "an output", 1, {x.data(), kRows, kInner});
  EXPECT_TRUE(evaluation.statuses()[0].ok()) << evaluation.statuses()[0];
  EXPECT_EQ(evaluation.statuses()[1].message(), Fault("an output", 3));
  EXPECT_EQ(evaluation.statuses()[2].message(), Fault("an output", 12));
  EXPECT_EQ(std::count(x.begin(), x.end(), 3.0f), static_cast<std::ptrdiff_t>(kRows * kInner - 4));
}

}  // namespace
}  // namespace splineserve
