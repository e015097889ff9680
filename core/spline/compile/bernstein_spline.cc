#include "core/spline/compile/bernstein_spline.h"

#include <algorithm>
#include <cmath>

namespace splineserve {

namespace {

// left and right: the Taylor coefficients of the end pieces at the ends, empty ones or not.
void ContinueEnds(const PiecewisePolynomial& spline, BernsteinSpline& result) {
  const size_t k = spline.degree, outputs = spline.outputs, last = spline.pieces() - 1;
  const double first_h = result.knots[1] - result.knots[0];
  const double last_h = result.knots.back() - result.knots[result.pieces() - 1];
  const double shift = spline.knots.back() - spline.knots[last];  // 0 if that piece is empty
  result.left.assign((k + 1) * outputs, 0.0);
  result.right.assign((k + 1) * outputs, 0.0);
  for (size_t o = 0; o < outputs; ++o) {
    double left_power = 1, right_power = 1;
    for (size_t j = 1; j <= k; ++j) {
      left_power *= -first_h;
      right_power *= last_h;
      result.left[j * outputs + o] = spline.coefficient(j, 0, o) * left_power;
      double sum = 0, power = 1;
      for (size_t q = j; q <= k; ++q, power *= shift)
        sum += Binomial(q, j) * spline.coefficient(q, last, o) * power;
      result.right[j * outputs + o] = sum * right_power;
    }
  }
}

}  // namespace

double Binomial(size_t n, size_t k) {
  double value = 1;
  // Each partial product is itself a binomial: exact as long as it fits.
  for (size_t i = 1; i <= std::min(k, n - k); ++i) {
    value = value * static_cast<double>(n - std::min(k, n - k) + i) / static_cast<double>(i);
  }
  return value;
}

BernsteinSpline ToBernstein(const PiecewisePolynomial& spline) {
  const size_t k = spline.degree, outputs = spline.outputs;
  BernsteinSpline result = {.knots = {spline.knots.front()}, .degree = k, .outputs = outputs};
  std::vector<size_t> pieces;  // those that are not empty
  for (size_t i = 0; i < spline.pieces(); ++i) {
    if (spline.knots[i] == spline.knots[i + 1]) continue;
    pieces.push_back(i);
    result.knots.push_back(spline.knots[i + 1]);
  }
  result.coefficients.resize(pieces.size() * (k + 1) * outputs);
  std::vector<double> a(k + 1);  // of the powers of t
  for (size_t i = 0; i < pieces.size(); ++i) {
    const double h = result.knots[i + 1] - result.knots[i];
    for (size_t o = 0; o < outputs; ++o) {
      double power = 1;
      for (size_t j = 0; j <= k; ++j, power *= h) a[j] = spline.coefficient(j, pieces[i], o) * power;
      for (size_t p = 0; p <= k; ++p) {
        double sum = 0, ratio = 1;  // C(p, j) / C(k, j), at most 1
        for (size_t j = 0; j <= p; ++j) {
          sum += ratio * a[j];
          if (j < p) ratio *= static_cast<double>(p - j) / static_cast<double>(k - j);
        }
        result.at(i, p, o) = sum;
      }
    }
  }
  ContinueEnds(spline, result);
  return result;
}

void SetContinuation(BernsteinSpline& spline) {
  const size_t k = spline.degree, last = spline.pieces() - 1;
  spline.left.assign((k + 1) * spline.outputs, 0.0);
  spline.right.assign((k + 1) * spline.outputs, 0.0);
  for (size_t o = 0; o < spline.outputs; ++o) {
    for (size_t j = 1; j <= k; ++j) {
      // The j-th differences: forwards from the first coefficient, backwards from the last.
      double forward = 0, backward = 0;
      for (size_t q = 0; q <= j; ++q) {
        const double sign = q % 2 == 0 ? 1 : -1;
        backward += sign * Binomial(j, q) * spline.at(last, k - q, o);
        forward += sign * Binomial(j, q) * spline.at(0, q, o);  // (-1)^j times the forward difference
      }
      spline.left[j * spline.outputs + o] = Binomial(k, j) * forward;
      spline.right[j * spline.outputs + o] = Binomial(k, j) * backward;
    }
  }
}

BernsteinSpline Elevated(const BernsteinSpline& spline, size_t degree) {
  BernsteinSpline result = spline;
  result.degree = degree;
  result.coefficients.assign(spline.pieces() * (degree + 1) * spline.outputs, 0.0);
  std::vector<double> b;
  for (size_t i = 0; i < spline.pieces(); ++i) {
    for (size_t o = 0; o < spline.outputs; ++o) {
      b.clear();
      for (size_t j = 0; j <= spline.degree; ++j) b.push_back(spline.at(i, j, o));
      while (b.size() < degree + 1) {
        // Convex combinations, one degree at a time.
        const double next = static_cast<double>(b.size());
        b.push_back(b.back());
        for (size_t j = b.size() - 2; j > 0; --j) {
          const double share = static_cast<double>(j) / next;
          b[j] = share * b[j - 1] + (1 - share) * b[j];
        }
      }
      for (size_t j = 0; j <= degree; ++j) result.at(i, j, o) = b[j];
    }
  }
  return result;
}

namespace {

// De Casteljau's algorithm at 1/2: `left` and `right` receive the coefficients on the halves.
void Halve(std::vector<double> b, std::vector<double>* left, std::vector<double>* right) {
  left->clear();
  right->assign(b.size(), 0.0);
  for (size_t n = b.size(); n > 0; --n) {
    left->push_back(b.front());
    (*right)[n - 1] = b[n - 1];
    for (size_t j = 0; j + 1 < n; ++j) b[j] = (b[j] + b[j + 1]) / 2;
  }
}

}  // namespace

void QuarterRanges(const BernsteinSpline& spline, size_t output, std::vector<double>* breaks,
                   std::vector<Interval>* ranges) {
  for (size_t i = 0; i < spline.pieces(); ++i) {
    std::vector<double> b, halves[2], quarters[4];
    for (size_t j = 0; j <= spline.degree; ++j) b.push_back(spline.at(i, j, output));
    Halve(b, &halves[0], &halves[1]);
    for (size_t half = 0; half < 2; ++half) Halve(halves[half], &quarters[2 * half], &quarters[2 * half + 1]);
    const double h = spline.knots[i + 1] - spline.knots[i];
    for (size_t quarter = 0; quarter < 4; ++quarter) {
      breaks->push_back(spline.knots[i] + h * static_cast<double>(quarter) / 4);
      const auto [least, most] = std::minmax_element(quarters[quarter].begin(), quarters[quarter].end());
      // Room for the rounding of this and of the breaks.
      const double room = 0x1p-40 * (std::fabs(*least) + std::fabs(*most));
      ranges->push_back({*least - room, *most + room});
    }
  }
  breaks->push_back(spline.knots.back());
}

std::vector<double> Offsets(const std::vector<double>& coefficients, size_t outputs) {
  std::vector<double> offsets(outputs, 0.0);
  for (size_t o = 0; o < outputs; ++o) {
    double least = coefficients[o], most = coefficients[o];
    for (size_t i = o; i < coefficients.size(); i += outputs) {
      least = std::min(least, coefficients[i]);
      most = std::max(most, coefficients[i]);
    }
    if (least > 0) offsets[o] = least;
    if (most < 0) offsets[o] = most;
  }
  return offsets;
}

}  // namespace splineserve
