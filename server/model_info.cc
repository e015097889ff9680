// ToModelInfo of convert_response.h: what is known of a model without running it.
#include <algorithm>

#include "core/engine/validation.h"
#include "core/spline/spline_class.h"
#include "server/convert_response.h"

namespace splineserve {
namespace {

v1::ModelInfo::Architecture ToProto(Architecture architecture) {
  switch (architecture) {
    case Architecture::kEncoder:
      return v1::ModelInfo::ENCODER;
    case Architecture::kDecoder:
      return v1::ModelInfo::DECODER;
    case Architecture::kEncoderDecoder:
      return v1::ModelInfo::ENCODER_DECODER;
  }
  return v1::ModelInfo::ARCHITECTURE_UNSPECIFIED;
}

v1::ModelInfo::SplineClass ToProto(SplineClass spline_class) {
  switch (spline_class) {
    case SplineClass::kExact:
      return v1::ModelInfo::EXACT;
    case SplineClass::kRegional:
      return v1::ModelInfo::REGIONAL;
    case SplineClass::kSmooth:
      return v1::ModelInfo::SMOOTH;
  }
  return v1::ModelInfo::SPLINE_CLASS_UNSPECIFIED;
}

std::string Word(std::string_view word) { return std::string(word); }

void Fill(const InputConfig& input, const std::optional<Vocabulary>& vocabulary, v1::ModelInfo::Input* out) {
  out->set_kind(Word(Name(input.kind)));
  out->set_size(static_cast<uint32_t>(input.size));
  out->set_has_vocabulary(vocabulary.has_value());
  if (vocabulary.has_value()) out->set_vocabulary_split(Word(Name(vocabulary->split())));
}

void Fill(const ModelConfig& config, size_t layers, bool cross, v1::ModelInfo::Gates* out) {
  const auto heads = static_cast<uint32_t>(AttentionHasGates(config) ? config.num_attention_heads : 0);
  const auto units = static_cast<uint32_t>(FeedForwardHasGates(config) ? config.intermediate_size : 0);
  const uint32_t cross_heads = cross ? heads : 0;
  out->set_layers(static_cast<uint32_t>(layers));
  out->set_self_attention_per_key(heads);
  out->set_cross_attention_per_key(cross_heads);
  out->set_feed_forward(units);
  out->set_total_self_attention_per_key(uint64_t{heads} * layers);
  out->set_total_cross_attention_per_key(uint64_t{cross_heads} * layers);
  out->set_total_feed_forward(uint64_t{units} * layers);
}

uint32_t Saturated(size_t value) { return static_cast<uint32_t>(std::min<size_t>(value, UINT32_MAX)); }

void Fill(const ModelConfig& config, const ServingFacts& facts, v1::ModelInfo::Limits* out) {
  const EngineOptions& limits = facts.limits;
  out->set_max_positions(Saturated(config.max_positions));
  out->set_max_tokens_per_sequence(Saturated(MaxSequenceTokens(config, limits)));
  out->set_max_sequences_per_request(Saturated(limits.max_sequences_per_request));
  out->set_max_tokens_per_request(Saturated(limits.max_tokens_per_request));
  out->set_max_new_tokens(Saturated(limits.max_new_tokens));
  out->set_max_beam_width(Saturated(limits.max_beam_width));
  out->set_max_message_bytes(facts.max_message_bytes);
}

void FillConfig(const ModelConfig& config, v1::ModelInfo* out) {
  out->set_architecture(ToProto(config.architecture));
  out->set_hidden_size(static_cast<uint32_t>(config.hidden_size));
  out->set_num_attention_heads(static_cast<uint32_t>(config.num_attention_heads));
  out->set_head_dim(static_cast<uint32_t>(config.head_dim));
  out->set_intermediate_size(static_cast<uint32_t>(config.intermediate_size));
  out->set_num_encoder_layers(static_cast<uint32_t>(config.num_encoder_layers));
  out->set_num_decoder_layers(static_cast<uint32_t>(config.num_decoder_layers));
  out->set_attention_activation(Word(Name(config.attention_activation)));
  out->set_attention_scale(config.attention_scale);
  out->set_attention_normalizer(Word(Name(config.attention_normalizer)));
  out->set_hidden_act(Word(Name(config.hidden_act)));
  out->set_norm(Word(Name(config.norm)));
  out->set_norm_placement(Word(Name(config.norm_placement)));
  out->set_final_norm(config.final_norm);
  out->set_residual(config.residual);
  out->set_positions(Word(Name(config.positions)));
  out->mutable_head()->set_kind(Word(Name(config.head.kind)));
  out->mutable_head()->set_size(static_cast<uint32_t>(config.head.size));
  out->mutable_head()->set_pooling(Word(Name(config.head.pooling)));
  if (config.bos_token_id.has_value()) out->set_bos_token_id(*config.bos_token_id);
  if (config.eos_token_id.has_value()) out->set_eos_token_id(*config.eos_token_id);
  if (config.pad_token_id.has_value()) out->set_pad_token_id(*config.pad_token_id);
}

}  // namespace

v1::ModelInfo ToModelInfo(const LoadedModel& model, const ServingFacts& facts) {
  const ModelConfig& config = model.config();
  v1::ModelInfo out;
  out.set_name(model.name());
  out.set_version(static_cast<uint32_t>(model.version()));
  out.set_spline_class(ToProto(model.spline_class()));
  out.set_degree_bound(model.degree_bound());
  out.set_digest(model.digest());
  FillConfig(config, &out);
  Fill(config.input, model.vocabulary(), out.mutable_input());
  if (config.target_input.has_value()) {
    Fill(*config.target_input, model.target_vocabulary(), out.mutable_target_input());
  }
  const bool cross = config.architecture == Architecture::kEncoderDecoder;
  if (config.has_encoder()) Fill(config, config.num_encoder_layers, false, out.mutable_encoder_gates());
  if (config.has_decoder()) Fill(config, config.num_decoder_layers, cross, out.mutable_decoder_gates());
  Fill(config, facts, out.mutable_limits());
  out.set_parameters(model.parameters());
  out.set_weight_bytes(model.weight_bytes());
  out.set_simd_target(facts.simd_target);
  out.set_precision(PrecisionName(model.precision()));
  if (model.smoothing().has_value()) ToProto(*model.smoothing(), out.mutable_smoothing());
  return out;
}

}  // namespace splineserve
