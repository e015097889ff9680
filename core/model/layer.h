// One layer of a stack: how its attentions and its feed-forward network sit in it (norm placement and
// residual connections), and which of their maps rows pass through together.
#ifndef SPLINESERVE_CORE_MODEL_LAYER_H_
#define SPLINESERVE_CORE_MODEL_LAYER_H_

#include "absl/functional/function_ref.h"
#include "core/model/evaluation.h"

namespace splineserve {

// What an attention's heads make of x [rows, d], already normed as the placement asks: [rows, heads *
// head_dim], valid until the next one's.
using HeadsOf = absl::FunctionRef<MatrixView<const float>(MatrixView<const float> x)>;

// Takes `hidden` [rows, d] through the layer in place. Each sub-layer, branch = o_proj(heads) or the
// feed-forward network, is
//   pre-norm:  x = x + branch(norm(x))      post-norm:  x = norm(x + branch(x))
// where without residual connections "x +" is dropped and with NormKind::kNone norm is the identity. `cross`
// is null where the layer has none. `layer` is for messages: rows that are not finite fail their sequences.
void RunLayer(Evaluation& evaluation, const LayerWeights& weights, int layer, HeadsOf self,
              const HeadsOf* cross, MatrixView<float> hidden);

// x = norm(x) after the last layer.
void FinalNorm(Evaluation& evaluation, const NormWeights& norm, MatrixView<float> x);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_LAYER_H_
