#include "tests/testing/scalar_kernels.h"

#include <cmath>
#include <limits>

namespace splineserve::testing {

void ScalarProduct(MatrixView<const float> x, MatrixView<const float> w, const float* bias, float scale,
                   MatrixView<float> out) {
  for (size_t r = 0; r < x.rows; ++r) {
    for (size_t n = 0; n < w.rows; ++n) {
      float acc = bias != nullptr ? bias[n] : 0.0f;
      for (size_t k = 0; k < w.cols; ++k) acc = std::fma(x(r, k), w(n, k), acc);
      out(r, n) = acc * scale;
    }
  }
}

GateRow ScalarGate(float* x, size_t n, bool square, uint8_t* bits, bool want_margin) {
  GateRow row;
  if (want_margin) row.margin = std::numeric_limits<float>::infinity();
  if (bits != nullptr) {
    for (size_t b = 0; b < (n + 7) / 8; ++b) bits[b] = 0;
  }
  for (size_t i = 0; i < n; ++i) {
    const float argument = x[i];
    const bool open = argument > 0;
    if (open) ++row.open;
    if (!std::isfinite(argument)) row.finite = false;
    if (want_margin && std::abs(argument) < row.margin) row.margin = std::abs(argument);
    if (bits != nullptr && open) bits[i / 8] |= static_cast<uint8_t>(1 << (i % 8));
    x[i] = open ? argument : 0.0f;
    if (square) x[i] = x[i] * x[i];
  }
  return row;
}

bool ScalarAllFinite(const float* x, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i])) return false;
  }
  return true;
}

void ScalarScaleShift(const float* x, const float* weight, const float* bias, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    out[i] = std::fma(x[i], weight[i], bias != nullptr ? bias[i] : 0.0f);
  }
}

}  // namespace splineserve::testing
