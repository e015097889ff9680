// Max-min expressions of polynomials in several variables.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_EXPRESSION_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_EXPRESSION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace splineserve {

struct PolynomialTerm {
  double coefficient = 0;
  std::vector<uint32_t> powers;  // [variables]
};

// A node of the expression and what is below it.
struct Expression {
  enum class Kind { kPolynomial, kMax, kMin, kSum };
  Kind kind = Kind::kPolynomial;
  std::vector<PolynomialTerm> terms;  // kPolynomial: their sum; 0 without any
  std::vector<Expression> arguments;  // else: at least one
  double scale = 1;                   // the whole of it is multiplied by this number, of any sign
};

// A map of `variables` numbers: one expression for each output.
struct ExpressionSpline {
  size_t variables = 1;
  std::vector<Expression> outputs;
};

constexpr size_t kMaxExpressionDepth = 64;
constexpr size_t kMaxExpressionVariables = 4096;
constexpr uint32_t kMaxExpressionDegree = 729;

// INVALID_ARGUMENT, saying which output, for: no variables or outputs or too many, maxima, minima and sums of
// nothing, deeper nesting than kMaxExpressionDepth, a term whose powers are not one a variable or add up to
// more than kMaxExpressionDegree, numbers that are not finite.
absl::Status CheckExpression(const ExpressionSpline& spline);

// The largest degree of a term.
size_t Degree(const ExpressionSpline& spline);

// One number for each output. `spline` must be valid.
std::vector<double> Evaluate(const ExpressionSpline& spline, absl::Span<const double> point);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_EXPRESSION_H_
