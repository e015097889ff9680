// The polynomial on a piece along a direction, as a power series that ends.
#ifndef SPLINESERVE_CORE_SPLINE_TAYLOR_H_
#define SPLINESERVE_CORE_SPLINE_TAYLOR_H_

#include <cstddef>
#include <cstdint>

#include "core/spline/float64_pass.h"
#include "core/spline/segment.h"

namespace splineserve {

// Final rows at `at` + s * direction, with the gates of `pattern` (one byte a gate of pass.layout()): row
// k * tokens + t of the result holds the coefficients of s^k in token t's row, [(degree + 1) * tokens, d].
// Terms above `degree` are cut off: with the layout's degree there are none, and the result is the function
// on the piece itself.
//
// Every number of the evaluation is such a series: affine maps act on each coefficient, products of scores
// and values convolve. EXACT models only. Cost: `degree` + 1 evaluations of affine maps, and half its square
// of attention's products.
Matrix64 TaylorRows(const Float64Pass& pass, const ContinuousInput& at, const InputRows64& direction,
                    const uint8_t* pattern, size_t degree);

// The head of `count` stacked sequences' derivatives, or of any terms but constant ones: without its bias.
// [count * head rows, size].
Matrix64 HeadOfDerivatives(const Float64Pass& pass, const Matrix64& rows, size_t count);

// The head of such rows; the constant terms alone have its bias. [(degree + 1) * head rows, size].
Matrix64 TaylorHead(const Float64Pass& pass, const Matrix64& rows, size_t degree);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_TAYLOR_H_
