#include "core/kernels/packing.h"

#include <algorithm>
#include <cstring>

namespace splineserve {
namespace {

size_t PanelCount(size_t outer, size_t panel_width) { return (outer + panel_width - 1) / panel_width; }

}  // namespace

size_t PanelWidth(size_t outer) {
  const size_t blocks = (outer + kLaneBlock - 1) / kLaneBlock;
  return std::clamp(blocks * kLaneBlock, kLaneBlock, kMaxPanelWidth);
}

PackedMatrix::PackedMatrix(size_t inner, size_t outer)
    : inner_(inner), outer_(outer), panel_width_(PanelWidth(outer)), panel_stride_(inner * panel_width_) {
  buffer_ = AlignedBuffer<float>(PanelCount(outer, panel_width_) * panel_stride_);
}

PackedMatrix PackedMatrix::FromRows(MatrixView<const float> w) {
  PackedMatrix packed(w.cols, w.rows);
  const size_t width = packed.panel_width_;
  // k in runs of 16: one cache line of each row of w, and 16 lines of the panel, stay in the first-level
  // cache.
  constexpr size_t kRun = 16;
  for (size_t first = 0; first < w.rows; first += width) {
    float* panel = packed.buffer_.data() + first / width * packed.panel_stride_;
    const size_t columns = std::min(width, w.rows - first);
    for (size_t k_begin = 0; k_begin < w.cols; k_begin += kRun) {
      const size_t k_end = std::min(k_begin + kRun, w.cols);
      for (size_t n = 0; n < columns; ++n) {
        const float* row = w.row(first + n);
        for (size_t k = k_begin; k < k_end; ++k) panel[k * width + n] = row[k];
      }
    }
  }
  return packed;
}

void PackedMatrix::SetColumn(size_t n, const float* x) {
  float* column = buffer_.data() + n / panel_width_ * panel_stride_ + n % panel_width_;
  for (size_t k = 0; k < inner_; ++k) column[k * panel_width_] = x[k];
}

void PackedMatrix::SetRow(size_t k, const float* x) {
  for (size_t n = 0; n < outer_; n += panel_width_) {
    float* row = buffer_.data() + n / panel_width_ * panel_stride_ + k * panel_width_;
    std::memcpy(row, x + n, std::min(panel_width_, outer_ - n) * sizeof(float));
  }
}

PackedMatrix PackedMatrix::Resized(size_t inner, size_t outer) const {
  PackedMatrix resized(inner, outer);
  const size_t rows = std::min(inner, inner_);
  const size_t columns = std::min(outer, outer_);
  // A lane block is contiguous in either layout, whatever the panel widths.
  for (size_t n = 0; n < columns; n += kLaneBlock) {
    const size_t count = std::min(kLaneBlock, columns - n);
    const float* from = buffer_.data() + n / panel_width_ * panel_stride_ + n % panel_width_;
    float* to =
        resized.buffer_.data() + n / resized.panel_width_ * resized.panel_stride_ + n % resized.panel_width_;
    for (size_t k = 0; k < rows; ++k) {
      std::memcpy(to + k * resized.panel_width_, from + k * panel_width_, count * sizeof(float));
    }
  }
  return resized;
}

}  // namespace splineserve
