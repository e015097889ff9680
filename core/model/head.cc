#include "core/model/head.h"

#include <algorithm>

namespace splineserve {

size_t HeadRows(const ModelConfig& config, size_t tokens) {
  return config.head.pooling == Pooling::kNone ? tokens : 1;
}

void ApplyHead(Evaluation& evaluation, const ModelWeights& weights, MatrixView<const float> hidden,
               MatrixView<float> out) {
  const ModelConfig& config = weights.config;
  if (config.head.pooling == Pooling::kNone) {
    evaluation.Apply(*weights.head, hidden, out);
    evaluation.CheckFinite(out, "a head output", -1);
    return;
  }
  const size_t d = config.hidden_size;
  const size_t count = evaluation.sequences().size();
  const MatrixView<float> pooled = evaluation.workspace.Rows(Workspace::kNormed, count, d);
  for (size_t s = 0; s < count; ++s) {
    const RowRange range = evaluation.sequences()[s];
    std::copy_n(hidden.row(range.first), d, pooled.row(s));
    if (config.head.pooling == Pooling::kMean) {
      for (size_t t = 1; t < range.count; ++t) {
        evaluation.kernels.add(pooled.row(s), hidden.row(range.first + t), d, pooled.row(s));
      }
      evaluation.kernels.divide(pooled.row(s), static_cast<float>(range.count), d);
    }
  }
  evaluation.Apply(*weights.head, pooled, out);
  evaluation.NextStage();
  for (size_t s = 0; s < count; ++s) {
    if (!evaluation.kernels.all_finite(out.row(s), out.cols))
      evaluation.Fail(s, 0, "the pooled head output", -1);
  }
}

}  // namespace splineserve
