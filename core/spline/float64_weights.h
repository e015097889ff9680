// A model's weights in float64, for analysis: derivatives, polynomials, error bounds.
#ifndef SPLINESERVE_CORE_SPLINE_FLOAT64_WEIGHTS_H_
#define SPLINESERVE_CORE_SPLINE_FLOAT64_WEIGHTS_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "Eigen/Core"
#include "core/format/model_config.h"
#include "core/model/weights.h"

namespace splineserve {

using Matrix64 = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Row64 = Eigen::Matrix<double, 1, Eigen::Dynamic, Eigen::RowMajor>;

// y = x weight + bias, one row a token.
struct AffineMap64 {
  Matrix64 weight;  // [in, out]
  Row64 bias;       // [out]; zeros where the file has none
};

// Of any kind of norm; empty where the model has none.
struct Norm64 {
  Row64 weight;
  Row64 bias;  // zeros where the file has none
};

struct Attention64 {
  Norm64 norm;
  AffineMap64 query, key, value;  // d -> heads * head_dim
  AffineMap64 output;             // heads * head_dim -> d
};

struct FeedForward64 {
  Norm64 norm;
  AffineMap64 up;    // d -> f
  AffineMap64 down;  // f -> d
};

struct Layer64 {
  Attention64 self_attention;
  std::optional<Attention64> cross_attention;  // decoder of an encoder_decoder
  FeedForward64 feed_forward;
};

struct Stack64 {
  Matrix64 token_embedding;                     // [V, d], without the input's scale; tokens only
  std::optional<AffineMap64> input_projection;  // vectors only
  Matrix64 positions;                           // [some, d]: learned, and tabulated sinusoidal ones
  std::vector<Layer64> layers;
  Norm64 final_norm;
};

// Every number is the float32 (or 16-bit) number of the file, so the function is the served one without its
// rounding. Immutable once made; thread-safe. Holds 8 bytes a parameter.
struct ModelWeights64 {
  ModelConfig config;
  std::optional<Stack64> encoder;
  std::optional<Stack64> decoder;
  std::optional<AffineMap64> head;
};

// `weights` must be in Precision::kFloat32. Cost: one pass over them. Throws std::bad_alloc.
ModelWeights64 MakeWeights64(const ModelWeights& weights);

// Row `position` of the stack's positions (tabulated or not), d numbers; zeros without positions. Sinusoidal
// ones are the float32 numbers of the served model.
Row64 PositionRow(const ModelConfig& config, const Stack64& stack, size_t position);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_FLOAT64_WEIGHTS_H_
