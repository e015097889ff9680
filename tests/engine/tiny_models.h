// Two models as small as they come, for tests of who runs when.
#ifndef SPLINESERVE_TESTS_ENGINE_TINY_MODELS_H_
#define SPLINESERVE_TESTS_ENGINE_TINY_MODELS_H_

namespace splineserve::testing {

inline constexpr char kTinyEncoder[] = R"({
  "model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 6, "num_attention_heads": 2,
  "intermediate_size": 9, "num_encoder_layers": 2, "input": {"kind": "tokens", "vocab_size": 7}})";

// Without eos: it generates until a limit.
inline constexpr char kTinyDecoder[] = R"({
  "model_type": "spline_transformer", "architecture": "decoder", "hidden_size": 6, "num_attention_heads": 2,
  "intermediate_size": 9, "num_decoder_layers": 2, "input": {"kind": "tokens", "vocab_size": 7},
  "head": {"kind": "linear", "size": 7}, "bos_token_id": 1})";

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_ENGINE_TINY_MODELS_H_
