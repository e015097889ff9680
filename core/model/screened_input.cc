#include "core/model/screened_input.h"

#include <algorithm>

namespace splineserve {

void ScreenedInput::Prepare(MatrixView<const float> x) {
  x_ = x;
  stride_ = (x.cols + 3) / 4;
  Reserve(x.rows, x.cols);
}

void ScreenedInput::Reserve(size_t rows, size_t cols) {
  words_.EnsureSize(rows * ((cols + 3) / 4));
  rows_.EnsureSize(rows);
}

void ScreenedInput::Round(const KernelSet& kernels, size_t row) {
  kernels.screen_row(x_.row(row), x_.cols, words_.data() + row * stride_, &rows_[row]);
}

bool ScreenedInput::screenable() const {
  return std::all_of(rows_.data(), rows_.data() + x_.rows,
                     [](const ScreenedRow& row) { return row.screenable(); });
}

}  // namespace splineserve
