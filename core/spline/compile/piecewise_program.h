// Piecewise polynomials of one variable as layers of an encoder.
//
// For every piece a ramp t_i = relu(1 - relu(x_{i+1} - x) / h_i), which is (x - x_i) / h_i on the piece,
// exactly 0 to its left and exactly 1 to its right. The hat functions relu(t_{i-1} - t_i) carry the values at
// the knots, the products C(K,j) t_i^j (1-t_i)^(K-j), 0 < j < K, what the piece has beyond the straight line
// between them. Far from x all of them are exactly zero in floating-point arithmetic, too, so that a result
// has the rounding errors of its own piece alone, however many there are.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_PIECEWISE_PROGRAM_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_PIECEWISE_PROGRAM_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "core/spline/compile/bernstein_spline.h"
#include "core/spline/compile/piecewise_polynomial.h"
#include "core/spline/compile/program.h"

namespace splineserve {

// Where ramps are computed. Attention of the first layer saves a layer, but takes a head for every piece,
// which splines of degree 1 do not need otherwise.
enum class RampSite { kAttention, kFeedForward };

// Adds every output of `spline` of the input `input` to its column; the columns must be zero. Returns the
// number of layers after which they are complete: 1 + ceil(log3 degree), but at least 2, or 3 with
// kFeedForward, which is for degrees 0 and 1 only. INVALID_ARGUMENT for knots whose distances, inverted, are
// out of float32's range.
absl::StatusOr<size_t> AddPiecewise(const BernsteinSpline& spline, Extrapolation extrapolation,
                                    RampSite ramp_site, size_t input, const std::vector<size_t>& columns,
                                    Program& program);

// A whole program: AddPiecewise, and an output for each column with Offsets().
absl::StatusOr<Program> CompilePiecewise(const BernsteinSpline& spline, Extrapolation extrapolation);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_PIECEWISE_PROGRAM_H_
