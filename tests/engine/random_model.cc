#include "tests/engine/random_model.h"

#include "nlohmann/json.hpp"

namespace splineserve::testing {
namespace {

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

Json RandomInputConfig(Random* random) {
  if (random->Chance(0.5)) return {{"kind", "vectors"}, {"size", random->Between(1, 9)}};
  Json input = {{"kind", "tokens"}, {"vocab_size", random->Between(1, 30)}};
  if (random->Chance(0.5)) input["scale"] = 0.25 + 2 * random->Uniform();
  return input;
}

void AddSizes(Random* random, Architecture architecture, size_t smallest, Json* config) {
  const size_t heads = random->Between(1, 4);
  const bool default_head_dim = random->Chance(0.3);
  const size_t hidden = default_head_dim ? heads * random->Between((smallest + heads - 1) / heads, 9)
                                         : random->Between(smallest, 26);
  (*config)["hidden_size"] = hidden;
  (*config)["num_attention_heads"] = heads;
  if (!default_head_dim) (*config)["head_dim"] = random->Between(1, 10);
  (*config)["intermediate_size"] = random->Between(1, random->Chance(0.2) ? 140 : 40);
  if (architecture != Architecture::kDecoder) (*config)["num_encoder_layers"] = random->Between(1, 2);
  if (architecture != Architecture::kEncoder) (*config)["num_decoder_layers"] = random->Between(1, 2);
}

void AddActivations(Random* random, bool exact, Json* config) {
  const Words gates = {"relu", "relu", "relu", "relu2"};
  const Words attention = {"relu", "relu2", "softplus", "softmax", "softmax"};
  const Words hidden = {"relu", "softplus", "gelu", "gelu_tanh", "silu"};
  const Words exact_norms = {"none", "affine"}, norms = {"none", "affine", "layer_norm", "rms_norm"};
  const auto is_exact = [](const Json& c) {
    const auto gate = [](const std::string& name) { return name == "relu" || name == "relu2"; };
    return gate(c["attention_activation"]) && gate(c["hidden_act"]) &&
           (c["norm"] == "none" || c["norm"] == "affine");
  };
  do {
    (*config)["attention_activation"] = random->Pick(exact ? gates : attention);
    (*config)["hidden_act"] = random->Pick(exact ? gates : hidden);
    (*config)["norm"] = random->Pick(exact ? exact_norms : norms);
  } while (is_exact(*config) != exact);
  if (random->Chance(0.5)) (*config)["norm_placement"] = random->Pick(Words{"pre", "post"});
  if ((*config)["norm"] != "none") (*config)["final_norm"] = random->Chance(0.5);
  if (random->Chance(0.3)) (*config)["softplus_beta"] = 0.5 + 3 * random->Uniform();
}

}  // namespace

float Random::Normal() {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += Uniform();
  return static_cast<float>(sum);
}

std::string RandomConfig(Random* random, Architecture architecture, bool exact) {
  Json config = {{"model_type", "spline_transformer"}, {"architecture", std::string(Name(architecture))}};
  AddSizes(random, architecture, exact ? 1 : 8, &config);
  AddActivations(random, exact, &config);
  if (random->Chance(0.5)) config["attention_scale"] = 0.05 + 0.6 * random->Uniform();
  // Sums that are not divided grow with the length, and a power with every layer: keep them for short chains.
  if (random->Chance(0.25)) config["attention_normalizer"] = "none";
  if (random->Chance(0.25)) config["residual"] = false;
  config["input"] = RandomInputConfig(random);
  if (architecture == Architecture::kEncoderDecoder) config["target_input"] = RandomInputConfig(random);
  const std::string positions = random->Pick(Words{"none", "learned", "sinusoidal"});
  config["positions"] = positions;
  if (positions != "none") config["max_positions"] = kMaxRandomLength + random->Between(0, 3);
  if (random->Chance(0.7)) {
    config["head"] = {{"kind", "linear"}, {"size", random->Between(1, 20)}};
    if (random->Chance(0.7)) config["head"]["pooling"] = random->Pick(Words{"none", "mean", "first"});
  }
  return config.dump(1);
}

std::string RegionalConfig(Random* random, Architecture architecture) {
  Json config = Json::parse(RandomConfig(random, architecture, /*exact=*/true));
  config["norm"] = random->Pick(Words{"layer_norm", "rms_norm"});
  return config.dump(1);
}

std::string GeneratorConfig(Random* random, Architecture architecture) {
  Json config = {{"model_type", "spline_transformer"}, {"architecture", std::string(Name(architecture))}};
  AddSizes(random, architecture, 4, &config);
  config["norm"] = "affine";
  config["positions"] = random->Pick(Words{"none", "learned", "sinusoidal"});
  if (config["positions"] != "none") config["max_positions"] = 24;
  const size_t vocabulary = random->Between(5, 17);
  const Json input = {{"kind", "tokens"}, {"vocab_size", vocabulary}};
  const Json file = {{"file", "letters.txt"}, {"split", "characters"}};
  const Json target_file = {{"file", "target_letters.txt"}, {"split", "characters"}};
  config["input"] = input;
  config["vocabulary"] = file;
  if (architecture == Architecture::kEncoderDecoder) {
    config["target_input"] = input;
    config["target_vocabulary"] = target_file;
  }
  config["head"] = {{"kind", "linear"}, {"size", vocabulary}};
  config["pad_token_id"] = 0;
  config["bos_token_id"] = 1;
  config["eos_token_id"] = 2;
  return config.dump(1);
}

ReferenceInput RandomInput(Random* random, const InputConfig& input, size_t length) {
  ReferenceInput sequence;
  for (size_t i = 0; i < length; ++i) {
    if (input.kind == InputKind::kTokens) {
      sequence.ids.push_back(static_cast<int32_t>(random->Between(0, input.size - 1)));
    } else {
      std::vector<float> vector(input.size);
      for (float& value : vector) value = random->Chance(0.05) ? 0.0f : random->Normal();
      sequence.vectors.push_back(std::move(vector));
    }
  }
  return sequence;
}

size_t RandomLength(Random* random) {
  return random->Chance(0.1) ? random->Between(21, kMaxRandomLength) : random->Between(1, 20);
}

}  // namespace splineserve::testing
