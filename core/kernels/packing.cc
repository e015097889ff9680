#include "core/kernels/packing.h"

#include <algorithm>
#include <new>

namespace splineserve {
namespace {

size_t PanelCount(size_t outer, size_t panel_width) { return (outer + panel_width - 1) / panel_width; }

}  // namespace

size_t PanelWidth(size_t outer) {
  const size_t blocks = (outer + kLaneBlock - 1) / kLaneBlock;
  return std::clamp(blocks * kLaneBlock, kLaneBlock, kMaxPanelWidth);
}

PackedMatrix::PackedMatrix(size_t inner, size_t outer, WeightFormat format,
                           absl::FunctionRef<AlignedBuffer<std::byte>(size_t)> allocate)
    : inner_(inner),
      outer_(outer),
      panel_width_(PanelWidth(outer)),
      panel_stride_(inner * panel_width_),
      format_(format) {
  // Sizes whose product overflows must not become a small buffer.
  size_t bytes = 0;
  if (__builtin_mul_overflow(inner, panel_width_, &bytes) ||
      __builtin_mul_overflow(PanelCount(outer, panel_width_), bytes, &bytes) ||
      __builtin_mul_overflow(BytesPerNumber(format), bytes, &bytes)) {
    throw std::bad_alloc();
  }
  buffer_ = allocate(bytes);
}

PackedMatrix::PackedMatrix(size_t inner, size_t outer)
    : PackedMatrix(inner, outer, WeightFormat::kFloat32,
                   [](size_t bytes) { return AlignedBuffer<std::byte>(bytes); }) {}

PackedMatrix PackedMatrix::Unfilled(size_t inner, size_t outer, WeightFormat format) {
  return PackedMatrix(inner, outer, format, AlignedBuffer<std::byte>::Uninitialized);
}

PackedMatrix PackedMatrix::Unfilled(size_t inner, size_t outer, WeightFormat format, AlignedArena& arena) {
  return PackedMatrix(inner, outer, format, [&](size_t bytes) { return arena.Take<std::byte>(bytes); });
}

template <typename T>
PackedMatrix PackedMatrix::FromRowsOf(MatrixView<const T> w, WeightFormat format) {
  PackedMatrix packed = Unfilled(w.cols, w.rows, format);
  const size_t width = packed.panel_width_;
  for (size_t n = 0; n < w.rows; n += width) packed.SetBlock(0, n, w.Rows(n, std::min(width, w.rows - n)));
  return packed;
}

PackedMatrix PackedMatrix::FromRows(MatrixView<const float> w) {
  return FromRowsOf(w, WeightFormat::kFloat32);
}

PackedMatrix PackedMatrix::FromRows(MatrixView<const uint16_t> w, WeightFormat format) {
  return FromRowsOf(w, format);
}

template <typename T>
void PackedMatrix::SetBlockOf(size_t k, size_t n, MatrixView<const T> w) {
  const size_t width = panel_width_;
  T* const block = reinterpret_cast<T*>(buffer_.data()) + n / width * panel_stride_ + k * width;
  // Columns in runs of 16: one cache line of each row of w, and 16 times 256 bytes of the panel, stay in the
  // first-level cache.
  constexpr size_t kRun = 16;
  for (size_t begin = 0; begin < w.cols; begin += kRun) {
    const size_t end = std::min(begin + kRun, w.cols);
    for (size_t r = 0; r < w.rows; ++r) {
      const T* row = w.row(r);
      for (size_t c = begin; c < end; ++c) block[c * width + r] = row[c];
    }
    if (w.rows == width) continue;
    for (size_t c = begin; c < end; ++c) std::fill_n(block + c * width + w.rows, width - w.rows, T{0});
  }
}

template void PackedMatrix::SetBlockOf(size_t, size_t, MatrixView<const float>);
template void PackedMatrix::SetBlockOf(size_t, size_t, MatrixView<const uint16_t>);

void PackedMatrix::Column(size_t n, float* x) const {
  const size_t first = n / panel_width_ * panel_stride_ + n % panel_width_;
  for (size_t k = 0; k < inner_; ++k) x[k] = NumberAt(format_, buffer_.data(), first + k * panel_width_);
}

}  // namespace splineserve
