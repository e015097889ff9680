// The head: pooling over a sequence's final rows, then an affine map.
#ifndef SPLINESERVE_CORE_MODEL_HEAD_H_
#define SPLINESERVE_CORE_MODEL_HEAD_H_

#include <cstddef>

#include "core/model/evaluation.h"

namespace splineserve {

// Rows that the head makes of a sequence of `tokens` rows: 1 where it pools, else `tokens`.
size_t HeadRows(const ModelConfig& config, size_t tokens);

// out [sum over the evaluation's sequences of HeadRows, head.size] = head(pool(hidden)). hidden holds the
// final rows of evaluation.sequences(), stacked. Mean pooling adds rows in order, then divides. Fails
// sequences whose output is not finite (see evaluation.statuses()).
void ApplyHead(Evaluation& evaluation, const ModelWeights& weights, MatrixView<const float> hidden,
               MatrixView<float> out);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_HEAD_H_
