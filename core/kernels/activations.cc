#include "core/kernels/activations.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace splineserve {
namespace {

template <class Function>
void Map(float* x, size_t n, const Function& f) {
  for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(f(static_cast<double>(x[i])));
}

}  // namespace

void Softplus(float* x, size_t n, float beta) {
  const double b = beta;
  // ln(1 + e^t) = max(t, 0) + ln(1 + e^-|t|): the exponential never overflows, and small values keep their
  // digits.
  Map(x, n, [b](double v) {
    const double t = b * v;
    return (std::max(t, 0.0) + std::log1p(std::exp(-std::abs(t)))) / b;
  });
}

void Gelu(float* x, size_t n) {
  // 1 + erf(z) = erfc(-z), which does not cancel for negative z.
  Map(x, n, [](double v) { return 0.5 * v * std::erfc(-v / std::numbers::sqrt2); });
}

void GeluTanh(float* x, size_t n) {
  // (1 + tanh u) / 2 = 1 / (1 + e^-2u), which does not cancel for negative u.
  constexpr double kTwoRootTwoOverPi = 2 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
  Map(x, n, [](double v) { return v / (1 + std::exp(-kTwoRootTwoOverPi * (v + 0.044715 * v * v * v))); });
}

void Silu(float* x, size_t n) {
  Map(x, n, [](double v) { return v / (1 + std::exp(-v)); });
}

void Softmax(float* x, size_t n) {
  if (n == 0) return;
  const double largest = *std::max_element(x, x + n);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    const double e = std::exp(static_cast<double>(x[i]) - largest);
    sum += e;
    x[i] = static_cast<float>(e);
  }
  for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(static_cast<double>(x[i]) / sum);
}

}  // namespace splineserve
