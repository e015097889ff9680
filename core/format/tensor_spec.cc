#include "core/format/tensor_spec.h"

#include <utility>

namespace splineserve {
namespace {

// Appends the tensors of one stack, "encoder" or "decoder".
class StackSpecs {
 public:
  StackSpecs(const ModelConfig& config, std::string stack, std::vector<TensorSpec>* specs)
      : config_(config), stack_(std::move(stack)), specs_(specs) {}

  void Add(const InputConfig& input, size_t layers, bool cross_attention) {
    const size_t d = config_.hidden_size;
    if (input.kind == InputKind::kTokens) {
      specs_->push_back({stack_ + ".embed_tokens.weight", {input.size, d}});
    } else {
      AddAffine(stack_ + ".input_proj", d, input.size);
    }
    if (config_.positions == Positions::kLearned) {
      specs_->push_back({stack_ + ".embed_positions.weight", {config_.max_positions, d}});
    }
    for (size_t l = 0; l < layers; ++l) {
      const std::string layer = stack_ + ".layers." + std::to_string(l);
      AddNormAround(layer + ".self_attn_norm", [&] { AddAttention(layer + ".self_attn"); });
      if (cross_attention)
        AddNormAround(layer + ".cross_attn_norm", [&] { AddAttention(layer + ".cross_attn"); });
      AddNormAround(layer + ".ffn_norm", [&] {
        AddAffine(layer + ".ffn.up_proj", config_.intermediate_size, d);
        AddAffine(layer + ".ffn.down_proj", d, config_.intermediate_size);
      });
    }
    if (config_.final_norm) AddNorm(stack_ + ".final_norm");
  }

 private:
  void AddAffine(const std::string& name, size_t out, size_t in) {
    specs_->push_back({name + ".weight", {out, in}});
    specs_->push_back({name + ".bias", {out}, true});
  }

  void AddAttention(const std::string& name) {
    for (const char* projection : {".q_proj", ".k_proj", ".v_proj"}) {
      AddAffine(name + projection, config_.attention_size(), config_.hidden_size);
    }
    AddAffine(name + ".o_proj", config_.hidden_size, config_.attention_size());
  }

  void AddNorm(const std::string& name) {
    specs_->push_back({name + ".weight", {config_.hidden_size}});
    specs_->push_back({name + ".bias", {config_.hidden_size}, true});
  }

  template <typename AddSublayer>
  void AddNormAround(const std::string& name, const AddSublayer& add_sublayer) {
    const bool pre = config_.norm_placement == NormPlacement::kPre;
    if (config_.norm != NormKind::kNone && pre) AddNorm(name);
    add_sublayer();
    if (config_.norm != NormKind::kNone && !pre) AddNorm(name);
  }

  const ModelConfig& config_;
  const std::string stack_;
  std::vector<TensorSpec>* specs_;
};

}  // namespace

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  std::vector<TensorSpec> specs;
  const bool cross_attention = config.architecture == Architecture::kEncoderDecoder;
  if (config.has_encoder())
    StackSpecs(config, "encoder", &specs).Add(config.input, config.num_encoder_layers, false);
  if (config.has_decoder()) {
    StackSpecs(config, "decoder", &specs)
        .Add(config.decoder_input(), config.num_decoder_layers, cross_attention);
  }
  if (config.head.kind == HeadKind::kLinear) {
    specs.push_back({"head.weight", {config.head.size, config.hidden_size}});
    specs.push_back({"head.bias", {config.head.size}, true});
  }
  return specs;
}

}  // namespace splineserve
