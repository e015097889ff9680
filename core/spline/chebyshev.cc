#include "core/spline/chebyshev.h"

#include <cmath>

namespace splineserve {

std::vector<double> ChebyshevPoints(size_t n) {
  std::vector<double> points(n, 0.0);
  // As a sine of small arguments: exactly antisymmetric, and accurate next to zero.
  for (size_t k = 0; k < n && n > 1; ++k) {
    const double numerator = 2 * static_cast<double>(k) - static_cast<double>(n - 1);
    points[k] = std::sin(M_PI * numerator / (2 * static_cast<double>(n - 1)));
  }
  return points;
}

Matrix64 ChebyshevTransform(size_t n) {
  const Eigen::Index size = static_cast<Eigen::Index>(n);
  Matrix64 transform(size, size);
  if (n == 1) {
    transform(0, 0) = 1;
    return transform;
  }
  // c[k] = 2 / (n - 1) sum'' f(x_j) T_k(x_j), both sums with the first and last terms halved; the point j
  // counts from -1, so its angle is pi (n - 1 - j) / (n - 1).
  for (Eigen::Index j = 0; j < size; ++j) {
    for (Eigen::Index k = 0; k < size; ++k) {
      // Reduced first: k j is large, its cosine of period 2 (n - 1) is not.
      const Eigen::Index turn = (k * (size - 1 - j)) % (2 * (size - 1));
      double weight = 2.0 / static_cast<double>(size - 1);
      if (j == 0 || j == size - 1) weight /= 2;
      if (k == 0 || k == size - 1) weight /= 2;
      transform(j, k) = weight * std::cos(M_PI * static_cast<double>(turn) / static_cast<double>(size - 1));
    }
  }
  return transform;
}

double LebesgueBound(size_t n) { return 1 + 2 / M_PI * std::log(static_cast<double>(n)); }

double TailOf(absl::Span<const double> c) {
  double sum = 0;
  for (size_t k = 1; k < c.size(); ++k) sum += std::abs(c[k]);
  return sum;
}

double EvaluateSeries(absl::Span<const double> c, double x) {
  double b1 = 0, b2 = 0;
  for (size_t k = c.size(); k-- > 1;) {
    const double b0 = c[k] + 2 * x * b1 - b2;
    b2 = b1;
    b1 = b0;
  }
  return c[0] + x * b1 - b2;
}

std::vector<double> DerivativeOf(absl::Span<const double> c) {
  if (c.size() <= 1) return {0.0};
  std::vector<double> d(c.size() - 1, 0.0);
  for (size_t k = c.size() - 1; k-- > 0;) {
    d[k] = 2 * static_cast<double>(k + 1) * c[k + 1] + (k + 2 < d.size() ? d[k + 2] : 0.0);
  }
  d[0] /= 2;
  return d;
}

std::vector<double> RestrictedTo(absl::Span<const double> c, double lo, double hi) {
  const size_t n = c.size();
  const Eigen::Index size = static_cast<Eigen::Index>(n);
  // Made once for each size: traces ask for the same one millions of times.
  thread_local Matrix64 transform;
  thread_local std::vector<double> points;
  if (transform.rows() != size) {
    transform = ChebyshevTransform(n);
    points = ChebyshevPoints(n);
  }
  Row64 samples(size);
  for (Eigen::Index j = 0; j < size; ++j) {
    samples[j] = EvaluateSeries(c, lo + (hi - lo) * (points[static_cast<size_t>(j)] + 1) / 2);
  }
  std::vector<double> out(n);
  Eigen::Map<Row64>(out.data(), size) = samples * transform;
  return out;
}

std::vector<double> ToBernstein(absl::Span<const double> c) {
  const size_t n = c.size() - 1;
  // T_k in Bernstein form of degree n, by the recurrence T_{k+1} = 2 x T_k - T_{k-1} in Bernstein form of
  // degree k, raised to n as needed: the coefficients of T_k are (-1)^(k-j) binomial(2k, 2j) / binomial(k,
  // j).
  std::vector<double> sum(1, c[0]);
  std::vector<double> raised;
  for (size_t k = 1; k <= n; ++k) {
    // Raise the sum of lower terms from degree k - 1 to k.
    raised.assign(k + 1, 0.0);
    for (size_t j = 0; j <= k; ++j) {
      const double share = static_cast<double>(j) / static_cast<double>(k);
      raised[j] = (j > 0 ? share * sum[j - 1] : 0.0) + (j < k ? (1 - share) * sum[j] : 0.0);
    }
    double ratio = 1;  // binomial(2k, 2j) / binomial(k, j)
    for (size_t j = 0; j <= k; ++j) {
      raised[j] += c[k] * ((k - j) % 2 == 0 ? ratio : -ratio);
      // binomial(2k, 2j+2) / binomial(2k, 2j) over binomial(k, j+1) / binomial(k, j).
      const double a = static_cast<double>(2 * k - 2 * j) *
                       (static_cast<double>(2 * k) - 2.0 * static_cast<double>(j) - 1);
      const double b = (2.0 * static_cast<double>(j) + 1) * (2.0 * static_cast<double>(j) + 2);
      if (j < k) ratio *= a / b * static_cast<double>(j + 1) / static_cast<double>(k - j);
    }
    sum.swap(raised);
  }
  return sum;
}

Quadrature GaussLegendre(size_t n) {
  Quadrature rule;
  rule.nodes.resize(n);
  rule.weights.resize(n);
  const double count = static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) {
    // Newton from Tricomi's approximation of the root; 5 steps reach float64's accuracy, 10 do no harm.
    double x = -std::cos(M_PI * (static_cast<double>(i) + 0.75) / (count + 0.5));
    double slope = 0;
    for (int step = 0; step < 10; ++step) {
      double p0 = 1, p1 = x;
      for (size_t k = 2; k <= n; ++k) {
        const double d = static_cast<double>(k);
        const double p2 = ((2 * d - 1) * x * p1 - (d - 1) * p0) / d;
        p0 = p1;
        p1 = p2;
      }
      slope = count * (x * p1 - p0) / (x * x - 1);
      x -= p1 / slope;
    }
    rule.nodes[i] = x;
    rule.weights[i] = 2 / ((1 - x * x) * slope * slope);
  }
  return rule;
}

}  // namespace splineserve
