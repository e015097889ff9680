#include "core/engine/token_choice.h"

#include <gtest/gtest.h>

#include <cmath>

namespace splineserve {
namespace {

TEST(TokenChoiceTest, ProbabilitiesSumToOneEvenForLargeLogits) {
  const std::vector<float> logits = {1000.0f, 999.0f, -1000.0f};
  const double log_sum = LogSumExp(logits);
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - log_sum);
  EXPECT_NEAR(sum, 1.0, 1e-12);
  EXPECT_NEAR(log_sum, 1000 + std::log1p(std::exp(-1.0)), 1e-12);
}

TEST(TokenChoiceTest, TiesGoToTheSmallerId) {
  const std::vector<float> logits = {1, 3, 3, 2};
  EXPECT_EQ(ArgMax(logits), 1);
  ChoiceScratch scratch;
  EXPECT_EQ(TopIndices(logits, 3, scratch), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(TopIndices(logits, 9, scratch).size(), 4u);
}

TEST(TokenChoiceTest, SamplingFollowsTheDistribution) {
  const uint64_t seed = 20240801;
  std::mt19937_64 random(seed);
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  std::vector<int> counts(3);
  ChoiceScratch scratch;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) ++counts[SampleToken(logits, 1.0, 0, random, scratch)];
  // Five standard deviations of a binomial: 5 sqrt(p (1 - p) / n) <= 0.018.
  EXPECT_NEAR(counts[0] / double{kDraws}, 0.5, 0.018);
  EXPECT_NEAR(counts[1] / double{kDraws}, 0.3, 0.018);
  EXPECT_NEAR(counts[2] / double{kDraws}, 0.2, 0.018);
}

TEST(TokenChoiceTest, TopKExcludesAndLowTemperatureSharpens) {
  std::mt19937_64 random(7);
  const std::vector<float> logits = {0, 1, 2, 3};
  ChoiceScratch scratch;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_GE(SampleToken(logits, 1.0, 2, random, scratch), 2);
    EXPECT_EQ(SampleToken(logits, 1e-3, 0, random, scratch), 3);
    EXPECT_EQ(SampleToken(logits, 1.0, 1, random, scratch), 3);
  }
}

}  // namespace
}  // namespace splineserve
