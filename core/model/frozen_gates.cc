#include "core/model/frozen_gates.h"

#include <algorithm>

namespace splineserve {

GateRow FreezeRow(const KernelSet& kernels, const uint8_t* open, bool square, float* x, size_t n,
                  uint8_t* own_bits, bool want_margin, float* copy) {
  std::copy_n(x, n, copy);
  const GateRow own = kernels.gate(copy, n, /*square=*/false, own_bits, want_margin);
  for (size_t i = 0; i < n; ++i) {
    const float through = (open[i / 8] >> (i % 8) & 1) != 0 ? x[i] : 0.0f;
    x[i] = square ? through * through : through;
  }
  return own;
}

}  // namespace splineserve
