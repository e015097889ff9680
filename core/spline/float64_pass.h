// Evaluation in float64: with the gates of the input itself or with given ones, with a proven bound of the
// rounding error if asked for, and with what derivatives need.
#ifndef SPLINESERVE_CORE_SPLINE_FLOAT64_PASS_H_
#define SPLINESERVE_CORE_SPLINE_FLOAT64_PASS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "core/spline/float64_weights.h"
#include "core/spline/gate_layout.h"

namespace splineserve {

// Numbers, and for each a bound of the distance to what exact arithmetic would give.
struct Bounded64 {
  Matrix64 value;
  Matrix64 error;  // of value's shape, or empty: not bounded
  bool bounded() const { return error.size() != 0; }
};

// Several points (inputs of the same lengths) evaluated together: their rows are stacked, point by point.
struct PassInput {
  size_t points = 1;
  // Continuous inputs: [points * tokens, size of a row], with vectors or scaled embeddings without positions.
  // Empty for a stack that does not run. The errors bound how far the rows are from those that are meant.
  Bounded64 source;
  Bounded64 target;
  // Instead of `source`: the encoder's final rows, [points * source tokens, d].
  Bounded64 memory;
};

// What the products of one attention were made of.
struct AttentionTape {
  Matrix64 query, key, value;     // [rows, heads * head_dim], keys and values of all tokens they see
  std::vector<Matrix64> weights;  // sigma(score), of point p and head h at p * heads + h: [queries, keys]
  std::vector<Matrix64> slopes;   // sigma'(score) of the same
};

struct LayerTape {
  AttentionTape self_attention;
  std::optional<AttentionTape> cross_attention;
  Matrix64 slopes;  // of the feed-forward activation, [rows, f]
};

// All that Tangent and Adjoint (float64_derivative.h) need of an evaluation.
struct PassTape {
  size_t points = 0;
  std::vector<LayerTape> encoder, decoder;  // encoder: empty if the memory was given
};

struct PassOptions {
  // Of gates(), 1 for open: these instead of the signs of the arguments. An open gate passes its argument
  // whatever its sign, so that the function is the polynomial of this piece. Null: the input's own.
  const uint8_t* pattern = nullptr;
  // The arithmetic's unit roundoff for error bounds: 2^-53 for this evaluation itself, 2^-24 for the served
  // float32 one; 0: no bounds. EXACT models only.
  double unit_roundoff = 0;
  bool tape = false;  // EXACT models only
};

// Final rows (or outputs) and, of every gate, its argument.
struct PassResult {
  Bounded64 rows;  // [points * tokens of the last stack, d]
  // [points, gates]. `error` where bounds were asked for.
  Bounded64 arguments;
  PassTape tape;
};

// The forward evaluation of one model over sequences of given lengths. Immutable; thread-safe; `weights` must
// outlive it.
//
// The formulas are those of SPEC 3, for models of any class. With frozen gates every number is a polynomial
// in the inputs, on the piece and beyond it.
//
// Error bounds are running ones (Higham, Accuracy and Stability of Numerical Algorithms, ch. 3): a sum of n
// products in any order, fused or not, is off by gamma_n = n u / (1 - n u) times the sum of their absolute
// values, and what its operands are off by is carried through; ReLU, which is 1-Lipschitz, hands an error on.
// Second-order terms are kept, the bounds' own rounding (2^-53 relative) is covered by one extra unit in n,
// and what underflows lose is added.
class Float64Pass {
 public:
  Float64Pass(const ModelWeights64& weights, const PassShape& shape)
      : weights_(weights), layout_(weights.config, shape) {}

  const ModelWeights64& weights() const { return weights_; }
  const ModelConfig& config() const { return weights_.config; }
  const GateLayout& layout() const { return layout_; }

  // Cost: points times one evaluation, twice that with bounds (2 to 5 G multiply-adds a second).
  PassResult Run(const PassInput& input, const PassOptions& options) const;

  // The head over final rows of `points` sequences: [points * rows, size], rows being 1 where it pools.
  Bounded64 Head(const Bounded64& rows, size_t points, double unit_roundoff) const;

  // One byte a gate of point `point`: argument > 0.
  std::vector<uint8_t> Signs(const PassResult& result, size_t point) const;

 private:
  const ModelWeights64& weights_;
  const GateLayout layout_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_FLOAT64_PASS_H_
