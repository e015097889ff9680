#include "core/model/token_attention.h"

namespace splineserve {

bool IsTokenAttention(const Evaluation& evaluation, const RowRange& range, const KeyValues& keys) {
  const AttentionActivation activation = evaluation.config.attention_activation;
  const bool gated = activation == AttentionActivation::kRelu || activation == AttentionActivation::kRelu2;
  // A causal token is the last of its keys, so it sees all of them.
  return gated && evaluation.frozen == nullptr && range.count == 1 && keys.chunks() == 1 &&
         keys.length() <= keys.chunk(0).Keys(0, 0, keys.length()).panel_width;
}

void AttendToken(Evaluation& evaluation, const AttentionStage& stage, const KeyValues& keys, size_t sequence,
                 MatrixView<const float> query, MatrixView<float> attended, Workspace::Worker& scratch) {
  const ModelConfig& config = evaluation.config;
  const RowRange& range = evaluation.sequences()[sequence];
  const size_t heads = config.num_attention_heads;
  const size_t tokens = keys.length();
  GateSink* const sink = evaluation.gates;
  GateGroupRef group = {sequence, range.position, static_cast<size_t>(stage.layer), stage.site, 0, tokens};

  TokenAttention attention;
  attention.query = query.row(range.first);
  attention.heads = heads;
  attention.keys = keys.chunk(0).Keys(stage.stored_layer, 0, tokens);
  attention.values = keys.chunk(0).Values(stage.stored_layer, 0, tokens);
  attention.head_stride = keys.chunk(0).head_stride();
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

}  // namespace splineserve
