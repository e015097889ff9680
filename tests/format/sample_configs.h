// Two small configurations that between them have every kind of tensor and file.
#ifndef SPLINESERVE_TESTS_FORMAT_SAMPLE_CONFIGS_H_
#define SPLINESERVE_TESTS_FORMAT_SAMPLE_CONFIGS_H_

namespace splineserve::testing {

inline constexpr char kEncoderConfig[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
  "hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 7, "num_encoder_layers": 1,
  "norm": "affine", "final_norm": true, "positions": "learned", "max_positions": 5,
  "input": {"kind": "vectors", "size": 4}, "head": {"kind": "linear", "size": 3, "pooling": "mean"}})";

inline constexpr char kEncoderDecoderConfig[] = R"({"model_type": "spline_transformer",
  "architecture": "encoder_decoder", "hidden_size": 4, "num_attention_heads": 2, "head_dim": 3, "intermediate_size": 5,
  "num_encoder_layers": 1, "num_decoder_layers": 1, "norm": "layer_norm", "positions": "sinusoidal",
  "max_positions": 9, "input": {"kind": "tokens", "vocab_size": 11},
  "target_input": {"kind": "tokens", "vocab_size": 13}, "head": {"kind": "linear", "size": 13},
  "vocabulary": {"file": "source.txt", "split": "characters"},
  "target_vocabulary": {"file": "target.txt", "split": "whitespace"},
  "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})";

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_FORMAT_SAMPLE_CONFIGS_H_
