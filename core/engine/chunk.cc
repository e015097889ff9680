#include "core/engine/chunk.h"

namespace splineserve {

Work WorkOf(const ModelConfig& config, size_t source, size_t target, bool head) {
  const auto n = static_cast<double>(target), m = static_cast<double>(source);
  const auto d = static_cast<double>(config.hidden_size);
  const auto a = static_cast<double>(config.attention_size());
  const double projections = 4 * d * a;  // query, key, value, output
  const double feed_forward = 2 * d * static_cast<double>(config.intermediate_size);
  const auto input = [&](const InputConfig& side) {
    return side.kind == InputKind::kVectors ? static_cast<double>(side.size) * d : 0.0;
  };
  double work = 0;
  if (source != 0) {
    const double pairs = m * m;
    work += m * input(config.input) + static_cast<double>(config.num_encoder_layers) *
                                          (m * (projections + feed_forward) + 2 * a * pairs);
  }
  if (target != 0) {
    const double pairs = n * (n + 1) / 2;
    double layer = n * (projections + feed_forward) + 2 * a * pairs;
    if (config.architecture == Architecture::kEncoderDecoder) {
      layer += (n + m) * projections / 2 + 2 * a * n * m;  // query and output of n rows, key and value of m
    }
    work += n * input(config.decoder_input()) + static_cast<double>(config.num_decoder_layers) * layer;
  }
  if (head) work += (target != 0 ? n : m) * d * static_cast<double>(config.head.size);
  return {source + target, work};
}

}  // namespace splineserve
