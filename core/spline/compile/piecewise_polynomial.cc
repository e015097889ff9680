#include "core/spline/compile/piecewise_polynomial.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/spline/compile/degree_plan.h"

namespace splineserve {
namespace {

absl::Status CheckKnots(const std::vector<double>& knots) {
  if (knots.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("x: expected at least 2 knots, found ", knots.size()));
  }
  for (size_t i = 0; i < knots.size(); ++i) {
    if (!std::isfinite(knots[i])) {
      return absl::InvalidArgumentError(
          absl::StrFormat("x[%d]: expected a finite number, found %g", i, knots[i]));
    }
    if (i > 0 && knots[i] < knots[i - 1]) {
      return absl::InvalidArgumentError(
          absl::StrFormat("x[%d]: expected x[%d] = %.17g or more, because knots do not decrease, found %.17g",
                          i, i - 1, knots[i - 1], knots[i]));
    }
  }
  if (knots.front() == knots.back()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("x: expected at least 2 different knots, found %.17g alone", knots.front()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JoinReport> CheckPiecewisePolynomial(const PiecewisePolynomial& spline, double tolerance) {
  SPLINESERVE_RETURN_IF_ERROR(CheckKnots(spline.knots));
  if (spline.degree > kMaxSplineDegree) {
    return absl::InvalidArgumentError(
        absl::StrCat("c: expected a degree of at most ", kMaxSplineDegree, ", found ", spline.degree));
  }
  const size_t pieces = spline.pieces(), k = spline.degree;
  if (spline.outputs == 0 || spline.coefficients.size() != (k + 1) * pieces * spline.outputs) {
    return absl::InvalidArgumentError(absl::StrCat("c: expected ", k + 1, " x ", pieces, " x ",
                                                   spline.outputs, " numbers, found ",
                                                   spline.coefficients.size()));
  }
  for (size_t i = 0; i < spline.coefficients.size(); ++i) {
    if (!std::isfinite(spline.coefficients[i])) {
      return absl::InvalidArgumentError(
          absl::StrFormat("c[%d, %d, %d]: expected a finite number, found %g", i / spline.outputs / pieces,
                          i / spline.outputs % pieces, i % spline.outputs, spline.coefficients[i]));
    }
  }
  const double relative = tolerance >= 0 ? tolerance : 8.0 * static_cast<double>(k + 2) * 0x1p-53;
  JoinReport report;
  for (size_t i = 0; i < pieces; ++i) {
    const double h = spline.knots[i + 1] - spline.knots[i];
    for (size_t o = 0; o < spline.outputs; ++o) {
      double left = 0, scale = 0;
      for (size_t power = k + 1; power-- > 0;) {
        left = left * h + spline.coefficient(power, i, o);
        scale = scale * h + std::fabs(spline.coefficient(power, i, o));
      }
      if (!std::isfinite(left) || !std::isfinite(scale)) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "c: piece %d of output %d overflows at its right end, x = %.17g", i, o, spline.knots[i + 1]));
      }
      if (i + 1 == pieces) continue;
      const double right = spline.coefficient(0, i + 1, o);
      const double jump = std::fabs(right - left);
      const double allowed = relative * (scale + std::fabs(right));
      if (jump > allowed) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "knot x[%d] = %.17g: expected pieces that join, because an encoder is continuous; found %.17g "
            "from the "
            "left and %.17g from the right in output %d, a jump of %.3g where rounding explains %.3g",
            i + 1, spline.knots[i + 1], left, right, o, jump, allowed));
      }
      report.largest_jump = std::max(report.largest_jump, jump);
    }
  }
  return report;
}

std::vector<double> Evaluate(const PiecewisePolynomial& spline, Extrapolation extrapolation, double x) {
  if (extrapolation == Extrapolation::kConstant) x = std::clamp(x, spline.knots.front(), spline.knots.back());
  const auto above = std::upper_bound(spline.knots.begin(), spline.knots.end(), x);
  const size_t after = static_cast<size_t>(above - spline.knots.begin());
  const size_t piece = std::clamp<size_t>(after, 1, spline.pieces()) - 1;
  std::vector<double> values(spline.outputs, 0.0);
  for (size_t o = 0; o < spline.outputs; ++o) {
    for (size_t power = spline.degree + 1; power-- > 0;) {
      values[o] = values[o] * (x - spline.knots[piece]) + spline.coefficient(power, piece, o);
    }
  }
  return values;
}

}  // namespace splineserve
