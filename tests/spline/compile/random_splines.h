// Random splines of the three kinds that compile, and slow evaluators of them by their definitions: nothing
// is shared with core/spline/compile but the types.
#ifndef SPLINESERVE_TESTS_SPLINE_COMPILE_RANDOM_SPLINES_H_
#define SPLINESERVE_TESTS_SPLINE_COMPILE_RANDOM_SPLINES_H_

#include <vector>

#include "core/spline/compile/compile.h"
#include "tests/engine/random_model.h"

namespace splineserve::testing {

// Degrees 0 to 11, 1 to 12 pieces of very different lengths far from or near 0, 1 to 3 outputs; now and then an empty piece.
PiecewisePolynomial RandomPiecewise(Random* random);
// 1 to 3 variables of degrees 1 to 5, with repeated inner knots and unclamped ends now and then.
TensorSpline RandomTensor(Random* random);
// 1 to 4 variables, up to three levels of maxima, minima, sums and factors, polynomials of degree 0 to 10.
ExpressionSpline RandomExpression(Random* random);

// By powers; by the recursive definition of B-splines; by the tree.
std::vector<double> SlowEvaluate(const SplineSource& source, Extrapolation extrapolation,
                                 const std::vector<double>& point);

// What a rounding error is in proportion to: the largest sum of absolute terms that are added up for a value
// in the domain.
double SlowScale(const SplineSource& source, const std::vector<Interval>& domain);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_SPLINE_COMPILE_RANDOM_SPLINES_H_
