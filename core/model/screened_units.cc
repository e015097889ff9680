#include "core/model/screened_units.h"

#include <algorithm>

#include "core/base/cpu_cache.h"

namespace splineserve {
namespace {

// Candidates of one row that are worth a call: chains go side by side in groups of 16, and a group alone
// takes as long as two.
constexpr double kCandidatesPerPass = 32;

// In how many passes over the columns the candidates of `rows` rows are computed. In several, the columns of
// one stay in the second-level cache while all rows pass over them.
size_t PassesOver(const ScreenView& w, const ScreenRange& range, double candidates_a_row) {
  const size_t bytes = range.panels * kScreenPanel * w.column_stride * sizeof(float);
  const size_t fitting = bytes / (SecondLevelCacheBytes() / 2) + 1;
  return std::clamp<size_t>(static_cast<size_t>(candidates_a_row / kCandidatesPerPass), 1, fitting);
}

}  // namespace

bool ScreenedUnits::Find(const KernelSet& kernels, const ScreenView& w, const ScreenRange& range,
                         const float* bias, bool square, MatrixView<const float> x, double limit,
                         const OpenListRoom& lists) {
  const size_t units = range.panels * kScreenPanel;
  candidates_.stride = units + kScreenPanel;
  candidates_.places.EnsureSize(x.rows * candidates_.stride);
  candidates_.counts.EnsureSize(x.rows);
  candidates_.done.EnsureSize(x.rows);
  words_.EnsureSize(x.rows * w.inner_words);
  counts_.EnsureSize(x.rows);
  rows_.EnsureSize(x.rows);
  numbers_.EnsureSize(units);
  for (size_t r = 0; r < x.rows; ++r) {
    kernels.screen_row(x.row(r), x.cols, words_.data() + r * w.inner_words, &rows_[r]);
    if (!(rows_[r].length <= w.longest_row)) return false;
    candidates_.done[r] = counts_[r] = 0;
  }
  kernels.screen({words_.data(), w.inner_words, rows_.data()}, x.rows, w, range, candidates_.places.data(),
                 candidates_.stride, candidates_.counts.data());
  candidates_.all = 0;
  for (size_t r = 0; r < x.rows; ++r) candidates_.all += candidates_.counts[r];
  const auto all = static_cast<double>(candidates_.all);
  if (all > limit * static_cast<double>(x.rows * units)) return false;

  const size_t passes = PassesOver(w, range, all / static_cast<double>(std::max<size_t>(x.rows, 1)));
  for (size_t pass = 1; pass <= passes; ++pass) {
    const size_t end = (range.first_panel + range.panels * pass / passes) * kScreenPanel;
    for (size_t r = 0; r < x.rows; ++r) Compute(kernels, w, r, end, bias, square, x.row(r), lists);
  }
  return true;
}

void ScreenedUnits::Compute(const KernelSet& kernels, const ScreenView& w, size_t r, size_t end,
                            const float* bias, bool square, const float* x, const OpenListRoom& lists) {
  uint32_t* const places = candidates_.places.data() + r * candidates_.stride;
  uint32_t* const chosen = places + candidates_.done[r];
  uint32_t* const stop = std::lower_bound(chosen, places + candidates_.counts[r], end);
  candidates_.done[r] = static_cast<uint32_t>(stop - places);
  auto count = static_cast<size_t>(stop - chosen);
  if (w.inner >= kNarrowed) count = kernels.narrow(x, rows_[r].length, w, chosen, count);
  kernels.chosen_product(x, w, bias, chosen, count, numbers_.data());
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
