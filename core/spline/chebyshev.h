// Polynomials on an interval as Chebyshev series sum_k c[k] T_k(x), x in [-1, 1].
//
// This basis, not the Bernstein one, because converting samples to it and evaluating it is well conditioned
// at every degree that occurs here (the largest number in the conversion to Bernstein form is 347 at degree
// 9, 10^8 at 27 and 10^24 at 81), and because |T_k| <= 1 makes c[0] +- sum |c[k]| an enclosure of the range.
// (Trefethen, Approximation Theory and Approximation Practice, ch. 2-4.)
#ifndef SPLINESERVE_CORE_SPLINE_CHEBYSHEV_H_
#define SPLINESERVE_CORE_SPLINE_CHEBYSHEV_H_

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "core/spline/float64_weights.h"

namespace splineserve {

// The `n` >= 1 points -cos(pi k / (n - 1)), ascending, both ends among them (0 for n = 1). They determine a
// polynomial of degree n - 1.
std::vector<double> ChebyshevPoints(size_t n);

// [n, n]: row of samples at ChebyshevPoints(n) times it is the row of coefficients.
Matrix64 ChebyshevTransform(size_t n);

// How much larger an interpolant may be than its samples at ChebyshevPoints(n): the Lebesgue constant's bound
// 1 + 2/pi ln(n) (ibid., theorem 15.2).
double LebesgueBound(size_t n);

// sum of |c[k]| over k >= 1: the series is within it of c[0].
double TailOf(absl::Span<const double> c);

// Clenshaw's recurrence.
double EvaluateSeries(absl::Span<const double> c, double x);

// d/dx: one coefficient fewer (one zero if c has one).
std::vector<double> DerivativeOf(absl::Span<const double> c);

// The same polynomial with [lo, hi] in the place of [-1, 1]; as many coefficients.
std::vector<double> RestrictedTo(absl::Span<const double> c, double lo, double hi);

// Coefficients b[k] of sum_k b[k] binomial(n, k) u^k (1 - u)^(n - k), u = (x + 1) / 2. Loses 10^(0.3 n) of
// relative accuracy or so.
std::vector<double> ToBernstein(absl::Span<const double> c);

// The `n` Gauss-Legendre nodes and weights on [-1, 1]: integrates polynomials of degree 2 n - 1 exactly.
struct Quadrature {
  std::vector<double> nodes, weights;
};
Quadrature GaussLegendre(size_t n);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_CHEBYSHEV_H_
