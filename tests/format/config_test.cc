// config.json as a whole: fields that depend on each other, and text that is no config at all.
#include <string>
#include <vector>

#include "core/format/model_config.h"
#include "nlohmann/json.hpp"
#include "tests/format/config_samples.h"
#include "tests/format/failure.h"

namespace splineserve {
namespace {

using nlohmann::json;
using testing::Encoder;
using testing::EncoderDecoder;
using testing::Parse;
using testing::Refused;
using testing::Vectors;
using testing::With;

TEST(ModelConfig, FieldsThatExcludeEachOther) {
  const struct {
    json (*base)();
    const char* patch;
    std::vector<std::string> pieces;
  } kCases[] = {
      {Encoder,
       R"({"num_attention_heads": 5})",
       {"head_dim: expected", "(5) does not divide hidden_size (12)", "no such field"}},
      {Encoder,
       R"({"num_attention_heads": 4096, "head_dim": 8192})",
       {"num_attention_heads: expected at most 16777216 / head_dim (8192)", "found 4096"}},
      {Encoder,
       R"({"num_encoder_layers": 0})",
       {"num_encoder_layers: expected an integer from 1", "\"encoder\"", "found 0"}},
      {Encoder,
       R"({"num_decoder_layers": 3})",
       {"num_decoder_layers: expected 0 for architecture \"encoder\", found 3"}},
      {Encoder,
       R"({"architecture": "decoder", "num_decoder_layers": 1})",
       {"num_encoder_layers: expected 0 for architecture \"decoder\", found 2"}},
      {Encoder,
       R"({"architecture": "decoder", "num_encoder_layers": 0})",
       {"num_decoder_layers: expected an integer from 1", "\"decoder\""}},
      {Encoder, R"({"final_norm": true})", {"final_norm: expected false with norm \"none\", found true"}},
      {Encoder,
       R"({"positions": "learned"})",
       {"max_positions: expected an integer", "with positions \"learned\"", "no such field"}},
      {Encoder,
       R"({"positions": "sinusoidal"})",
       {"max_positions: expected an integer", "with positions \"sinusoidal\""}},
      {Encoder,
       R"({"target_input": {"kind": "tokens", "vocab_size": 3}})",
       {"target_input: expected only with architecture \"encoder_decoder\", found an object"}},
      {Encoder,
       R"({"target_vocabulary": {"file": "x"}})",
       {"target_vocabulary: expected only with a target_input of kind \"tokens\""}},
      {Vectors,
       R"({"vocabulary": {"file": "x"}})",
       {"vocabulary: expected only with an input of kind \"tokens\""}},
      {Vectors,
       R"({"input": {"vocab_size": 3}})",
       {"input.vocab_size: expected only with kind \"tokens\", found 3"}},
      {Vectors, R"({"input": {"scale": 3}})", {"input.scale: expected only with kind \"tokens\", found 3"}},
      {Encoder, R"({"input": {"size": 3}})", {"input.size: expected only with kind \"vectors\", found 3"}},
      {Vectors,
       R"({"pad_token_id": 0})",
       {"pad_token_id: expected only with an input of kind \"tokens\", found 0"}},
      {EncoderDecoder,
       R"({"target_input": {"kind": "vectors", "size": 2, "vocab_size": null}, "bos_token_id": 1})",
       {"bos_token_id: expected only with"}},
      {Encoder,
       R"({"head": {"kind": "none", "size": 3}})",
       {"head.size: expected only with kind \"linear\", found 3"}},
      {Encoder,
       R"({"head": {"kind": "none", "pooling": "mean"}})",
       {"head.pooling: expected only with kind \"linear\""}},
      {Encoder,
       R"({"vocabulary": {"file": "../x"}})",
       {"vocabulary.file: expected the plain name of a file", "found \"../x\""}},
      {Encoder,
       R"({"vocabulary": {"file": "/etc/passwd"}})",
       {"vocabulary.file: expected the plain name", "/etc/passwd"}},
      {Encoder,
       R"({"vocabulary": {"file": "x\u0000y"}})",
       {"vocabulary.file: expected the plain name", "x\\x00y"}},
      {Encoder, R"({"vocabulary": {"file": 3}})", {"vocabulary.file: expected a string, found 3"}},
  };
  for (const auto& test : kCases) {
    std::vector<std::string> pieces = test.pieces;
    pieces.push_back("m/config.json: ");
    EXPECT_TRUE(Refused(With(test.base(), test.patch), pieces)) << test.patch;
  }
  for (const char* patch :
       {R"({"max_positions": 7})", R"({"attention_activation": "softmax", "attention_normalizer": "none"})",
        R"({"head": {"kind": "none"}})", R"({"num_decoder_layers": 0})", R"({"softplus_beta": 3})"}) {
    EXPECT_TRUE(With(Encoder(), patch).ok()) << patch;
  }
  // Padding may be outside the source's ids as long as the target has it.
  EXPECT_TRUE(With(EncoderDecoder(), R"({"pad_token_id": 15})").ok());
  const auto source_only =
      With(EncoderDecoder(),
           R"({"target_input": {"kind": "vectors", "size": 2, "vocab_size": null}, "pad_token_id": 9})");
  ASSERT_TRUE(source_only.ok()) << source_only.status();
  EXPECT_EQ(source_only->pad_token_id, 9);
}

TEST(ModelConfig, RefusesWhatIsNoObjectOrABomb) {
  const auto parse = [](const std::string& text) { return ParseModelConfig(text, "m/config.json"); };
  for (const char* text : {"", "{", "\xff", "{]"})
    EXPECT_TRUE(Refused(parse(text), {"m/config.json: byte", "malformed"}));
  EXPECT_TRUE(Refused(parse("[1]"), {"m/config.json: expected a JSON object, found an array of 1"}));
  EXPECT_TRUE(Refused(parse("null"), {"expected a JSON object, found null"}));
  EXPECT_TRUE(Refused(parse("{\"a\":" + std::string(1000, '[')), {"at most 8 deep"}));
  std::string wide = "{\"a\":[0";
  for (int i = 0; i < 1000; ++i) wide += ",0";
  EXPECT_TRUE(Refused(parse(wide + "]}"), {"at most 1000 JSON values"}));
  EXPECT_TRUE(Refused(parse("{\"a\":\"" + std::string(1 << 20, 'x') + "\"}"), {"at most 1048576 bytes"}));
}

}  // namespace
}  // namespace splineserve
