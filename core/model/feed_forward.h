// The feed-forward network: down(act(up x)). With ReLU a piecewise linear map.
#ifndef SPLINESERVE_CORE_MODEL_FEED_FORWARD_H_
#define SPLINESERVE_CORE_MODEL_FEED_FORWARD_H_

#include "core/model/evaluation.h"

namespace splineserve {

// branch = down(act(up x)) for all rows; x already normed as the placement asks. Reports the gates of every
// token if the activation is relu or relu2, and takes them from evaluation.frozen if there is one; fails
// sequences with a pre-activation that is not finite.
void FeedForward(Evaluation& evaluation, const FeedForwardWeights& weights, int layer,
                 MatrixView<const float> x, MatrixView<float> branch);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_FEED_FORWARD_H_
