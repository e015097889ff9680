#include "core/model/token_attention.h"

#include <algorithm>

namespace splineserve {
namespace {

// Longer sequences are quicker in blocks of rows, which share the loads of a key: with 16 tokens both take
// the same time, with 8 an encoder of d=256 takes 1/1.01 of it.
constexpr size_t kShortTokens = 12;

KeyValueView ScratchView(const ModelConfig& config, size_t tokens, float* memory) {
  const KeyValueShape shape = {1, config.num_attention_heads, config.head_dim};
  return {shape, KeyValueLayout::kTokenBlocks, tokens, memory};
}

}  // namespace

void FindTokenKeys(const Evaluation& evaluation, absl::Span<const KeyValues* const> keys,
                   std::vector<TokenKeys>& found) {
  const bool gated = IsGated(evaluation.config.attention_activation);
  found.clear();
  for (size_t s = 0; s < keys.size(); ++s) {
    TokenKeys& sequence = found.emplace_back();
    if (!gated || evaluation.frozen != nullptr || evaluation.sequences()[s].count != 1) continue;
    if (keys[s] == nullptr || keys[s]->chunks() != 1) continue;
    sequence.view = keys[s]->chunk(0);
    if (sequence.view.layout == KeyValueLayout::kTokenBlocks) sequence.tokens = keys[s]->length();
  }
}

void FindShortSequences(Evaluation& evaluation, std::vector<TokenKeys>& found) {
  const ModelConfig& config = evaluation.config;
  const bool gated = IsGated(config.attention_activation) && evaluation.frozen == nullptr;
  size_t longest = 0;
  found.clear();
  for (const RowRange& range : evaluation.sequences()) {
    found.emplace_back().tokens = gated && range.count <= kShortTokens ? range.count : 0;
    longest = std::max(longest, found.back().tokens);
  }
  if (longest == 0) return;
  for (size_t i = 0; i < evaluation.pool.threads(); ++i) {
    evaluation.workspace.worker(i).token_keys.EnsureSize(ScratchView(config, longest, nullptr).size());
  }
}

TokenKeys KeepInScratch(const Evaluation& evaluation, MatrixView<const float> keys,
                        MatrixView<const float> values, Workspace::Worker& scratch) {
  const KeyValueView view = ScratchView(evaluation.config, keys.rows, scratch.token_keys.data());
  evaluation.kernels.store_tokens({keys.data, keys.stride, values.data, values.stride}, keys.rows,
                                  view.token_blocks(), view.Blocks(0));
  return {view, keys.rows};
}

void AttendToken(Evaluation& evaluation, const AttentionStage& stage, const TokenKeys& keys, size_t sequence,
                 size_t row, MatrixView<const float> query, MatrixView<float> attended,
                 Workspace::Worker& scratch) {
  const ModelConfig& config = evaluation.config;
  const RowRange& range = evaluation.sequences()[sequence];
  const size_t heads = config.num_attention_heads;
  const size_t tokens = keys.tokens;
  GateSink* const sink = evaluation.gates;
  const size_t position = range.position + row;
  const GateGroupRef heads_gates = {sequence,   position, static_cast<size_t>(stage.layer),
                                    stage.site, 0,        tokens};

  TokenAttention attention;
  attention.query = query.row(range.first + row);
  attention.blocks = keys.view.Blocks(stage.stored_layer);
  attention.heads = heads;
  attention.head_dim = config.head_dim;
  attention.tokens = tokens;
  // Of scratch only, which is in the cache, and whose sequence a value that is not finite has failed. Which
  // gates are open the processor cannot foresee: 8 tokens of d=128 or d=256, half of the gates open, in
  // 1/1.01 of the time, 10 % open in as much.
  attention.read_closed = keys.view.data == scratch.token_keys.data();
  attention.scale = config.attention_scale;
  attention.square = config.attention_activation == AttentionActivation::kRelu2;
  if (sink != nullptr) {
    attention.want_margin = evaluation.WantsMargin(sequence);
    scratch.bits.resize(heads);
    if (sink->BitsOfHeads(heads_gates, absl::MakeSpan(scratch.bits))) attention.bits = scratch.bits.data();
  }
  scratch.gates.resize(heads);
  float* const out = attended.row(range.first + row);
  evaluation.kernels.attend_token(attention, scratch.gates.data(), out);

  for (const GateRow& gates : scratch.gates) {
    if (!gates.finite) evaluation.Fail(sequence, position, ScoreName(stage.site), stage.layer);
  }
  if (attention.bits != nullptr) sink->RecordHeads(heads_gates, scratch.gates);
  if (config.attention_normalizer == AttentionNormalizer::kVisible) {
    evaluation.kernels.divide(out, static_cast<float>(tokens), config.attention_size());
  }
}

void PrefetchToken(const TokenKeys& keys, size_t stored_layer) {
  if (keys.view.data == nullptr) return;
  const TokenBlocks layout = keys.view.token_blocks();
  const size_t block_size = layout.block_size(), keys_size = layout.keys_size();
  const float* block = keys.view.Blocks(stored_layer);
  for (size_t b = layout.Blocks(keys.tokens); b > 0; --b, block += block_size) {
    for (size_t i = 0; i < keys_size; i += kLaneBlock) __builtin_prefetch(block + i);
  }
}

}  // namespace splineserve
