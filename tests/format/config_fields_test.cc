// config.json field by field: what each accepts, its default, and how it is refused.
#include <cmath>
#include <functional>
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

TEST(ModelConfig, Defaults) {
  const auto config = Parse(Encoder());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, Architecture::kEncoder);
  EXPECT_EQ(config->hidden_size, 12u);
  EXPECT_EQ(config->num_attention_heads, 4u);
  EXPECT_EQ(config->head_dim, 3u);
  EXPECT_EQ(config->attention_size(), 12u);
  EXPECT_EQ(config->intermediate_size, 8u);
  EXPECT_EQ(config->num_encoder_layers, 2u);
  EXPECT_EQ(config->num_decoder_layers, 0u);
  EXPECT_EQ(config->attention_activation, AttentionActivation::kRelu);
  EXPECT_EQ(config->attention_scale, static_cast<float>(1.0 / std::sqrt(3.0)));
  EXPECT_EQ(config->attention_normalizer, AttentionNormalizer::kVisible);
  EXPECT_EQ(config->hidden_act, HiddenAct::kRelu);
  EXPECT_EQ(config->softplus_beta, 1.0f);
  EXPECT_EQ(config->norm, NormKind::kNone);
  EXPECT_EQ(config->norm_placement, NormPlacement::kPre);
  EXPECT_EQ(config->norm_eps, 1e-5f);
  EXPECT_FALSE(config->final_norm);
  EXPECT_TRUE(config->residual);
  EXPECT_EQ(config->input.kind, InputKind::kTokens);
  EXPECT_EQ(config->input.size, 10u);
  EXPECT_EQ(config->input.scale, 1.0f);
  EXPECT_FALSE(config->target_input || config->vocabulary || config->target_vocabulary);
  EXPECT_EQ(config->positions, Positions::kNone);
  EXPECT_EQ(config->max_positions, 0u);
  EXPECT_EQ(config->head.kind, HeadKind::kNone);
  EXPECT_FALSE(config->bos_token_id || config->eos_token_id || config->pad_token_id);
}

TEST(ModelConfig, EveryFieldSet) {
  const auto config = With(EncoderDecoder(), R"({"head_dim": 5, "attention_activation": "softmax",
    "attention_scale": 0.1, "attention_normalizer": "none", "hidden_act": "gelu_tanh", "softplus_beta": 2,
    "norm": "rms_norm", "norm_placement": "post", "norm_eps": 0.25, "final_norm": true, "residual": false,
    "input": {"scale": 3.5}, "positions": "sinusoidal", "max_positions": 33,
    "head": {"kind": "linear", "size": 7, "pooling": "first"},
    "vocabulary": {"file": "a.txt", "split": "characters"},
    "target_vocabulary": {"file": "b.txt", "split": "whitespace"},
    "bos_token_id": 19, "eos_token_id": 2, "pad_token_id": 0})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->head_dim, 5u);
  EXPECT_EQ(config->attention_size(), 20u);
  EXPECT_EQ(config->attention_activation, AttentionActivation::kSoftmax);
  EXPECT_EQ(config->attention_scale, 0.1f);
  EXPECT_EQ(config->attention_normalizer, AttentionNormalizer::kNone);
  EXPECT_EQ(config->hidden_act, HiddenAct::kGeluTanh);
  EXPECT_EQ(config->softplus_beta, 2.0f);
  EXPECT_EQ(config->norm, NormKind::kRmsNorm);
  EXPECT_EQ(config->norm_placement, NormPlacement::kPost);
  EXPECT_EQ(config->norm_eps, 0.25f);
  EXPECT_TRUE(config->final_norm);
  EXPECT_FALSE(config->residual);
  EXPECT_EQ(config->input.scale, 3.5f);
  EXPECT_EQ(config->decoder_input().size, 20u);
  EXPECT_EQ(config->positions, Positions::kSinusoidal);
  EXPECT_EQ(config->max_positions, 33u);
  EXPECT_EQ(config->head.kind, HeadKind::kLinear);
  EXPECT_EQ(config->head.size, 7u);
  EXPECT_EQ(config->head.pooling, Pooling::kFirst);
  EXPECT_EQ(config->vocabulary->file, "a.txt");
  EXPECT_EQ(config->vocabulary->split, VocabularySplit::kCharacters);
  EXPECT_EQ(config->decoder_vocabulary()->file, "b.txt");
  EXPECT_EQ(config->decoder_vocabulary()->split, VocabularySplit::kWhitespace);
  EXPECT_EQ(config->bos_token_id, 19);
  EXPECT_EQ(config->eos_token_id, 2);
  EXPECT_EQ(config->pad_token_id, 0);
}

// A field, a dotted path in messages, the words that it takes, and how to read the parsed value's word back.
struct WordField {
  json (*base)();
  const char* path;  // JSON pointer
  const char* name;
  std::vector<const char*> words;
  std::function<std::string_view(const ModelConfig&)> read;
};

TEST(ModelConfig, EveryWordAndAnUnknownOne) {
  const auto with_norm = [] {
    json c = Encoder();
    c["norm"] = "affine";
    return c;
  };
  const auto with_head = [] {
    json c = Encoder();
    c["head"] = {{"kind", "linear"}, {"size", 2}};
    return c;
  };
  const auto with_file = [] {
    json c = Encoder();
    c["vocabulary"] = {{"file", "v"}};
    return c;
  };
  const auto with_limit = [] {
    json c = Encoder();
    c["max_positions"] = 9;
    return c;
  };
  const WordField kFields[] = {
      {Encoder,
       "/attention_activation",
       "attention_activation",
       {"relu", "relu2", "softplus", "softmax"},
       [](const ModelConfig& c) { return Name(c.attention_activation); }},
      {Encoder,
       "/attention_normalizer",
       "attention_normalizer",
       {"visible", "none"},
       [](const ModelConfig& c) { return Name(c.attention_normalizer); }},
      {Encoder,
       "/hidden_act",
       "hidden_act",
       {"relu", "relu2", "softplus", "gelu", "gelu_tanh", "silu"},
       [](const ModelConfig& c) { return Name(c.hidden_act); }},
      {Encoder,
       "/norm",
       "norm",
       {"none", "affine", "layer_norm", "rms_norm"},
       [](const ModelConfig& c) { return Name(c.norm); }},
      {with_norm,
       "/norm_placement",
       "norm_placement",
       {"pre", "post"},
       [](const ModelConfig& c) { return Name(c.norm_placement); }},
      {with_limit,
       "/positions",
       "positions",
       {"none", "learned", "sinusoidal"},
       [](const ModelConfig& c) { return Name(c.positions); }},
      {with_head,
       "/head/pooling",
       "head.pooling",
       {"none", "mean", "first"},
       [](const ModelConfig& c) { return Name(c.head.pooling); }},
      {with_file,
       "/vocabulary/split",
       "vocabulary.split",
       {"characters", "whitespace"},
       [](const ModelConfig& c) { return Name(c.vocabulary->split); }},
  };
  for (const WordField& field : kFields) {
    std::string list;
    for (const char* word : field.words) {
      json config = field.base();
      config[json::json_pointer(field.path)] = word;
      const auto parsed = Parse(config);
      ASSERT_TRUE(parsed.ok()) << parsed.status();
      EXPECT_EQ(field.read(*parsed), word);
      list += (list.empty() ? "\"" : ", \"") + std::string(word) + "\"";
    }
    for (const json& bad :
         {json("swish"), json("ReLU"), json(""), json(1), json(nullptr), json::array({"relu"})}) {
      json config = field.base();
      config[json::json_pointer(field.path)] = bad;
      EXPECT_TRUE(
          Refused(Parse(config), {"m/config.json: " + std::string(field.name) + ": expected one of " + list,
                                  bad.is_array() ? "found an array of 1" : "found " + bad.dump()}));
    }
  }
  EXPECT_TRUE(Refused(
      With(Encoder(), R"({"architecture": "Encoder"})"),
      {"architecture: expected one of \"encoder\", \"decoder\", \"encoder_decoder\", found \"Encoder\""}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"model_type": "bert"})"),
                      {"model_type: expected \"spline_transformer\", found \"bert\""}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"input": {"kind": "text"}})"),
                      {"input.kind: expected one of \"tokens\", \"vectors\", found \"text\""}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"head": {"kind": "mlp"}})"),
                      {"head.kind: expected one of \"none\", \"linear\", found \"mlp\""}));
}

TEST(ModelConfig, EverySizeHasARange) {
  const struct {
    json (*base)();
    const char* path;
    const char* name;
    size_t min, max;
  } kFields[] = {
      {Encoder, "/hidden_size", "hidden_size", 1, 1 << 24},
      {Encoder, "/num_attention_heads", "num_attention_heads", 1, 1 << 24},
      {Encoder, "/head_dim", "head_dim", 1, 1 << 24},
      {Encoder, "/intermediate_size", "intermediate_size", 1, 1 << 24},
      {Encoder, "/num_encoder_layers", "num_encoder_layers", 1, 4096},
      {EncoderDecoder, "/num_decoder_layers", "num_decoder_layers", 1, 4096},
      {Encoder, "/max_positions", "max_positions", 1, 1 << 24},
      {Encoder, "/input/vocab_size", "input.vocab_size", 1, 1 << 24},
      {EncoderDecoder, "/target_input/vocab_size", "target_input.vocab_size", 1, 1 << 24},
      {Vectors, "/input/size", "input.size", 1, 1 << 24},
      {[] {
         json c = Encoder();
         c["head"] = {{"kind", "linear"}};
         return c;
       },
       "/head/size", "head.size", 1, 1 << 24},
      {Encoder, "/bos_token_id", "bos_token_id", 0, 9},
      {Encoder, "/eos_token_id", "eos_token_id", 0, 9},
      {Encoder, "/pad_token_id", "pad_token_id", 0, 9},
      {EncoderDecoder, "/bos_token_id", "bos_token_id", 0, 19},
      {EncoderDecoder, "/eos_token_id", "eos_token_id", 0, 19},
      {EncoderDecoder, "/pad_token_id", "pad_token_id", 0, 19},
  };
  for (const auto& field : kFields) {
    const auto parse = [&](const json& value) {
      json config = field.base();
      // One head of one number, so that the largest hidden_size or number of heads is not refused for their
      // product.
      if (std::string(field.name) != "head_dim") config["head_dim"] = 1;
      if (std::string(field.name) != "num_attention_heads") config["num_attention_heads"] = 1;
      config[json::json_pointer(field.path)] = value;
      return Parse(config);
    };
    EXPECT_TRUE(parse(field.min).ok()) << field.name << parse(field.min).status();
    EXPECT_TRUE(parse(field.max).ok()) << field.name << parse(field.max).status();
    const std::string expected = "m/config.json: " + std::string(field.name) + ": expected an integer from ";
    EXPECT_TRUE(Refused(parse(field.max + 1),
                        {expected, std::to_string(field.max), "found " + std::to_string(field.max + 1)}));
    if (field.min > 0) {
      EXPECT_TRUE(Refused(parse(0), {expected, "found 0"}));
    }
    for (const json& bad : {json(-1), json(1.0), json(1.5), json("1"), json(true), json(nullptr),
                            json(~uint64_t{0}), json(1e300)}) {
      EXPECT_TRUE(Refused(parse(bad), {expected, "found " + bad.dump()}));
    }
    EXPECT_TRUE(Refused(parse(json::array()), {expected, "found an array of 0"}));
    EXPECT_TRUE(Refused(parse(json::object()), {expected, "found an object"}));
  }
}

TEST(ModelConfig, EveryNumberIsFiniteInFloat32) {
  const char* kPaths[][2] = {{"/attention_scale", "attention_scale"},
                             {"/softplus_beta", "softplus_beta"},
                             {"/norm_eps", "norm_eps"},
                             {"/input/scale", "input.scale"}};
  for (const auto& [path, name] : kPaths) {
    const auto parse = [path = path](const json& value) {
      json config = Encoder();
      config[json::json_pointer(path)] = value;
      return Parse(config);
    };
    EXPECT_TRUE(parse(1).ok());
    EXPECT_TRUE(parse(0.5).ok());
    EXPECT_TRUE(parse(0x1.fffffefffffffp127).ok());
    const std::string expected =
        "m/config.json: " + std::string(name) + ": expected a number that is finite in float32";
    for (const json& bad : {json(0x1.ffffffp127), json(1e39), json(-1e39), json(1e308), json("1"),
                            json(false), json(nullptr)}) {
      EXPECT_TRUE(Refused(parse(bad), {expected, "found " + bad.dump()}));
    }
  }
  EXPECT_TRUE(Refused(ParseModelConfig(R"({"attention_scale": 1e999})", "f"), {"attention_scale", "1e999"}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"softplus_beta": 0})"),
                      {"softplus_beta: expected a number above 0", "found 0"}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"softplus_beta": 1e-60})"),
                      {"softplus_beta", "above 0 in float32", "1e-60"}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"norm_eps": -1e-5})"),
                      {"norm_eps: expected a number of at least 0", "-1e-05"}));
  EXPECT_TRUE(With(Encoder(), R"({"norm_eps": 0, "attention_scale": -2})").ok());
  // Rounded once, from the double nearest to the text: 1 + 2^-24 + 2^-53 is that double's tie, and goes to
  // even.
  EXPECT_EQ(With(Encoder(), R"({"attention_scale": 1.00000005960464477539062})")->attention_scale, 1.0f);
  EXPECT_EQ(With(Encoder(), R"({"attention_scale": 1.0000000596046450})")->attention_scale, 1.0f + 0x1p-23f);
}

TEST(ModelConfig, BooleansAndObjects) {
  for (const char* name : {"final_norm", "residual"}) {
    for (const json& bad : {json(0), json(1), json("true"), json(nullptr)}) {
      json config = Encoder();
      config[name] = bad;
      EXPECT_TRUE(
          Refused(Parse(config), {std::string(name) + ": expected true or false, found " + bad.dump()}));
    }
  }
  for (const char* name : {"input", "target_input", "head", "vocabulary", "target_vocabulary"}) {
    for (const json& bad : {json(0), json("tokens"), json(nullptr)}) {
      json config = EncoderDecoder();
      config[name] = bad;
      EXPECT_TRUE(Refused(Parse(config), {std::string(name) + ": expected an object, found " + bad.dump()}));
    }
  }
}

TEST(ModelConfig, MissingFields) {
  for (const char* name :
       {"model_type", "architecture", "hidden_size", "num_attention_heads", "intermediate_size",
        "num_encoder_layers", "num_decoder_layers", "input", "target_input"}) {
    json config = EncoderDecoder();
    config.erase(name);
    EXPECT_TRUE(Refused(Parse(config),
                        {"m/config.json: " + std::string(name) + ": expected ", "found no such field"}));
  }
  EXPECT_TRUE(
      Refused(With(Encoder(), R"({"input": {"kind": null}})"), {"input.kind: expected", "no such field"}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"input": {"vocab_size": null}})"),
                      {"input.vocab_size: expected", "no such field"}));
  EXPECT_TRUE(
      Refused(With(Encoder(), R"({"head": {"kind": "linear"}})"), {"head.size: expected", "no such field"}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"head": {}})"), {"head.kind: expected", "no such field"}));
  EXPECT_TRUE(
      Refused(With(Encoder(), R"({"vocabulary": {}})"), {"vocabulary.file: expected", "no such field"}));
}

TEST(ModelConfig, UnknownFieldsAreRefusedByName) {
  EXPECT_TRUE(Refused(With(Encoder(), R"({"hidden_sise": 3})"), {"m/config.json: hidden_sise: unknown field",
                                                                 "expected one of model_type, ", "found 3"}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"input": {"dim": 3}})"),
                      {"input.dim: unknown field", "vocab_size", "found 3"}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"head": {"bias": true}})"),
                      {"head.bias: unknown field", "kind, size, pooling"}));
  EXPECT_TRUE(Refused(With(Encoder(), R"({"vocabulary": {"path": "x"}})"),
                      {"vocabulary.path: unknown field", "file, split"}));
  EXPECT_TRUE(Refused(ParseModelConfig(R"({"hidden_size": 4, "hidden_size": 4})", "f"),
                      {"repeated key \"hidden_size\""}));
}

}  // namespace
}  // namespace splineserve
