// The feed-forward network: down(act(up x)). With ReLU a piecewise linear map.
#ifndef SPLINESERVE_CORE_MODEL_FEED_FORWARD_H_
#define SPLINESERVE_CORE_MODEL_FEED_FORWARD_H_

#include <cstddef>
#include <cstdint>

#include "core/model/evaluation.h"

namespace splineserve {

// branch = down(act(up x)) for all rows; x already normed as the placement asks. Reports the gates of every
// token if the activation is relu or relu2, and takes them from evaluation.frozen if there is one; fails
// sequences with a pre-activation that is not finite.
void FeedForward(Evaluation& evaluation, const FeedForwardWeights& weights, int layer,
                 MatrixView<const float> x, MatrixView<float> branch);

// Whether so many rows go through the whole network block by block, each block on one thread.
bool TakesBlocksOfRows(const Evaluation& evaluation, const FeedForwardWeights& weights, size_t rows);

// FeedForward where TakesBlocksOfRows, with what comes before and after it: for every block before(first,
// count) makes rows [first, first + count) of x, and after(first, count) goes on with those of branch, on the
// thread that has them in its cache and alone touches them. Faults are of `stage` (Evaluation::NextStages).
void FeedForwardBetween(Evaluation& evaluation, const FeedForwardWeights& weights, int layer, uint64_t stage,
                        MatrixView<const float> x, MatrixView<float> branch, Evaluation::OfRows before,
                        Evaluation::OfRows after);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_FEED_FORWARD_H_
