// What kind of function a model is, known from its configuration alone.
#ifndef SPLINESERVE_CORE_SPLINE_SPLINE_CLASS_H_
#define SPLINESERVE_CORE_SPLINE_SPLINE_CLASS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
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

// Degrees of the polynomials on a piece within one layer.
struct LayerDegrees {
  uint64_t self_score = 0;
  uint64_t cross_score = 0;  // 0 without memory
  uint64_t hidden = 0;       // of the rows that the feed-forward network sees, and of its pre-activations
  uint64_t output = 0;
};
// Of a layer whose rows have degree `input` and whose cross-attention, if there is one, sees rows of degree
// `memory`: relu self-attention a -> 3a, relu2 a -> 5a; cross-attention a -> a + 2m and 2(a + m) + m; relu
// feed-forward keeps, relu2 doubles. Saturates at 2^64 - 1. Norms none or affine, activations relu or relu2.
LayerDegrees DegreesOf(const ModelConfig& config, uint64_t input, std::optional<uint64_t> memory);

// The largest degree that the polynomial on a piece can have in the continuous inputs (embeddings or
// vectors), which have degree 1: DegreesOf all layers. Saturates at 2^64 - 1. 0 unless the class is kExact.
uint64_t DegreeBound(const ModelConfig& config);

// Whether gates of attention, and of feed-forward networks, have pieces (relu or relu2).
bool AttentionHasGates(const ModelConfig& config);
bool FeedForwardHasGates(const ModelConfig& config);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_SPLINE_CLASS_H_
