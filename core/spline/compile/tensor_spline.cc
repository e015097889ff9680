#include "core/spline/compile/tensor_spline.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/spline/compile/degree_plan.h"

namespace splineserve {
namespace {

absl::Status CheckVariable(const TensorSpline& spline, size_t v) {
  const std::vector<double>& t = spline.knots[v];
  const size_t k = spline.degrees[v];
  if (k > kMaxSplineDegree) {
    return absl::InvalidArgumentError(
        absl::StrCat("k[", v, "]: expected a degree of at most ", kMaxSplineDegree, ", found ", k));
  }
  if (t.size() < 2 * k + 2) {
    return absl::InvalidArgumentError(absl::StrCat("t[", v, "]: expected at least 2 k + 2 = ", 2 * k + 2,
                                                   " knots for degree ", k, ", found ", t.size()));
  }
  for (size_t i = 0; i < t.size(); ++i) {
    if (!std::isfinite(t[i])) {
      return absl::InvalidArgumentError(
          absl::StrFormat("t[%d][%d]: expected a finite number, found %g", v, i, t[i]));
    }
    if (i > 0 && t[i] < t[i - 1]) {
      return absl::InvalidArgumentError(
          absl::StrFormat("t[%d][%d]: expected %.17g or more, because knots do not "
                          "decrease, found %.17g",
                          v, i, t[i - 1], t[i]));
    }
  }
  const double low = spline.low(v), high = spline.high(v);
  if (!(low < high)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "t[%d]: expected a base interval from t[k] to t[n] that is not empty, found %.17g to %.17g", v, low,
        high));
  }
  for (size_t i = k + 1; i < spline.count(v); ++i) {
    const auto [first, last] = std::equal_range(t.begin(), t.end(), t[i]);
    if (t[i] > low && t[i]<high&& static_cast<size_t>(last - first)> k) {
      return absl::InvalidArgumentError(
          absl::StrFormat("t[%d]: expected the inner knot %.17g at most k = %d times, because an encoder is "
                          "continuous; found it %d "
                          "times",
                          v, t[i], k, last - first));
    }
  }
  return absl::OkStatus();
}

// Coefficients of B-splines that can be other than 0 on [t[mu], t[mu + 1]): those with indices mu - k .. mu.
struct LocalKnots {
  const std::vector<double>& t;
  size_t k;
  size_t mu;
};

// One round of de Boor's algorithm on d[0..k-round], with `x` in place of the argument: the blossom where it
// differs from round to round.
void DeBoorRound(const LocalKnots& local, size_t round, double x, std::vector<double>* d) {
  for (size_t j = local.k; j >= round; --j) {
    const double low = local.t[local.mu - local.k + j], high = local.t[local.mu + 1 + j - round];
    const double share = (x - low) / (high - low);
    (*d)[j] = (1 - share) * (*d)[j - 1] + share * (*d)[j];
  }
}

// Calls f(piece, mu) for every piece of the base interval.
template <typename Function>
void ForPieces(const TensorSpline& spline, size_t v, const Function& f) {
  size_t piece = 0;
  for (size_t mu = spline.degrees[v]; mu < spline.count(v); ++mu) {
    if (spline.knots[v][mu] < spline.knots[v][mu + 1]) f(piece++, mu);
  }
}

// The index mu of the piece that counts at x, which may be outside.
size_t PieceAt(const TensorSpline& spline, size_t v, double x) {
  const std::vector<double>& t = spline.knots[v];
  const auto begin = t.begin() + static_cast<std::ptrdiff_t>(spline.degrees[v]);
  const auto end = t.begin() + static_cast<std::ptrdiff_t>(spline.count(v));
  size_t mu = static_cast<size_t>(std::upper_bound(begin, end + 1, x) - t.begin());
  mu = std::clamp<size_t>(mu, spline.degrees[v] + 1, spline.count(v)) - 1;
  // Only where more knots than k + 1 meet at an end, and x is beyond it.
  while (t[mu] == t[mu + 1]) mu = x < spline.high(v) ? mu + 1 : mu - 1;
  return mu;
}

}  // namespace

absl::Status CheckTensorSpline(const TensorSpline& spline) {
  if (spline.variables() < 1 || spline.variables() > kMaxTensorVariables) {
    return absl::InvalidArgumentError(absl::StrCat("t: expected knots for 1 to ", kMaxTensorVariables,
                                                   " variables, found ", spline.variables()));
  }
  if (spline.degrees.size() != spline.variables()) {
    return absl::InvalidArgumentError(absl::StrCat("k: expected a degree for each of ", spline.variables(),
                                                   " variables, found ", spline.degrees.size()));
  }
  size_t expected = spline.outputs;
  std::vector<size_t> shape;
  for (size_t v = 0; v < spline.variables(); ++v) {
    SPLINESERVE_RETURN_IF_ERROR(CheckVariable(spline, v));
    shape.push_back(spline.count(v));
    if (__builtin_mul_overflow(expected, spline.count(v), &expected)) expected = 0;
  }
  if (expected == 0 || spline.coefficients.size() != expected) {
    std::string text;
    for (const size_t extent : shape) absl::StrAppend(&text, extent, " x ");
    return absl::InvalidArgumentError(absl::StrCat("c: expected ", text, spline.outputs,
                                                   " numbers, len(t) - k - 1 in each variable, found ",
                                                   spline.coefficients.size()));
  }
  for (size_t i = 0; i < spline.coefficients.size(); ++i) {
    if (!std::isfinite(spline.coefficients[i])) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "c: expected finite numbers, found %g at flat index %d", spline.coefficients[i], i));
    }
  }
  return absl::OkStatus();
}

std::vector<double> DistinctKnots(const TensorSpline& spline, size_t variable) {
  std::vector<double> knots;
  ForPieces(spline, variable, [&](size_t, size_t mu) {
    if (knots.empty()) knots.push_back(spline.knots[variable][mu]);
    knots.push_back(spline.knots[variable][mu + 1]);
  });
  return knots;
}

BernsteinSpline BasisFunctions(const TensorSpline& spline, size_t variable) {
  const size_t k = spline.degrees[variable];
  const std::vector<double>& t = spline.knots[variable];
  BernsteinSpline basis = {
      .knots = DistinctKnots(spline, variable), .degree = k, .outputs = spline.count(variable)};
  basis.coefficients.assign(basis.pieces() * (k + 1) * basis.outputs, 0.0);
  std::vector<double> d(k + 1);
  ForPieces(spline, variable, [&](size_t piece, size_t mu) {
    for (size_t a = 0; a <= k; ++a) {
      for (size_t p = 0; p <= k; ++p) {
        std::fill(d.begin(), d.end(), 0.0);
        d[a] = 1;
        // The p-th Bernstein coefficient is the blossom at p times the right end, else the left one. Every
        // step is a convex combination.
        for (size_t round = 1; round <= k; ++round) {
          DeBoorRound({t, k, mu}, round, round <= p ? t[mu + 1] : t[mu], &d);
        }
        basis.at(piece, p, mu - k + a) = d[k];
      }
    }
  });
  SetContinuation(basis);
  return basis;
}

BernsteinSpline ToBernstein(const TensorSpline& spline) {
  const BernsteinSpline basis = BasisFunctions(spline, 0);
  BernsteinSpline result = {.knots = basis.knots, .degree = basis.degree, .outputs = spline.outputs};
  result.coefficients.assign(basis.pieces() * (basis.degree + 1) * spline.outputs, 0.0);
  ForPieces(spline, 0, [&](size_t piece, size_t mu) {
    for (size_t p = 0; p <= basis.degree; ++p) {
      for (size_t a = mu - basis.degree; a <= mu; ++a) {
        for (size_t o = 0; o < spline.outputs; ++o) {
          result.at(piece, p, o) += basis.at(piece, p, a) * spline.coefficients[a * spline.outputs + o];
        }
      }
    }
  });
  SetContinuation(result);
  return result;
}

std::vector<double> Evaluate(const TensorSpline& spline, Extrapolation extrapolation,
                             absl::Span<const double> point) {
  // Contracts the last variable first: de Boor's algorithm on every row of coefficients.
  std::vector<double> values = spline.coefficients;
  size_t inner = spline.outputs;
  for (size_t v = spline.variables(); v-- > 0;) {
    double x = point[v];
    if (extrapolation == Extrapolation::kConstant) x = std::clamp(x, spline.low(v), spline.high(v));
    const size_t k = spline.degrees[v], n = spline.count(v), mu = PieceAt(spline, v, x);
    std::vector<double> next(values.size() / n, 0.0);
    std::vector<double> d(k + 1);
    for (size_t i = 0; i < next.size(); ++i) {
      const size_t row = i / inner, column = i % inner;
      for (size_t j = 0; j <= k; ++j) d[j] = values[(row * n + mu - k + j) * inner + column];
      for (size_t round = 1; round <= k; ++round) DeBoorRound({spline.knots[v], k, mu}, round, x, &d);
      next[i] = d[k];
    }
    values = std::move(next);
  }
  return values;
}

}  // namespace splineserve
