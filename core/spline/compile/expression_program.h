// Max-min expressions of polynomials as layers of an encoder: Theorem 3.8 of arXiv 2408.09624.
//
// Attention multiplies: p q r = relu(p q) r - relu(-p q) r, one head where p q is a square. A monomial of
// degree m is there after ceil(log3 m) layers, in a column of its own that all polynomials share. The
// feed-forward network takes maxima, max(a, b) = a + relu(b - a), in balanced trees, and minima as -max(-a,
// -b).
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_EXPRESSION_PROGRAM_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_EXPRESSION_PROGRAM_H_

#include "core/spline/compile/expression.h"
#include "core/spline/compile/program.h"

namespace splineserve {

// `spline` must be valid.
Program CompileExpression(const ExpressionSpline& spline);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_EXPRESSION_PROGRAM_H_
