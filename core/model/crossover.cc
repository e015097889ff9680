#include "core/model/crossover.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "core/model/open_rows.h"

namespace splineserve {
namespace {

// What the evaluator takes at a time. Fewer rows share what a sparse product fetches from beyond the
// second-level cache, but then time is spent on memory either way: 2048 by 512 weights, half open, 8
// rows 1.0, 32 rows 0.8 of the dense time.
constexpr size_t kRows = 36;
// Every column costs the same: a few panels tell about all of them.
constexpr size_t kPanels = 4;
constexpr int kRepeats = 3;

template <typename Body>
double FastestOf(const Body& body) {
  double fastest = 1e9;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    fastest =
        std::min(fastest, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return fastest;
}

}  // namespace

double MeasureSparseBelow(const KernelSet& kernels, const PackedView& w) {
  if (w.inner == 0 || w.outer == 0) return 1;
  const PackedView panels = w.Panels(0, std::min(w.panels(), kPanels));
  AlignedBuffer<float> x(kRows * w.inner), out(kRows * panels.outer);
  const MatrixView<float> rows(x.data(), kRows, w.inner);
  const MatrixView<float> result(out.data(), kRows, panels.outer);
  AlignedBuffer<GateState> states(kRows);
  OpenRows open;
  const auto sparse = [&](uint32_t of_four) {
    uint32_t random = 1;
    for (size_t r = 0; r < kRows; ++r) {
      states[r].Reset();
      for (size_t k = 0; k < w.inner; ++k) {
        random = random * 1664525u + 1013904223u;
        const bool is_open = random >> 30 < of_four;
        rows(r, k) = is_open ? 1.0f : 0.0f;
        if (is_open) ++states[r].open;
      }
    }
    return FastestOf([&] {
      open.List(kernels, rows, states.data(), 2);
      open.Multiply(kernels, panels, nullptr, result);
    });
  };
  const double quarter = sparse(1);
  const double three_quarters = sparse(3);
  const double dense = FastestOf([&] {
    kernels.product(x.data(), rows.stride, kRows, panels, nullptr, 1.0f, out.data(), result.stride);
  });
  const double slope = std::max((three_quarters - quarter) / 0.5, 1e-12);
  return std::clamp(0.25 + (dense - quarter) / slope, 0.05, 1.0);
}

}  // namespace splineserve
