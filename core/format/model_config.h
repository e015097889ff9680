// config.json of a model directory, parsed and validated field by field (the model format's section
// "config.json").
//
// A ModelConfig that ParseModelConfig returned is consistent: every cross-field rule has been checked, so
// code that takes a `const ModelConfig&` never checks it again.
#ifndef SPLINESERVE_CORE_FORMAT_MODEL_CONFIG_H_
#define SPLINESERVE_CORE_FORMAT_MODEL_CONFIG_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace splineserve {

enum class Architecture { kEncoder, kDecoder, kEncoderDecoder };
enum class AttentionActivation { kRelu, kRelu2, kSoftplus, kSoftmax };
enum class AttentionNormalizer { kVisible, kNone };
enum class HiddenAct { kRelu, kRelu2, kSoftplus, kGelu, kGeluTanh, kSilu };
enum class NormKind { kNone, kAffine, kLayerNorm, kRmsNorm };
enum class NormPlacement { kPre, kPost };
enum class InputKind { kTokens, kVectors };
enum class Positions { kNone, kLearned, kSinusoidal };
enum class HeadKind { kNone, kLinear };
enum class Pooling { kNone, kMean, kFirst };
enum class VocabularySplit { kCharacters, kWhitespace };

// Whether scores pass gates.
inline bool IsGated(AttentionActivation activation) {
  return activation == AttentionActivation::kRelu || activation == AttentionActivation::kRelu2;
}

// The words that config.json uses for the values, e.g. "encoder_decoder", "gelu_tanh".
std::string_view Name(Architecture value);
std::string_view Name(AttentionActivation value);
std::string_view Name(AttentionNormalizer value);
std::string_view Name(HiddenAct value);
std::string_view Name(NormKind value);
std::string_view Name(NormPlacement value);
std::string_view Name(InputKind value);
std::string_view Name(Positions value);
std::string_view Name(HeadKind value);
std::string_view Name(Pooling value);
std::string_view Name(VocabularySplit value);

struct InputConfig {
  InputKind kind = InputKind::kTokens;
  size_t size = 0;     // vocab_size for tokens, length of a vector for vectors; >= 1
  float scale = 1.0f;  // tokens only: the embedding's factor
};

struct HeadConfig {
  HeadKind kind = HeadKind::kNone;
  size_t size = 0;  // outputs; 0 iff kind is kNone
  Pooling pooling = Pooling::kNone;
};

struct VocabularyConfig {
  std::string file;  // a plain file name inside the model directory: no separators, not "." or ".."
  VocabularySplit split = VocabularySplit::kCharacters;
};

struct ModelConfig {
  Architecture architecture = Architecture::kEncoder;
  size_t hidden_size = 0;          // d >= 1
  size_t num_attention_heads = 0;  // h >= 1
  size_t head_dim = 0;             // default d / h, which must then divide
  size_t intermediate_size = 0;    // f >= 1
  size_t num_encoder_layers = 0;   // >= 1 iff the architecture has an encoder
  size_t num_decoder_layers = 0;   // >= 1 iff the architecture has a decoder

  AttentionActivation attention_activation = AttentionActivation::kRelu;
  float attention_scale = 0;  // default 1/sqrt(head_dim), computed in float64 and rounded once
  AttentionNormalizer attention_normalizer = AttentionNormalizer::kVisible;
  HiddenAct hidden_act = HiddenAct::kRelu;
  float softplus_beta = 1.0f;  // > 0
  NormKind norm = NormKind::kNone;
  NormPlacement norm_placement = NormPlacement::kPre;
  float norm_eps = 1e-5f;  // >= 0
  bool final_norm = false;
  bool residual = true;

  InputConfig input;                        // of the encoder, or of a decoder-only model
  std::optional<InputConfig> target_input;  // of the decoder; set iff encoder_decoder
  Positions positions = Positions::kNone;
  size_t max_positions = 0;  // 0: unlimited (only with Positions::kNone)
  HeadConfig head;
  std::optional<VocabularyConfig> vocabulary;         // of `input`
  std::optional<VocabularyConfig> target_vocabulary;  // of `target_input`
  std::optional<int32_t> bos_token_id, eos_token_id, pad_token_id;

  bool has_encoder() const { return architecture != Architecture::kDecoder; }
  bool has_decoder() const { return architecture != Architecture::kEncoder; }
  size_t attention_size() const { return num_attention_heads * head_dim; }  // width of concatenated heads
  // The input and the vocabulary of the decoder stack: target_* of an encoder_decoder, the plain ones of a
  // decoder.
  const InputConfig& decoder_input() const { return target_input ? *target_input : input; }
  const std::optional<VocabularyConfig>& decoder_vocabulary() const {
    return architecture == Architecture::kEncoderDecoder ? target_vocabulary : vocabulary;
  }
};

// Parses and validates. `file` is only used in messages, e.g. "g2p/1/config.json".
//
// INVALID_ARGUMENT names the file, the field (dotted path, "head.size"), what was expected and what was
// found, for: text that is not one JSON object, nesting deeper than 8, duplicate or unknown fields, missing
// required fields, wrong types, numbers out of range or not finite, sizes whose tensors could not exist (any
// size above 2^24, more than 4096 layers), and combinations that the format refuses (final_norm without norm,
// target_input without encoder_decoder, positions without max_positions, vocabulary on vectors, token ids
// outside the decoder's vocabulary, pooling on a decoder or encoder_decoder where it has no meaning is
// accepted: it acts on final rows).
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json, std::string_view file);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_MODEL_CONFIG_H_
