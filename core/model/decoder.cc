#include "core/model/decoder.h"

#include <utility>

#include "core/model/attention.h"
#include "core/model/embedding.h"
#include "core/model/layer.h"
#include "core/model/token_attention.h"

namespace splineserve {

const std::vector<absl::Status>& ProjectMemory(Evaluation& evaluation, const ModelWeights& weights,
                                               absl::Span<const size_t> lengths,
                                               MatrixView<const float> memory, KeyValueLayout layout,
                                               std::vector<std::shared_ptr<const KeyValues>>& projected) {
  const ModelConfig& config = weights.config;
  Workspace& workspace = evaluation.workspace;
  workspace.ranges.clear();
  workspace.caches.clear();
  projected.clear();
  size_t rows = 0;
  for (size_t length : lengths) {
    workspace.ranges.push_back({rows, length, 0});
    rows += length;
    auto keys = std::make_shared<KeyValues>(
        &workspace.key_value_pool, KeyValueShape::OfDecoder(config), length, KeyValues::kChunkTokens,
        layout == KeyValueLayout::kTokenBlocks ? KeyValueCache::MemoryLayout(config, length) : layout);
    keys->Grow(length);
    workspace.caches.push_back(keys.get());
    projected.push_back(std::move(keys));
  }
  evaluation.Begin("decoder", workspace.ranges);
  for (size_t l = 0; l < config.num_decoder_layers && evaluation.KeepGoing(); ++l) {
    StoreKeyValues(evaluation, *weights.decoder->layers[l].cross_attention, static_cast<int>(l), l, memory,
                   workspace.caches);
  }
  return evaluation.statuses();
}

const std::vector<absl::Status>& RunDecoder(Evaluation& evaluation, const ModelWeights& weights,
                                            absl::Span<const DecoderInput> inputs, MatrixView<float> hidden) {
  const ModelConfig& config = weights.config;
  const StackWeights& stack = *weights.decoder;
  Workspace& workspace = evaluation.workspace;
  std::vector<RowRange>& ranges = workspace.ranges;
  std::vector<SequenceInput>& tokens = workspace.inputs;
  ranges.clear();
  tokens.clear();
  workspace.caches.clear();
  workspace.memories.clear();
  size_t rows = 0;
  for (const DecoderInput& input : inputs) {
    ranges.push_back({rows, input.tokens.length(), input.cache->length()});
    tokens.push_back(input.tokens);
    rows += input.tokens.length();
    input.cache->own.Grow(input.tokens.length());
    workspace.caches.push_back(&input.cache->own);
    workspace.memories.push_back(input.cache->memory.get());
  }
  evaluation.Begin("decoder", ranges);
  FindTokenKeys(evaluation, workspace.caches, workspace.token_caches);
  FindTokenKeys(evaluation, workspace.memories, workspace.token_memories);
  Embed(evaluation, config.decoder_input(), stack, tokens, hidden);
  workspace.distinct_rows.Find(evaluation, config.decoder_input(), tokens);

  for (size_t l = 0; l < stack.layers.size() && evaluation.KeepGoing(); ++l) {
    const LayerWeights& layer = stack.layers[l];
    const int index = static_cast<int>(l);
    const auto self = [&](MatrixView<const float> x) {
      return AttendToSelf(evaluation,
                          {&layer.self_attention, Site::kSelfAttention, index, /*causal=*/true, l,
                           workspace.token_caches, l == 0 ? &workspace.distinct_rows : nullptr},
                          workspace.caches, x);
    };
    const auto cross = [&](MatrixView<const float> x) {
      return Attend(evaluation,
                    {&*layer.cross_attention, Site::kCrossAttention, index, /*causal=*/false, l,
                     workspace.token_memories},
                    workspace.memories, x);
    };
    const HeadsOf cross_heads = cross;
    RunLayer(evaluation, layer, index, self, layer.cross_attention.has_value() ? &cross_heads : nullptr,
             hidden);
  }
  if (config.final_norm) FinalNorm(evaluation, stack.final_norm, hidden);
  return evaluation.statuses();
}

}  // namespace splineserve
