#include "core/model/screened_units.h"

#include <algorithm>

#include "core/base/cpu_cache.h"

namespace splineserve {
namespace {

// Candidates of one row that are worth a call: chains go side by side in groups of 16, and of two groups each
// takes a quarter less time than alone.
constexpr double kCandidatesPerPass = 32;

// In how many passes over the columns the candidates are computed. In several, the columns of one stay in the
// second-level cache while all rows pass over them.
size_t PassesOver(const ScreenView& w, const ScreenRange& range, double candidates_a_row) {
  const size_t bytes = range.panels * kScreenPanel * w.column_stride * sizeof(float);
  const size_t fitting = bytes / (SecondLevelCacheBytes() / 2) + 1;
  return std::clamp<size_t>(static_cast<size_t>(candidates_a_row / kCandidatesPerPass), 1, fitting);
}

}  // namespace

void ScreenedInput::Prepare(MatrixView<const float> x) {
  x_ = x;
  stride_ = (x.cols + 3) / 4;
  words_.EnsureSize(x.rows * stride_);
  rows_.EnsureSize(x.rows);
}

void ScreenedInput::Round(const KernelSet& kernels, size_t row) {
  kernels.screen_row(x_.row(row), x_.cols, words_.data() + row * stride_, &rows_[row]);
}

bool ScreenedInput::screenable() const {
  return std::all_of(rows_.data(), rows_.data() + x_.rows,
                     [](const ScreenedRow& row) { return row.screenable(); });
}

bool ScreenedUnits::Find(const KernelSet& kernels, const ScreenView& w, const ScreenRange& range,
                         const float* bias, bool square, const ScreenedInput& x, double limit,
                         const RowListRoom& lists) {
  const size_t rows = x.x().rows, first = range.first_panel * kScreenPanel;
  const size_t units = std::min(range.panels * kScreenPanel, w.outer - std::min(w.outer, first));
  candidates_.stride = range.panels * kScreenPanel + kScreenPanel;
  candidates_.places.EnsureSize(rows * candidates_.stride);
  candidates_.counts.EnsureSize(rows);
  candidates_.done.EnsureSize(rows);
  counts_.EnsureSize(rows);
  numbers_.EnsureSize(units);
  kernels.screen(x.rows(), rows, w, range, candidates_.places.data(), candidates_.stride,
                 candidates_.counts.data());
  candidates_.all = 0;
  for (size_t r = 0; r < rows; ++r) {
    candidates_.all += candidates_.counts[r];
    candidates_.done[r] = counts_[r] = 0;
  }
  const auto all = static_cast<double>(candidates_.all);
  if (all > limit * static_cast<double>(rows * units)) return false;

  const size_t passes = PassesOver(w, range, all / static_cast<double>(std::max<size_t>(rows, 1)));
  for (size_t pass = 1; pass <= passes; ++pass) {
    const size_t end = (range.first_panel + range.panels * pass / passes) * kScreenPanel;
    for (size_t r = 0; r < rows; ++r) Compute(kernels, w, r, end, bias, square, x, lists);
  }
  return true;
}

void ScreenedUnits::Compute(const KernelSet& kernels, const ScreenView& w, size_t r, size_t end,
                            const float* bias, bool square, const ScreenedInput& x,
                            const RowListRoom& lists) {
  uint32_t* const places = candidates_.places.data() + r * candidates_.stride;
  uint32_t* const chosen = places + candidates_.done[r];
  uint32_t* const stop = std::lower_bound(chosen, places + candidates_.counts[r], end);
  candidates_.done[r] = static_cast<uint32_t>(stop - places);
  const float* const row = x.x().row(r);
  auto count = static_cast<size_t>(stop - chosen);
  if (w.inner >= kNarrowed) count = kernels.narrow(row, x.row(r).length, w, chosen, count);
  kernels.chosen_product(row, w, bias, chosen, count, numbers_.data());
  uint32_t* const index = lists.index + r * lists.stride;
  float* const value = lists.value + r * lists.stride;
  uint32_t open = counts_[r];
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
