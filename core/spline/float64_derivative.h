// Exact derivatives of the polynomial on a piece, by forward and reverse mode through a recorded evaluation.
#ifndef SPLINESERVE_CORE_SPLINE_FLOAT64_DERIVATIVE_H_
#define SPLINESERVE_CORE_SPLINE_FLOAT64_DERIVATIVE_H_

#include <cstddef>

#include "core/spline/float64_pass.h"

namespace splineserve {

// Derivatives in the continuous inputs, or directions in them: [count * tokens, size of a row], `count` of
// them stacked. Empty for a stack whose input does not move.
struct InputRows64 {
  Matrix64 source;
  Matrix64 target;
};

// EXACT models only. `tape` is that of an evaluation of one point or of `count` points: a tape of one point
// serves all directions. With a frozen pattern these are derivatives of that pattern's polynomial.

struct Tangent {
  Matrix64 rows;       // [count * tokens of the last stack, d]
  Matrix64 arguments;  // [count, gates]: of the gates' arguments
};
// The derivatives along `count` directions. Cost: twice as many evaluations.
Tangent TangentOf(const Float64Pass& pass, const PassTape& tape, const InputRows64& directions, size_t count);

// The gradients of `count` weighted sums of final rows, `weights` [count * tokens of the last stack, d], in
// the inputs of `shape`. Cost: twice as many evaluations. The gradient of a stack that did not run on the
// tape is empty.
InputRows64 AdjointOf(const Float64Pass& pass, const PassTape& tape, const Matrix64& weights, size_t count);

// The head's transpose: weights of its outputs [count * head rows, size] to weights of final rows
// [count * tokens, d].
Matrix64 HeadAdjoint(const Float64Pass& pass, const Matrix64& weights, size_t count, size_t tokens);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_FLOAT64_DERIVATIVE_H_
