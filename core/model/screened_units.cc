#include "core/model/screened_units.h"

#include <algorithm>

namespace splineserve {

bool ScreenedUnits::Find(const KernelSet& kernels, const ScreenView& w, const ScreenRange& range,
                         const float* bias, bool square, const ScreenedInput& x, double limit,
                         const RowListRoom& lists) {
  const size_t rows = x.x().rows, first = range.first_panel * kScreenPanel;
  const size_t units = std::min(range.panels * kScreenPanel, w.outer - std::min(w.outer, first));
  candidates_.stride = range.panels * kScreenPanel + kScreenPanel;
  candidates_.places.EnsureSize(rows * candidates_.stride);
  candidates_.counts.EnsureSize(rows);
  counts_.EnsureSize(rows);
  numbers_.EnsureSize(units);
  kernels.screen(x.rows(), rows, w, range, candidates_.places.data(), candidates_.stride,
                 candidates_.counts.data());
  candidates_.all = 0;
  for (size_t r = 0; r < rows; ++r) candidates_.all += candidates_.counts[r];
  const auto all = static_cast<double>(candidates_.all);
  if (all > limit * static_cast<double>(rows * units)) return false;

  for (size_t r = 0; r < rows; ++r) Compute(kernels, w, r, bias, square, x, lists);
  return true;
}

void ScreenedUnits::Compute(const KernelSet& kernels, const ScreenView& w, size_t r, const float* bias,
                            bool square, const ScreenedInput& x, const RowListRoom& lists) {
  uint32_t* const chosen = candidates_.places.data() + r * candidates_.stride;
  const float* const row = x.x().row(r);
  size_t count = candidates_.counts[r];
  if (w.inner >= kNarrowed) count = kernels.narrow(row, x.row(r).length, w, chosen, count);
  kernels.chosen_product(row, w, bias, chosen, count, numbers_.data());
  uint32_t* const index = lists.index + r * lists.stride;
  float* const value = lists.value + r * lists.stride;
  uint32_t open = 0;
  // No branch: which candidates are open cannot be predicted. One entry past the last may be written.
  for (size_t i = 0; i < count; ++i) {
    const float number = numbers_[i];
    index[open] = chosen[i];
    value[open] = square ? number * number : number;
    open += number > 0 ? 1 : 0;
  }
  counts_[r] = open;
}

}  // namespace splineserve
