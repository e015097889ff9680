#include "core/spline/compile/expression.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve {
namespace {

absl::Status CheckNode(const Expression& node, size_t variables, size_t depth) {
  if (depth > kMaxExpressionDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected expressions nested at most ", kMaxExpressionDepth, " deep, found deeper"));
  }
  if (!std::isfinite(node.scale)) return absl::InvalidArgumentError("scale: expected a finite number");
  if (node.kind == Expression::Kind::kPolynomial) {
    for (const PolynomialTerm& term : node.terms) {
      if (!std::isfinite(term.coefficient)) {
        return absl::InvalidArgumentError("coefficient: expected a finite number");
      }
      if (term.powers.size() != variables) {
        return absl::InvalidArgumentError(absl::StrCat("powers: expected one for each of ", variables,
                                                       " variables, found ", term.powers.size()));
      }
      uint64_t degree = 0;
      for (const uint32_t power : term.powers) degree += power;
      if (degree > kMaxExpressionDegree) {
        return absl::InvalidArgumentError(
            absl::StrCat("powers: expected a degree of at most ", kMaxExpressionDegree, ", found ", degree));
      }
    }
    return absl::OkStatus();
  }
  if (node.arguments.empty()) {
    return absl::InvalidArgumentError("max, min or sum: expected at least one argument, found none");
  }
  for (const Expression& argument : node.arguments) {
    SPLINESERVE_RETURN_IF_ERROR(CheckNode(argument, variables, depth + 1));
  }
  return absl::OkStatus();
}

size_t NodeDegree(const Expression& node) {
  size_t degree = 0;
  for (const PolynomialTerm& term : node.terms) {
    size_t sum = 0;
    for (const uint32_t power : term.powers) sum += power;
    if (term.coefficient != 0) degree = std::max(degree, sum);
  }
  for (const Expression& argument : node.arguments) degree = std::max(degree, NodeDegree(argument));
  return degree;
}

double Value(const Expression& node, absl::Span<const double> point) {
  double value = 0;
  for (const PolynomialTerm& term : node.terms) {
    double product = term.coefficient;
    for (size_t v = 0; v < point.size(); ++v) product *= std::pow(point[v], static_cast<int>(term.powers[v]));
    value += product;
  }
  for (size_t i = 0; i < node.arguments.size(); ++i) {
    const double argument = Value(node.arguments[i], point);
    switch (node.kind) {
      case Expression::Kind::kMax:
        value = i == 0 ? argument : std::max(value, argument);
        break;
      case Expression::Kind::kMin:
        value = i == 0 ? argument : std::min(value, argument);
        break;
      case Expression::Kind::kPolynomial:
      case Expression::Kind::kSum:
        value += argument;
        break;
    }
  }
  return node.scale * value;
}

}  // namespace

absl::Status CheckExpression(const ExpressionSpline& spline) {
  if (spline.variables < 1 || spline.variables > kMaxExpressionVariables) {
    return absl::InvalidArgumentError(
        absl::StrCat("variables: expected 1 to ", kMaxExpressionVariables, ", found ", spline.variables));
  }
  if (spline.outputs.empty()) return absl::InvalidArgumentError("outputs: expected at least one expression");
  for (size_t o = 0; o < spline.outputs.size(); ++o) {
    if (const absl::Status status = CheckNode(spline.outputs[o], spline.variables, 1); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("output ", o, ": ", std::string(status.message())));
    }
  }
  return absl::OkStatus();
}

size_t Degree(const ExpressionSpline& spline) {
  size_t degree = 0;
  for (const Expression& output : spline.outputs) degree = std::max(degree, NodeDegree(output));
  return degree;
}

std::vector<double> Evaluate(const ExpressionSpline& spline, absl::Span<const double> point) {
  std::vector<double> values;
  for (const Expression& output : spline.outputs) values.push_back(Value(output, point));
  return values;
}

}  // namespace splineserve
