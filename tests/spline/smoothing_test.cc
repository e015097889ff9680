#include "core/spline/smoothing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace splineserve {
namespace {

std::string Refusal(const ModelConfig& config) {
  const absl::Status status = CheckSmoothable(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Smoothed(config, 1).status(), status);
  return std::string(status.message());
}

TEST(SmoothingTest, ExactModelsWithReluGatesBecomeSoftplus) {
  for (const NormKind norm : {NormKind::kNone, NormKind::kAffine}) {
    ModelConfig config;
    config.norm = norm;
    config.hidden_size = 7;
    const ModelConfig smoothed = Smoothed(config, 2.5f).value();
    EXPECT_EQ(smoothed.attention_activation, AttentionActivation::kSoftplus);
    EXPECT_EQ(smoothed.hidden_act, HiddenAct::kSoftplus);
    EXPECT_EQ(smoothed.softplus_beta, 2.5f);
    EXPECT_EQ(smoothed.norm, norm);
    EXPECT_EQ(smoothed.hidden_size, 7u);
  }
}

TEST(SmoothingTest, OthersAreRefusedWithTheReason) {
  const std::string expected = "smoothing: expected a model of class EXACT with relu gates, found class ";
  ModelConfig config;
  config.norm = NormKind::kRmsNorm;
  EXPECT_EQ(Refusal(config), expected + "REGIONAL with norm \"rms_norm\"");
  config.hidden_act = HiddenAct::kGelu;
  EXPECT_EQ(Refusal(config), expected + "SMOOTH with hidden_act \"gelu\"");
  config.attention_activation = AttentionActivation::kSoftmax;
  EXPECT_EQ(Refusal(config), expected + "SMOOTH with attention_activation \"softmax\"");
  config = ModelConfig();
  config.hidden_act = HiddenAct::kRelu2;
  EXPECT_EQ(Refusal(config),
            expected + "EXACT with hidden_act \"relu2\", whose smoothing the format has no word for");
  config.attention_activation = AttentionActivation::kRelu2;
  EXPECT_EQ(Refusal(config),
            expected +
                "EXACT with attention_activation \"relu2\", whose smoothing the format has no "
                "word for");
}

TEST(SmoothingTest, BetaIsAFiniteNumberAboveZero) {
  for (const float beta : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    EXPECT_EQ(Smoothed(ModelConfig(), beta).status().code(), absl::StatusCode::kInvalidArgument) << beta;
  }
  EXPECT_EQ(Smoothed(ModelConfig(), -1).status().message(),
            "smoothing: expected a finite beta above 0, found -1");
}

TEST(SmoothingTest, BetaTextIsTheShortestThatIsTheSameNumber) {
  EXPECT_EQ(BetaText(20), "20");
  EXPECT_EQ(BetaText(1e6f), "1000000");
  EXPECT_EQ(BetaText(0.1f), "0.1");
  EXPECT_EQ(BetaText(2.5f), "2.5");
  EXPECT_EQ(BetaText(1e12f), "1e+12");
  EXPECT_EQ(BetaText(16777217.0f), "16777216");
  EXPECT_EQ(BetaText(0.123456789f), "0.12345679");
  EXPECT_EQ(BetaText(std::numeric_limits<float>::denorm_min()), "1e-45");
}

}  // namespace
}  // namespace splineserve
