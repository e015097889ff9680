// What kind of function a model is, known from its configuration alone.
#ifndef SPLINESERVE_CORE_SPLINE_SPLINE_CLASS_H_
#define SPLINESERVE_CORE_SPLINE_SPLINE_CLASS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/format/model_config.h"

namespace splineserve {

enum class SplineClass {
  kExact,     // every activation relu or relu2, norms none or affine: a true spline
  kRegional,  // ReLU gates, but layer_norm or rms_norm somewhere: pieces are well defined, the map is not
              // polynomial
  kSmooth,    // some softmax, softplus, gelu or silu: only the ReLU gates that remain have pieces
};
std::string_view Name(SplineClass value);  // "EXACT", "REGIONAL", "SMOOTH"

SplineClass ClassOf(const ModelConfig& config);

// The largest degree that the polynomial on a piece can have in the continuous inputs (embeddings or
// vectors): inputs 1; relu self-attention a -> 3a, relu2 a -> 5a; cross-attention a -> a + 2m and 2(a + m) +
// m with m the memory's degree; relu feed-forward keeps, relu2 doubles. Saturates at 2^64 - 1. 0 unless the
// class is kExact.
uint64_t DegreeBound(const ModelConfig& config);

// Whether gates of attention, and of feed-forward networks, have pieces (relu or relu2).
bool AttentionHasGates(const ModelConfig& config);
bool FeedForwardHasGates(const ModelConfig& config);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_SPLINE_CLASS_H_
