// Continuous piecewise polynomials of one variable.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_PIECEWISE_POLYNOMIAL_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_PIECEWISE_POLYNOMIAL_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"

namespace splineserve {

// What a spline is outside of its knots: its end pieces go on, as SciPy has it unless told otherwise, or the
// value at the nearest point inside.
enum class Extrapolation { kPolynomial, kConstant };

// SciPy's PPoly: on [x[i], x[i+1]) output o is sum_j c[j][i][o] (v - x[i])^(k-j), degree k. A piece between
// equal knots is empty, as PPoly.from_spline makes them; at an end it says how the spline goes on there.
struct PiecewisePolynomial {
  std::vector<double> knots;         // [pieces + 1], not decreasing
  size_t degree = 0;                 // k
  size_t outputs = 1;                // trailing axes of c, flattened
  std::vector<double> coefficients;  // [k + 1, pieces, outputs], highest power first

  size_t pieces() const { return knots.size() - 1; }
  double coefficient(size_t power, size_t piece, size_t output) const {
    return coefficients[((degree - power) * pieces() + piece) * outputs + output];
  }
};

struct JoinReport {
  double largest_jump = 0;  // of any output at any inner knot, as the coefficients have it
};

// INVALID_ARGUMENT, saying which knot or coefficient, for: fewer than two different knots, knots that
// decrease, sizes that do not match, numbers that are not finite, a degree above kMaxSplineDegree, and pieces
// that do not join: an encoder is a continuous map. They may miss each other at a knot by `tolerance` times
// the sum of the absolute values of the terms that meet there; negative: by 8 (k + 2) 2^-53, what rounding
// the coefficients to float64 and adding them up can do.
absl::StatusOr<JoinReport> CheckPiecewisePolynomial(const PiecewisePolynomial& spline, double tolerance = -1);

// One number for each output, by Horner's rule. `spline` must be valid.
std::vector<double> Evaluate(const PiecewisePolynomial& spline, Extrapolation extrapolation, double x);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_PIECEWISE_POLYNOMIAL_H_
