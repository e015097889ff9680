// A model's weights in the layout that the kernels stream, packed once at load.
#ifndef SPLINESERVE_CORE_MODEL_WEIGHTS_H_
#define SPLINESERVE_CORE_MODEL_WEIGHTS_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/aligned_buffer.h"
#include "core/format/model_config.h"
#include "core/format/model_directory.h"
#include "core/kernels/packing.h"

namespace splineserve {

// y = W x + b, W [out, in] packed, b [out] or absent (zero).
struct AffineMap {
  PackedMatrix weight;        // inner = in, outer = out
  AlignedBuffer<float> bias;  // empty if absent
  size_t in() const { return weight.inner(); }
  size_t out() const { return weight.outer(); }
  const float* bias_or_null() const { return bias.size() == 0 ? nullptr : bias.data(); }
};

// Of any kind of norm; empty where the model has none.
struct NormWeights {
  AlignedBuffer<float> weight;  // [d]
  AlignedBuffer<float> bias;    // [d] or empty (zero)
  const float* bias_or_null() const { return bias.size() == 0 ? nullptr : bias.data(); }
};

struct AttentionWeights {
  NormWeights norm;
  AffineMap query, key, value;  // d -> heads * head_dim
  AffineMap output;             // heads * head_dim -> d
};

struct FeedForwardWeights {
  NormWeights norm;
  AffineMap up;    // d -> f
  AffineMap down;  // f -> d
};

struct LayerWeights {
  AttentionWeights self_attention;
  std::optional<AttentionWeights> cross_attention;  // decoder of an encoder_decoder
  FeedForwardWeights feed_forward;
};

// One stack: the encoder or the decoder.
struct StackWeights {
  AlignedBuffer<float> token_embedding;       // [V, d] row-major; tokens only
  std::optional<AffineMap> input_projection;  // size -> d; vectors only
  AlignedBuffer<float> positions;             // [positions_rows, d]; learned and sinusoidal
  size_t positions_rows = 0;
  std::vector<LayerWeights> layers;
  NormWeights final_norm;
};

// Immutable after PackWeights; thread-safe. Move-only.
struct ModelWeights {
  ModelConfig config;
  std::optional<StackWeights> encoder;
  std::optional<StackWeights> decoder;
  std::optional<AffineMap> head;  // d -> head.size
};

// Converts and packs every tensor of `directory`. Cost: one pass over the weights. The result does not refer
// to the directory's maps. Fails only if a tensor cannot be read as finite float32.
absl::StatusOr<ModelWeights> PackWeights(const ModelDirectory& directory);

// Row `position` of the sinusoidal table, d numbers: column 2i is sin(p / 10000^(2i/d)), column 2i+1 its
// cosine, in float64, rounded once. The one routine for all targets.
void SinusoidalPosition(size_t position, size_t d, float* row);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_WEIGHTS_H_
