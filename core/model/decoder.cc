#include "core/model/decoder.h"

#include <utility>

#include "core/model/attention.h"
#include "core/model/embedding.h"
#include "core/model/feed_forward.h"
#include "core/model/layer.h"

namespace splineserve {

std::vector<std::shared_ptr<const MemoryKeyValues>> ProjectMemory(Evaluation& evaluation,
                                                                  const ModelWeights& weights,
                                                                  absl::Span<const size_t> lengths,
                                                                  MatrixView<const float> memory,
                                                                  std::vector<absl::Status>& statuses) {
  const ModelConfig& config = weights.config;
  std::vector<RowRange> ranges;
  size_t rows = 0;
  for (size_t length : lengths) {
    ranges.push_back({rows, length, 0});
    rows += length;
  }
  evaluation.Begin("decoder", ranges);
  std::vector<std::shared_ptr<MemoryKeyValues>> result;
  for (size_t length : lengths) {
    auto memory_keys = std::make_shared<MemoryKeyValues>();
    memory_keys->tokens = length;
    for (size_t l = 0; l < config.num_decoder_layers; ++l) {
      memory_keys->layers.emplace_back(config.num_attention_heads, config.head_dim, length);
    }
    result.push_back(std::move(memory_keys));
  }
  for (size_t l = 0; l < config.num_decoder_layers && evaluation.KeepGoing(); ++l) {
    std::vector<HeadKeyValues*> caches;
    for (const auto& memory_keys : result) caches.push_back(&memory_keys->layers[l]);
    AppendKeyValues(evaluation, *weights.decoder->layers[l].cross_attention, static_cast<int>(l), memory,
                    absl::MakeSpan(caches));
  }
  statuses = evaluation.statuses();
  return {result.begin(), result.end()};
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
  size_t rows = 0;
  for (const DecoderInput& input : inputs) {
    ranges.push_back({rows, input.tokens.length(), input.cache->length()});
    tokens.push_back(input.tokens);
    rows += input.tokens.length();
  }
  evaluation.Begin("decoder", ranges);
  Embed(evaluation, config.decoder_input(), stack, tokens, hidden);

  for (size_t l = 0; l < stack.layers.size() && evaluation.KeepGoing(); ++l) {
    const LayerWeights& layer = stack.layers[l];
    const int index = static_cast<int>(l);
    SubLayer(evaluation, layer.self_attention.norm, index, hidden,
             [&](MatrixView<const float> x, MatrixView<float> branch) {
               workspace.caches.clear();
               for (const DecoderInput& input : inputs) workspace.caches.push_back(&input.cache->layers[l]);
               AppendKeyValues(evaluation, layer.self_attention, index, x, absl::MakeSpan(workspace.caches));
               workspace.visible.assign(workspace.caches.begin(), workspace.caches.end());
               Attend(evaluation, {&layer.self_attention, Site::kSelfAttention, index, /*causal=*/true},
                      workspace.visible, x, branch);
             });
    if (layer.cross_attention.has_value()) {
      SubLayer(evaluation, layer.cross_attention->norm, index, hidden,
               [&](MatrixView<const float> x, MatrixView<float> branch) {
                 workspace.visible.clear();
                 for (const DecoderInput& input : inputs) {
                   workspace.visible.push_back(&input.cache->memory->layers[l]);
                 }
                 Attend(evaluation, {&*layer.cross_attention, Site::kCrossAttention, index, /*causal=*/false},
                        workspace.visible, x, branch);
               });
    }
    SubLayer(evaluation, layer.feed_forward.norm, index, hidden,
             [&](MatrixView<const float> x, MatrixView<float> branch) {
               FeedForward(evaluation, layer.feed_forward, index, x, branch);
             });
  }
  if (config.final_norm) FinalNorm(evaluation, stack.final_norm, hidden);
  return evaluation.statuses();
}

}  // namespace splineserve
