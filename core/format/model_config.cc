#include "core/format/model_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/format/config_fields.h"
#include "core/format/json.h"
#include "core/format/untrusted_text.h"

namespace splineserve {
namespace {

// With every extent at most 2^24, no product of two extents and an element size overflows.
constexpr size_t kMaxSize = size_t{1} << 24;
constexpr size_t kMaxLayers = 4096;
constexpr size_t kMaxTextBytes = size_t{1} << 20;
constexpr size_t kMaxDepth = 8;
constexpr size_t kMaxJsonValues = 1000;

template <size_t N>
using Words = std::array<std::string_view, N>;

// In the order of the enumerators.
constexpr Words<1> kModelTypes = {"spline_transformer"};
constexpr Words<3> kArchitectures = {"encoder", "decoder", "encoder_decoder"};
constexpr Words<4> kAttentionActivations = {"relu", "relu2", "softplus", "softmax"};
constexpr Words<2> kAttentionNormalizers = {"visible", "none"};
constexpr Words<6> kHiddenActs = {"relu", "relu2", "softplus", "gelu", "gelu_tanh", "silu"};
constexpr Words<4> kNormKinds = {"none", "affine", "layer_norm", "rms_norm"};
constexpr Words<2> kNormPlacements = {"pre", "post"};
constexpr Words<2> kInputKinds = {"tokens", "vectors"};
constexpr Words<3> kPositions = {"none", "learned", "sinusoidal"};
constexpr Words<2> kHeadKinds = {"none", "linear"};
constexpr Words<3> kPoolings = {"none", "mean", "first"};
constexpr Words<2> kVocabularySplits = {"characters", "whitespace"};

template <typename E, size_t N>
std::string_view WordOf(E value, const Words<N>& words) {
  return words[static_cast<size_t>(value)];
}

std::string Quoted(std::string_view word) { return absl::StrCat("\"", std::string(word), "\""); }

void ReadStack(ConfigFields& fields, ModelConfig* config) {
  config->architecture = fields.Choice<Architecture>("architecture", kArchitectures);
  config->hidden_size = fields.Size("hidden_size", 1, kMaxSize);
  config->num_attention_heads = fields.Size("num_attention_heads", 1, kMaxSize);
  if (!fields.Has("head_dim") && config->hidden_size % config->num_attention_heads != 0) {
    fields.Refuse("head_dim",
                  absl::StrCat("an integer, as num_attention_heads (", config->num_attention_heads,
                               ") does not divide hidden_size (", config->hidden_size, ")"));
  }
  const size_t even_share = std::max<size_t>(1, config->hidden_size / config->num_attention_heads);
  config->head_dim = fields.Size("head_dim", 1, kMaxSize, even_share);
  if (config->attention_size() > kMaxSize) {
    fields.Refuse("num_attention_heads",
                  absl::StrCat("at most ", kMaxSize, " / head_dim (", config->head_dim, ")"));
  }
  config->intermediate_size = fields.Size("intermediate_size", 1, kMaxSize);

  const std::string architecture = Quoted(Name(config->architecture));
  const auto layers = [&](const char* name, bool has_stack) {
    const size_t count = fields.Size(name, 0, kMaxLayers, 0);
    if (has_stack && count == 0) {
      fields.Refuse(name,
                    absl::StrCat("an integer from 1 to ", kMaxLayers, " for architecture ", architecture));
    }
    if (!has_stack && count != 0) fields.Refuse(name, absl::StrCat("0 for architecture ", architecture));
    return count;
  };
  config->num_encoder_layers = layers("num_encoder_layers", config->has_encoder());
  config->num_decoder_layers = layers("num_decoder_layers", config->has_decoder());
}

void ReadFunctions(ConfigFields& fields, ModelConfig* config) {
  config->attention_activation = fields.Choice("attention_activation", kAttentionActivations,
                                               std::optional(config->attention_activation));
  const double scale = 1.0 / std::sqrt(static_cast<double>(config->head_dim));
  config->attention_scale = fields.Number("attention_scale", static_cast<float>(scale));
  config->attention_normalizer = fields.Choice("attention_normalizer", kAttentionNormalizers,
                                               std::optional(config->attention_normalizer));
  config->hidden_act = fields.Choice("hidden_act", kHiddenActs, std::optional(config->hidden_act));
  config->softplus_beta = fields.Number("softplus_beta", config->softplus_beta);
  if (!(config->softplus_beta > 0)) fields.Refuse("softplus_beta", "a number above 0 in float32");
  config->norm = fields.Choice("norm", kNormKinds, std::optional(config->norm));
  config->norm_placement =
      fields.Choice("norm_placement", kNormPlacements, std::optional(config->norm_placement));
  config->norm_eps = fields.Number("norm_eps", config->norm_eps);
  if (!(config->norm_eps >= 0)) fields.Refuse("norm_eps", "a number of at least 0");
  config->final_norm = fields.Bool("final_norm", config->final_norm);
  if (config->final_norm && config->norm == NormKind::kNone) {
    fields.Refuse("final_norm", "false with norm \"none\"");
  }
  config->residual = fields.Bool("residual", config->residual);
}

InputConfig ReadInput(ConfigFields& fields, const char* name) {
  InputConfig input;
  std::optional<ConfigFields> object = fields.Object(name, {"kind", "vocab_size", "scale", "size"}, true);
  if (!object) return input;
  input.kind = object->Choice<InputKind>("kind", kInputKinds);
  const bool tokens = input.kind == InputKind::kTokens;
  object->AllowOnlyWith(tokens, "vocab_size", "kind \"tokens\"");
  object->AllowOnlyWith(tokens, "scale", "kind \"tokens\"");
  object->AllowOnlyWith(!tokens, "size", "kind \"vectors\"");
  input.size = object->Size(tokens ? "vocab_size" : "size", 1, kMaxSize);
  input.scale = object->Number("scale", input.scale);
  return input;
}

void ReadInputs(ConfigFields& fields, ModelConfig* config) {
  config->input = ReadInput(fields, "input");
  const bool two_stacks = config->architecture == Architecture::kEncoderDecoder;
  fields.AllowOnlyWith(two_stacks, "target_input", "architecture \"encoder_decoder\"");
  if (two_stacks) config->target_input = ReadInput(fields, "target_input");

  config->positions = fields.Choice("positions", kPositions, std::optional(config->positions));
  config->max_positions = fields.Size("max_positions", 1, kMaxSize, 0);
  if (config->positions != Positions::kNone && config->max_positions == 0) {
    fields.Refuse("max_positions", absl::StrCat("an integer from 1 to ", kMaxSize, " with positions ",
                                                Quoted(Name(config->positions))));
  }
}

void ReadHead(ConfigFields& fields, ModelConfig* config) {
  std::optional<ConfigFields> object = fields.Object("head", {"kind", "size", "pooling"}, false);
  if (!object) return;
  HeadConfig& head = config->head;
  head.kind = object->Choice<HeadKind>("kind", kHeadKinds);
  const bool linear = head.kind == HeadKind::kLinear;
  object->AllowOnlyWith(linear, "size", "kind \"linear\"");
  object->AllowOnlyWith(linear, "pooling", "kind \"linear\"");
  if (!linear) return;
  head.size = object->Size("size", 1, kMaxSize);
  head.pooling = object->Choice("pooling", kPoolings, std::optional(head.pooling));
}

std::optional<VocabularyConfig> ReadVocabulary(ConfigFields& fields, const char* name, const char* input_name,
                                               const std::optional<InputConfig>& input) {
  if (!fields.Has(name)) return std::nullopt;
  if (!input || input->kind != InputKind::kTokens) {
    fields.Refuse(name, absl::StrCat("only with ", input_name, " of kind \"tokens\""));
  }
  std::optional<ConfigFields> object = fields.Object(name, {"file", "split"}, true);
  if (!object) return std::nullopt;
  VocabularyConfig vocabulary;
  vocabulary.file = object->String("file");
  if (!IsPlainFileName(vocabulary.file))
    object->Refuse("file", "the plain name of a file in the model directory");
  vocabulary.split = object->Choice("split", kVocabularySplits, std::optional(vocabulary.split));
  return vocabulary;
}

void ReadTokenIds(ConfigFields& fields, ModelConfig* config) {
  const auto vocabulary_size = [](const InputConfig& input) {
    return input.kind == InputKind::kTokens ? input.size : 0;
  };
  // What the model writes: the decoder's tokens. An encoder writes none, but its input may be framed by them.
  const size_t written = vocabulary_size(config->decoder_input());
  const size_t padded = std::max(written, vocabulary_size(config->input));
  const auto read = [&](const char* name, size_t size) -> std::optional<int32_t> {
    if (!fields.Has(name)) return std::nullopt;
    if (size == 0) {
      fields.Refuse(name, "only with an input of kind \"tokens\"");
      return std::nullopt;
    }
    return static_cast<int32_t>(fields.Size(name, 0, size - 1));
  };
  config->bos_token_id = read("bos_token_id", written);
  config->eos_token_id = read("eos_token_id", written);
  config->pad_token_id = read("pad_token_id", padded);
}

}  // namespace

std::string_view Name(Architecture value) { return WordOf(value, kArchitectures); }
std::string_view Name(AttentionActivation value) { return WordOf(value, kAttentionActivations); }
std::string_view Name(AttentionNormalizer value) { return WordOf(value, kAttentionNormalizers); }
std::string_view Name(HiddenAct value) { return WordOf(value, kHiddenActs); }
std::string_view Name(NormKind value) { return WordOf(value, kNormKinds); }
std::string_view Name(NormPlacement value) { return WordOf(value, kNormPlacements); }
std::string_view Name(InputKind value) { return WordOf(value, kInputKinds); }
std::string_view Name(Positions value) { return WordOf(value, kPositions); }
std::string_view Name(HeadKind value) { return WordOf(value, kHeadKinds); }
std::string_view Name(Pooling value) { return WordOf(value, kPoolings); }
std::string_view Name(VocabularySplit value) { return WordOf(value, kVocabularySplits); }

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json, std::string_view file) {
  if (json.size() > kMaxTextBytes) {
    return FileError(file, absl::StrCat("expected at most ", kMaxTextBytes, " bytes, found ", json.size()));
  }
  SPLINESERVE_ASSIGN_OR_RETURN(const nlohmann::json root, ParseJson(json, file, kMaxDepth, kMaxJsonValues));
  if (!root.is_object()) return FileError(file, absl::StrCat("expected a JSON object, found ", Shown(root)));
  absl::Status error;
  ConfigFields fields(root, std::string(file), "",
                      {"model_type",
                       "architecture",
                       "hidden_size",
                       "num_attention_heads",
                       "head_dim",
                       "intermediate_size",
                       "num_encoder_layers",
                       "num_decoder_layers",
                       "attention_activation",
                       "attention_scale",
                       "attention_normalizer",
                       "hidden_act",
                       "softplus_beta",
                       "norm",
                       "norm_placement",
                       "norm_eps",
                       "final_norm",
                       "residual",
                       "input",
                       "target_input",
                       "positions",
                       "max_positions",
                       "head",
                       "vocabulary",
                       "target_vocabulary",
                       "bos_token_id",
                       "eos_token_id",
                       "pad_token_id"},
                      &error);
  enum class ModelType { kSplineTransformer };
  fields.Choice<ModelType>("model_type", kModelTypes);
  ModelConfig config;
  ReadStack(fields, &config);
  ReadFunctions(fields, &config);
  ReadInputs(fields, &config);
  ReadHead(fields, &config);
  config.vocabulary = ReadVocabulary(fields, "vocabulary", "an input", config.input);
  config.target_vocabulary =
      ReadVocabulary(fields, "target_vocabulary", "a target_input", config.target_input);
  ReadTokenIds(fields, &config);
  if (!error.ok()) return error;
  return config;
}

}  // namespace splineserve
