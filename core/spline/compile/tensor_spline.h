// Tensor-product splines of one to three variables in B-spline form.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_TENSOR_SPLINE_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_TENSOR_SPLINE_H_

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/spline/compile/bernstein_spline.h"
#include "core/spline/compile/piecewise_polynomial.h"

namespace splineserve {

// SciPy's NdBSpline (of one variable: BSpline): output o is
// sum over a, b, c of coefficients[a, b, c, o] B_a(x) B_b(y) B_c(z), with the B-splines of each variable's
// knots and degree.
struct TensorSpline {
  std::vector<std::vector<double>> knots;  // [variables], not decreasing
  std::vector<size_t> degrees;             // [variables]
  size_t outputs = 1;                      // trailing axes of c, flattened
  std::vector<double> coefficients;        // [count(0), count(1), ..., outputs], the last index fastest

  size_t variables() const { return knots.size(); }
  size_t count(size_t v) const { return knots[v].size() - degrees[v] - 1; }  // basis functions
  // The base interval, on which the basis functions add up to 1.
  double low(size_t v) const { return knots[v][degrees[v]]; }
  double high(size_t v) const { return knots[v][count(v)]; }
};

constexpr size_t kMaxTensorVariables = 3;

// INVALID_ARGUMENT, saying which variable, knot or coefficient, for: no variable or more than three, too few
// knots, knots that decrease or whose base interval is empty, an inner knot that is there more than k times,
// where the spline could jump, sizes that do not match, numbers that are not finite, degrees above
// kMaxSplineDegree.
absl::Status CheckTensorSpline(const TensorSpline& spline);

// The knots of the base interval, each once.
std::vector<double> DistinctKnots(const TensorSpline& spline, size_t variable);

// The basis functions of one variable, an output each, in Bernstein form.
BernsteinSpline BasisFunctions(const TensorSpline& spline, size_t variable);

// A spline of one variable in Bernstein form.
BernsteinSpline ToBernstein(const TensorSpline& spline);

// One number for each output, by the recursion of Cox and de Boor. Outside of the base interval the end
// pieces go on, or the nearest point of it counts. `spline` must be valid.
std::vector<double> Evaluate(const TensorSpline& spline, Extrapolation extrapolation,
                             absl::Span<const double> point);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_TENSOR_SPLINE_H_
