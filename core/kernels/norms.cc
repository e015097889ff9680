#include "core/kernels/norms.h"

#include <cmath>

namespace splineserve {

void LayerNorm(const float* x, const float* weight, const float* bias, float eps, size_t n, float* out) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(n);
  double squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const double deviation = x[i] - mean;
    squares += deviation * deviation;
  }
  const double inverse = 1 / std::sqrt(squares / static_cast<double>(n) + eps);
  for (size_t i = 0; i < n; ++i) {
    const double shift = bias != nullptr ? bias[i] : 0.0;
    out[i] = static_cast<float>(weight[i] * ((x[i] - mean) * inverse) + shift);
  }
}

void RmsNorm(const float* x, const float* weight, const float* bias, float eps, size_t n, float* out) {
  double squares = 0;
  for (size_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double inverse = 1 / std::sqrt(squares / static_cast<double>(n) + eps);
  for (size_t i = 0; i < n; ++i) {
    const double shift = bias != nullptr ? bias[i] : 0.0;
    out[i] = static_cast<float>(weight[i] * (x[i] * inverse) + shift);
  }
}

}  // namespace splineserve
