// Continuous piecewise polynomials of one variable in Bernstein form: the form in which they are evaluated.
//
// With t = (x - x_i) / h_i on piece i, S = sum_j b_j B_j(t), B_j = C(K,j) t^j (1-t)^(K-j). The B_j are not
// negative and add up to 1, so that nothing is lost to cancellation: the result is as accurate as the largest
// b_j is large (Farouki and Rajan, "On the numerical condition of polynomials in Bernstein form", 1987).
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_BERNSTEIN_SPLINE_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_BERNSTEIN_SPLINE_H_

#include <cstddef>
#include <vector>

#include "core/spline/compile/piecewise_polynomial.h"
#include "core/spline/compile/program.h"

namespace splineserve {

double Binomial(size_t n, size_t k);  // in float64; exact up to 2^53

struct BernsteinSpline {
  std::vector<double> knots;  // [pieces + 1], increasing
  size_t degree = 0;
  size_t outputs = 1;
  std::vector<double> coefficients;  // [pieces, degree + 1, outputs]
  // How the end pieces go on: S(x_0 - e h_0) - S(x_0) = sum_j left[j] e^j, and the same to the right of the
  // last knot with the last h; j from 1. [degree + 1, outputs]
  std::vector<double> left, right;

  size_t pieces() const { return knots.size() - 1; }
  double& at(size_t piece, size_t j, size_t output) {
    return coefficients[(piece * (degree + 1) + j) * outputs + output];
  }
  double at(size_t piece, size_t j, size_t output) const {
    return coefficients[(piece * (degree + 1) + j) * outputs + output];
  }
  // At the right end of a piece its neighbour's first coefficient counts, so that the pieces join exactly.
  double knot_value(size_t knot, size_t output) const {
    return knot < pieces() ? at(knot, 0, output) : at(pieces() - 1, degree, output);
  }
};

// `spline` must be valid (CheckPiecewisePolynomial).
BernsteinSpline ToBernstein(const PiecewisePolynomial& spline);

// Sets left and right from the coefficients, by differences at the ends.
void SetContinuation(BernsteinSpline& spline);

// The same function in a degree that is not smaller. `left` and `right` keep their length.
BernsteinSpline Elevated(const BernsteinSpline& spline, size_t degree);

// Where the values of an output lie, on quarters of the pieces: between the least and the largest coefficient
// of the quarter's own Bernstein form. `breaks` and `ranges` are KnownRange's.
void QuarterRanges(const BernsteinSpline& spline, size_t output, std::vector<double>* breaks,
                   std::vector<Interval>* ranges);

// For every output the number to compute apart: what is added in the end to a spline of S - offset, whose
// rounding errors then are in proportion to how much S varies. Of the coefficients the nearest to 0 where all
// have one sign, so that small values keep their relative accuracy; else 0.
std::vector<double> Offsets(const std::vector<double>& coefficients, size_t outputs);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_BERNSTEIN_SPLINE_H_
