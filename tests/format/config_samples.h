// Valid configurations to change one field of.
#ifndef SPLINESERVE_TESTS_FORMAT_CONFIG_SAMPLES_H_
#define SPLINESERVE_TESTS_FORMAT_CONFIG_SAMPLES_H_

#include "core/format/model_config.h"
#include "nlohmann/json.hpp"

namespace splineserve::testing {

inline nlohmann::json Encoder() {
  return nlohmann::json::parse(
      R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 12,
    "num_attention_heads": 4, "intermediate_size": 8, "num_encoder_layers": 2,
    "input": {"kind": "tokens", "vocab_size": 10}})");
}

inline nlohmann::json EncoderDecoder() {
  nlohmann::json config = Encoder();
  config["architecture"] = "encoder_decoder";
  config["num_decoder_layers"] = 1;
  config["target_input"] = {{"kind", "tokens"}, {"vocab_size", 20}};
  return config;
}

inline nlohmann::json Vectors() {
  nlohmann::json config = Encoder();
  config["input"] = {{"kind", "vectors"}, {"size", 3}};
  return config;
}

inline absl::StatusOr<ModelConfig> Parse(const nlohmann::json& config) {
  return ParseModelConfig(config.dump(), "m/config.json");
}

// The base config with the fields of `patch` put in (null removes one: JSON merge patch).
inline absl::StatusOr<ModelConfig> With(nlohmann::json base, const char* patch) {
  base.merge_patch(nlohmann::json::parse(patch));
  return Parse(base);
}

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_FORMAT_CONFIG_SAMPLES_H_
