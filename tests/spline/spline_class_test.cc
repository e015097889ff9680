#include "core/spline/spline_class.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>

#include "core/spline/gate_layout.h"

namespace splineserve {
namespace {

ModelConfig Encoder(size_t layers) {
  ModelConfig config;
  config.architecture = Architecture::kEncoder;
  config.num_encoder_layers = layers;
  return config;
}

ModelConfig EncoderDecoder(size_t encoder_layers, size_t decoder_layers) {
  ModelConfig config = Encoder(encoder_layers);
  config.architecture = Architecture::kEncoderDecoder;
  config.num_decoder_layers = decoder_layers;
  return config;
}

TEST(SplineClassTest, ReluAndAffineNormsAreExact) {
  ModelConfig config = Encoder(1);
  EXPECT_EQ(ClassOf(config), SplineClass::kExact);
  config.norm = NormKind::kAffine;
  config.attention_activation = AttentionActivation::kRelu2;
  config.hidden_act = HiddenAct::kRelu2;
  EXPECT_EQ(ClassOf(config), SplineClass::kExact);
}

TEST(SplineClassTest, DividingNormsMakeItRegional) {
  for (NormKind norm : {NormKind::kLayerNorm, NormKind::kRmsNorm}) {
    ModelConfig config = Encoder(1);
    config.norm = norm;
    EXPECT_EQ(ClassOf(config), SplineClass::kRegional);
    EXPECT_EQ(DegreeBound(config), 0u);
  }
}

TEST(SplineClassTest, OneSmoothActivationMakesItSmooth) {
  for (AttentionActivation activation : {AttentionActivation::kSoftmax, AttentionActivation::kSoftplus}) {
    ModelConfig config = Encoder(1);
    config.attention_activation = activation;
    EXPECT_EQ(ClassOf(config), SplineClass::kSmooth);
    EXPECT_FALSE(AttentionHasGates(config));
    EXPECT_TRUE(FeedForwardHasGates(config));
  }
  for (HiddenAct act : {HiddenAct::kSoftplus, HiddenAct::kGelu, HiddenAct::kGeluTanh, HiddenAct::kSilu}) {
    ModelConfig config = Encoder(1);
    config.hidden_act = act;
    EXPECT_EQ(ClassOf(config), SplineClass::kSmooth);
    EXPECT_EQ(DegreeBound(config), 0u);
    EXPECT_FALSE(FeedForwardHasGates(config));
  }
}

TEST(DegreeBoundTest, SelfAttentionTriplesOrQuintuples) {
  EXPECT_EQ(DegreeBound(Encoder(1)), 3u);
  EXPECT_EQ(DegreeBound(Encoder(3)), 27u);
  ModelConfig squared = Encoder(2);
  squared.attention_activation = AttentionActivation::kRelu2;
  EXPECT_EQ(DegreeBound(squared), 25u);
  squared.hidden_act = HiddenAct::kRelu2;
  EXPECT_EQ(DegreeBound(squared), 100u);
}

TEST(DegreeBoundTest, CrossAttentionAddsTheMemorysDegree) {
  // Memory 9. Layer 1: 1 -> 3 -> 3 + 18 = 21. Layer 2: 21 -> 63 -> 81.
  EXPECT_EQ(DegreeBound(EncoderDecoder(2, 2)), 81u);
  // Squared: memory 5. 1 -> 5 -> 2 (5 + 5) + 5 = 25.
  ModelConfig squared = EncoderDecoder(1, 1);
  squared.attention_activation = AttentionActivation::kRelu2;
  EXPECT_EQ(DegreeBound(squared), 25u);
}

TEST(DegreeBoundTest, LayersSayWhereDegreesComeFrom) {
  ModelConfig config = EncoderDecoder(1, 1);
  LayerDegrees degrees = DegreesOf(config, 3, 9);
  EXPECT_EQ(degrees.self_score, 6u);
  EXPECT_EQ(degrees.cross_score, 18u);  // 3 * 3 + 9
  EXPECT_EQ(degrees.hidden, 27u);
  EXPECT_EQ(degrees.output, 27u);
  config.attention_activation = AttentionActivation::kRelu2;
  config.hidden_act = HiddenAct::kRelu2;
  degrees = DegreesOf(config, 3, 9);
  EXPECT_EQ(degrees.cross_score, 24u);  // 5 * 3 + 9
  EXPECT_EQ(degrees.hidden, 57u);       // 2 * 24 + 9
  EXPECT_EQ(degrees.output, 114u);
  // A memory that does not move takes nothing away from what moves.
  EXPECT_EQ(DegreesOf(EncoderDecoder(1, 1), 1, 0).hidden, 3u);
  EXPECT_EQ(DegreesOf(Encoder(1), 1, std::nullopt).cross_score, 0u);
}

TEST(DegreeBoundTest, IsThatOfTheGatesLayout) {
  for (ModelConfig config : {Encoder(2), EncoderDecoder(2, 2), EncoderDecoder(1, 3)}) {
    for (const AttentionActivation attention : {AttentionActivation::kRelu, AttentionActivation::kRelu2}) {
      config.attention_activation = attention;
      const GateLayout layout(config, {.source_tokens = 3, .target_tokens = config.has_decoder() ? 2u : 0u});
      EXPECT_EQ(layout.degree(), DegreeBound(config));
    }
  }
}

TEST(DegreeBoundTest, Saturates) {
  EXPECT_EQ(DegreeBound(Encoder(40)), 12157665459056928801u);  // 3^40 < 2^64 < 3^41
  EXPECT_EQ(DegreeBound(Encoder(41)), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(DegreeBound(EncoderDecoder(41, 1)), std::numeric_limits<uint64_t>::max());
}

}  // namespace
}  // namespace splineserve
