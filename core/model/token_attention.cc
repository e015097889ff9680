#include "core/model/token_attention.h"

namespace splineserve {

void FindTokenKeys(const Evaluation& evaluation, absl::Span<const KeyValues* const> keys,
                   std::vector<TokenKeys>& found) {
  const bool gated = IsGated(evaluation.config.attention_activation);
  found.clear();
  for (size_t s = 0; s < keys.size(); ++s) {
    TokenKeys& sequence = found.emplace_back();
    if (!gated || evaluation.frozen != nullptr || evaluation.sequences()[s].count != 1) continue;
    if (keys[s] == nullptr || keys[s]->chunks() != 1) continue;
    sequence.view = keys[s]->chunk(0);
    if (keys[s]->length() <= sequence.view.key_width) sequence.tokens = keys[s]->length();
  }
}

void AttendToken(Evaluation& evaluation, const AttentionStage& stage, const TokenKeys& keys, size_t sequence,
                 MatrixView<const float> query, MatrixView<float> attended, Workspace::Worker& scratch) {
  const ModelConfig& config = evaluation.config;
  const RowRange& range = evaluation.sequences()[sequence];
  const size_t heads = config.num_attention_heads;
  const size_t tokens = keys.tokens;
  GateSink* const sink = evaluation.gates;
  GateGroupRef group = {sequence, range.position, static_cast<size_t>(stage.layer), stage.site, 0, tokens};

  TokenAttention attention;
  attention.query = query.row(range.first);
  attention.heads = heads;
  attention.keys = keys.view.Keys(stage.stored_layer, 0, tokens);
  attention.values = keys.view.Values(stage.stored_layer, 0, tokens);
  attention.head_stride = keys.view.head_stride;
  attention.scale = config.attention_scale;
  attention.square = config.attention_activation == AttentionActivation::kRelu2;
  if (sink != nullptr) {
    attention.want_margin = sink->WantsMargin(sequence);
    scratch.bits.clear();
    for (group.head = 0; group.head < heads; ++group.head) scratch.bits.push_back(sink->Bits(group));
    attention.bits = scratch.bits.data();
  }
  scratch.gates.resize(heads);
  float* const out = attended.row(range.first);
  evaluation.kernels.attend_token(attention, scratch.gates.data(), out);

  for (group.head = 0; group.head < heads; ++group.head) {
    const GateRow& gates = scratch.gates[group.head];
    if (!gates.finite) evaluation.Fail(sequence, range.position, ScoreName(stage.site), stage.layer);
    if (attention.bits != nullptr && attention.bits[group.head] != nullptr) sink->Record(group, gates);
  }
  if (config.attention_normalizer == AttentionNormalizer::kVisible) {
    evaluation.kernels.divide(out, static_cast<float>(tokens), config.attention_size());
  }
}

void PrefetchToken(const TokenKeys& keys, size_t stored_layer) {
  for (size_t head = 0; head < keys.view.shape.heads; ++head) {
    const float* row = keys.view.Head(stored_layer, head);
    for (size_t k = 0; k < keys.view.shape.head_dim; ++k, row += keys.view.key_width) {
      for (size_t t = 0; t < keys.tokens; t += kLaneBlock) __builtin_prefetch(row + t);
    }
  }
}

}  // namespace splineserve
