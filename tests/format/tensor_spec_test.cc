#include "core/format/tensor_spec.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/format/failure.h"

namespace splineserve {
namespace {

// "name[shape]" with "?" after the optional ones, separated by spaces.
std::string Listing(const char* json) {
  const absl::StatusOr<ModelConfig> config = ParseModelConfig(json, "config.json");
  if (!config.ok()) return config.status().ToString();
  return absl::StrJoin(ExpectedTensors(*config), " ", [](std::string* out, const TensorSpec& spec) {
    absl::StrAppend(out, spec.name, "[", absl::StrJoin(spec.shape, ","), "]", spec.optional ? "?" : "");
  });
}

TEST(TensorSpec, SmallestEncoder) {
  EXPECT_EQ(Listing(R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 6,
                        "num_attention_heads": 3, "head_dim": 5, "intermediate_size": 7, "num_encoder_layers": 1,
                        "input": {"kind": "vectors", "size": 4}})"),
            "encoder.input_proj.weight[6,4] encoder.input_proj.bias[6]? "
            "encoder.layers.0.self_attn.q_proj.weight[15,6] encoder.layers.0.self_attn.q_proj.bias[15]? "
            "encoder.layers.0.self_attn.k_proj.weight[15,6] encoder.layers.0.self_attn.k_proj.bias[15]? "
            "encoder.layers.0.self_attn.v_proj.weight[15,6] encoder.layers.0.self_attn.v_proj.bias[15]? "
            "encoder.layers.0.self_attn.o_proj.weight[6,15] encoder.layers.0.self_attn.o_proj.bias[6]? "
            "encoder.layers.0.ffn.up_proj.weight[7,6] encoder.layers.0.ffn.up_proj.bias[7]? "
            "encoder.layers.0.ffn.down_proj.weight[6,7] encoder.layers.0.ffn.down_proj.bias[6]?");
}

TEST(TensorSpec, EncoderDecoderWithEverything) {
  const std::string listing =
      Listing(R"({"model_type": "spline_transformer", "architecture": "encoder_decoder", "hidden_size": 4,
                  "num_attention_heads": 2, "intermediate_size": 9, "num_encoder_layers": 2, "num_decoder_layers": 1,
                  "input": {"kind": "tokens", "vocab_size": 11}, "target_input": {"kind": "tokens", "vocab_size": 13},
                  "positions": "learned", "max_positions": 17, "norm": "affine", "final_norm": true,
                  "head": {"kind": "linear", "size": 19}})");
  for (const char* piece :
       {"encoder.embed_tokens.weight[11,4] ", "encoder.embed_positions.weight[17,4] ",
        "decoder.embed_tokens.weight[13,4] ", "decoder.embed_positions.weight[17,4] ",
        "encoder.layers.1.self_attn_norm.weight[4] encoder.layers.1.self_attn_norm.bias[4]? ",
        "encoder.layers.1.ffn_norm.weight[4] ", "decoder.layers.0.cross_attn_norm.weight[4] ",
        "decoder.layers.0.cross_attn.k_proj.weight[4,4] ",
        "encoder.final_norm.weight[4] encoder.final_norm.bias[4]? ",
        "decoder.final_norm.weight[4] decoder.final_norm.bias[4]? head.weight[19,4] head.bias[19]?"}) {
    EXPECT_NE(listing.find(piece), std::string::npos) << piece << "\n" << listing;
  }
  for (const char* piece : {"encoder.layers.0.cross", "encoder.layers.2", "decoder.layers.1", "input_proj"}) {
    EXPECT_EQ(listing.find(piece), std::string::npos) << piece << "\n" << listing;
  }
}

}  // namespace
}  // namespace splineserve
