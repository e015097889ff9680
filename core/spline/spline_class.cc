#include "core/spline/spline_class.h"

#include <algorithm>
#include <limits>

namespace splineserve {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

uint64_t Add(uint64_t a, uint64_t b) { return a > kMax - b ? kMax : a + b; }
uint64_t Times(uint64_t factor, uint64_t a) { return a > kMax / factor ? kMax : factor * a; }

// The degree of one stack after all layers. `memory` is 0 without cross-attention.
uint64_t StackDegree(const ModelConfig& config, size_t layers, uint64_t memory) {
  uint64_t degree = 1;
  for (size_t l = 0; l < layers && degree != kMax; ++l) {
    degree = DegreesOf(config, degree, memory != 0 ? std::optional(memory) : std::nullopt).output;
  }
  return degree;
}

}  // namespace

std::string_view Name(SplineClass value) {
  switch (value) {
    case SplineClass::kExact:
      return "EXACT";
    case SplineClass::kRegional:
      return "REGIONAL";
    case SplineClass::kSmooth:
      return "SMOOTH";
  }
  return "";
}

bool AttentionHasGates(const ModelConfig& config) { return IsGated(config.attention_activation); }

bool FeedForwardHasGates(const ModelConfig& config) {
  return config.hidden_act == HiddenAct::kRelu || config.hidden_act == HiddenAct::kRelu2;
}

SplineClass ClassOf(const ModelConfig& config) {
  if (!AttentionHasGates(config) || !FeedForwardHasGates(config)) return SplineClass::kSmooth;
  const bool polynomial_norms = config.norm == NormKind::kNone || config.norm == NormKind::kAffine;
  return polynomial_norms ? SplineClass::kExact : SplineClass::kRegional;
}

LayerDegrees DegreesOf(const ModelConfig& config, uint64_t input, std::optional<uint64_t> memory) {
  const bool squared = config.attention_activation == AttentionActivation::kRelu2;
  LayerDegrees degrees;
  degrees.self_score = Times(2, input);
  degrees.hidden = Times(squared ? 5 : 3, input);
  if (memory.has_value()) {
    degrees.cross_score = Add(degrees.hidden, *memory);
    const uint64_t weight = squared ? Times(2, degrees.cross_score) : degrees.cross_score;
    degrees.hidden = std::max(degrees.hidden, Add(weight, *memory));
  }
  degrees.output = config.hidden_act == HiddenAct::kRelu2 ? Times(2, degrees.hidden) : degrees.hidden;
  return degrees;
}

uint64_t DegreeBound(const ModelConfig& config) {
  if (ClassOf(config) != SplineClass::kExact) return 0;
  const uint64_t encoder = config.has_encoder() ? StackDegree(config, config.num_encoder_layers, 0) : 0;
  return config.has_decoder() ? StackDegree(config, config.num_decoder_layers, encoder) : encoder;
}

}  // namespace splineserve
