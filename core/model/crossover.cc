#include "core/model/crossover.h"

#include <algorithm>
#include <cstdint>

#include "core/model/keep_fastest.h"
#include "core/model/open_rows.h"

namespace splineserve {
namespace {

// What the evaluator takes at a time. Fewer rows share what a sparse product fetches from beyond the
// second-level cache, but then time is spent on memory either way: 2048 by 512 weights, half open, 8
// rows 1.0, 32 rows 0.8 of the dense time.
constexpr size_t kRows = 36;
// Every column costs the same: a few panels tell about all of them.
constexpr size_t kPanels = 4;
// Of the three products, of which the fastest each counts.
constexpr int kTurns = 8;
// Bounds of what a measurement may say. With AVX-512 sparse products win below some half of the gates and
// lose at all of them: on an Emerald Rapids below 0.3 for 256 by 32 weights, 0.5 for 1,024 by 256, 0.6 for
// 4,096 by 1,024. These leave room for other processors. Without them one disturbed measurement took an
// encoder that is 10 % open to 1.4 times its time.
constexpr double kLeast = 0.3, kMost = 0.9;

// kRows gated rows of a given share of open gates, from a fixed seed.
struct GatedRows {
  GatedRows(size_t cols, uint32_t open_of_four) : numbers(kRows * cols), states(kRows) {
    uint32_t random = 1;
    for (size_t r = 0; r < kRows; ++r) {
      states[r].Reset();
      for (size_t k = 0; k < cols; ++k) {
        random = random * 1664525u + 1013904223u;
        const bool is_open = random >> 30 < open_of_four;
        numbers[r * cols + k] = is_open ? 1.0f : 0.0f;
        if (is_open) ++states[r].open;
      }
    }
  }
  AlignedBuffer<float> numbers;
  AlignedBuffer<GateState> states;
};

}  // namespace

double MeasureSparseBelow(const KernelSet& kernels, const PackedView& w) {
  if (w.inner == 0 || w.outer == 0) return 1;
  const PackedView panels = w.Panels(0, std::min(w.panels(), kPanels));
  const GatedRows quarter(w.inner, 1), three_quarters(w.inner, 3);
  AlignedBuffer<float> out(kRows * panels.outer);
  const MatrixView<float> result(out.data(), kRows, panels.outer);
  OpenRows open;
  const auto multiply_open = [&](const GatedRows& x) {
    open.List(kernels, MatrixView<const float>(x.numbers.data(), kRows, w.inner), x.states.data(), 2);
    open.Multiply(kernels, panels, nullptr, result);
  };
  double at_quarter = 1e9, at_three_quarters = 1e9, dense = 1e9;
  for (int i = 0; i < kTurns; ++i) {
    KeepFastest(at_quarter, [&] { multiply_open(quarter); });
    KeepFastest(at_three_quarters, [&] { multiply_open(three_quarters); });
    KeepFastest(dense, [&] {
      kernels.product(quarter.numbers.data(), w.inner, kRows, panels, nullptr, 1.0f, out.data(),
                      result.stride);
    });
  }
  const double slope = std::max((at_three_quarters - at_quarter) / 0.5, 1e-12);
  return std::clamp(0.25 + (dense - at_quarter) / slope, kLeast, kMost);
}

}  // namespace splineserve
