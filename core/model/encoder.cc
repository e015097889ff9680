#include "core/model/encoder.h"

#include "core/model/attention.h"
#include "core/model/embedding.h"
#include "core/model/layer.h"
#include "core/model/token_attention.h"

namespace splineserve {

const std::vector<absl::Status>& RunEncoder(Evaluation& evaluation, const ModelWeights& weights,
                                            absl::Span<const SequenceInput> inputs,
                                            MatrixView<float> hidden) {
  const ModelConfig& config = weights.config;
  const StackWeights& stack = *weights.encoder;
  Workspace& workspace = evaluation.workspace;
  std::vector<RowRange>& ranges = workspace.ranges;
  ranges.clear();
  size_t rows = 0;
  for (const SequenceInput& input : inputs) {
    ranges.push_back({rows, input.length(), 0});
    rows += input.length();
  }
  evaluation.Begin("encoder", ranges);
  Embed(evaluation, config.input, stack, inputs, hidden);
  workspace.distinct_rows.Find(evaluation, config.input, inputs);

  FindShortSequences(evaluation, workspace.token_caches);
  // Of the others, keys and values of one layer at a time, in memory that all layers share.
  std::vector<KeyValues>& keys = workspace.EncoderKeys(inputs.size());
  workspace.caches.clear();
  for (size_t s = 0; s < inputs.size(); ++s) {
    if (workspace.token_caches[s].tokens != 0) {
      workspace.caches.push_back(nullptr);
      continue;
    }
    keys[s].Prepare(&workspace.key_value_pool, {1, config.num_attention_heads, config.head_dim},
                    inputs[s].length());
    keys[s].Grow(inputs[s].length());
    workspace.caches.push_back(&keys[s]);
  }

  for (size_t l = 0; l < stack.layers.size() && evaluation.KeepGoing(); ++l) {
    const LayerWeights& layer = stack.layers[l];
    const int index = static_cast<int>(l);
    const auto self = [&](MatrixView<const float> x) {
      return AttendToSelf(evaluation,
                          {&layer.self_attention, Site::kSelfAttention, index, /*causal=*/false, 0,
                           workspace.token_caches, l == 0 ? &workspace.distinct_rows : nullptr},
                          workspace.caches, x);
    };
    RunLayer(evaluation, layer, index, self, nullptr, hidden);
  }
  if (config.final_norm) FinalNorm(evaluation, stack.final_norm, hidden);
  return evaluation.statuses();
}

}  // namespace splineserve
