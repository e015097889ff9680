// How a sub-layer (attention, feed-forward) sits in its layer: norm placement and residual connection.
#ifndef SPLINESERVE_CORE_MODEL_LAYER_H_
#define SPLINESERVE_CORE_MODEL_LAYER_H_

#include "core/model/evaluation.h"

namespace splineserve {

// Pre-norm:  x = x + branch(norm(x)).   Post-norm:  x = norm(x + branch(x)).   Without residual, "x +" is
// dropped; with NormKind::kNone, norm is the identity. `branch(input, output)` maps rows [rows, d] to rows
// [rows, d]. `layer` is for messages: a row that is not finite afterwards fails its sequence.
template <typename Branch>
void SubLayer(Evaluation& evaluation, const NormWeights& norm, int layer, MatrixView<float> x,
              const Branch& branch) {
  const bool has_norm = evaluation.config.norm != NormKind::kNone;
  const bool pre = evaluation.config.norm_placement == NormPlacement::kPre;
  MatrixView<const float> input = x;
  if (has_norm && pre) {
    const MatrixView<float> normed = evaluation.workspace.Rows(Workspace::kNormed, x.rows, x.cols);
    evaluation.ApplyNorm(norm, x, normed);
    input = normed;
  }
  const MatrixView<float> output = evaluation.workspace.Rows(Workspace::kBranch, x.rows, x.cols);
  branch(input, output);
  evaluation.AddBranch(output, has_norm && !pre ? &norm : nullptr, "an output", layer, x);
}

// x = norm(x) after the last layer.
inline void FinalNorm(Evaluation& evaluation, const NormWeights& norm, MatrixView<float> x) {
  evaluation.ApplyNorm(norm, x, x);
  evaluation.CheckFinite(x, "the final norm", -1);
}

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_LAYER_H_
