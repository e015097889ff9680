// Right operands of products in the layout that the microkernels stream (PackedView in kernel_set.h).
#ifndef SPLINESERVE_CORE_KERNELS_PACKING_H_
#define SPLINESERVE_CORE_KERNELS_PACKING_H_

#include <cstddef>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "core/base/aligned_buffer.h"
#include "core/base/matrix_view.h"
#include "core/kernels/kernel_set.h"

namespace splineserve {

// The panel width for `outer` columns: outer rounded up to kLaneBlock, at least that and at most
// kMaxPanelWidth.
size_t PanelWidth(size_t outer);

// An owned packed matrix: weights, filled once at load, in the format of their file. Allocation failure
// throws std::bad_alloc. Thread-safe as any container: const members only.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Float32 zeros.
  PackedMatrix(size_t inner, size_t outer);

  // Packs w [outer, inner] (one row an output, as linear layers store them).
  static PackedMatrix FromRows(MatrixView<const float> w);
  // The same of the bits of 16-bit numbers.
  static PackedMatrix FromRows(MatrixView<const uint16_t> w, WeightFormat format);

  // The same in blocks, so that a large matrix is packed by several threads from what they have just read:
  // memory that holds anything until SetBlock has set all of it.
  static PackedMatrix Unfilled(size_t inner, size_t outer, WeightFormat format);
  // The same in memory of an arena that must outlive the matrix.
  static PackedMatrix Unfilled(size_t inner, size_t outer, WeightFormat format, AlignedArena& arena);
  // Element (k + c, n + r) = w[r][c]. n is a multiple of panel_width() and the block has that many rows, or,
  // in the last panel, as many as are left of outer(); the columns past outer() become zero. Blocks that do
  // not overlap may be set at the same time. The second is for formats of 16 bits.
  void SetBlock(size_t k, size_t n, MatrixView<const float> w) { SetBlockOf(k, n, w); }
  void SetBlock(size_t k, size_t n, MatrixView<const uint16_t> w) { SetBlockOf(k, n, w); }

  PackedView view() const { return view(inner_, outer_); }
  // The same with the chain cut to its first `inner` and the columns to the first `outer`.
  PackedView view(size_t inner, size_t outer) const {
    const bool whole = inner == inner_ && outer == outer_;
    return {buffer_.data(), inner, outer, panel_width_, panel_stride_, format_, whole ? stretch_ : nullptr};
  }

  size_t inner() const { return inner_; }
  size_t outer() const { return outer_; }
  size_t panel_width() const { return panel_width_; }
  WeightFormat format() const { return format_; }
  size_t bytes() const { return buffer_.size(); }

  // Says where the matrix lies among others. `stretch` must outlive it and start at the bytes that it holds.
  void SetStretch(const WeightStretch* stretch) { stretch_ = stretch; }
  const std::byte* data() const { return buffer_.data(); }
  size_t panel_bytes() const { return panel_stride_ * BytesPerNumber(format_); }

  // x[0..inner()) = column n < outer(), expanded to float32.
  void Column(size_t n, float* x) const;

 private:
  PackedMatrix(size_t inner, size_t outer, WeightFormat format,
               absl::FunctionRef<AlignedBuffer<std::byte>(size_t)> allocate);
  // T is float for float32, else uint16_t.
  template <typename T>
  void SetBlockOf(size_t k, size_t n, MatrixView<const T> w);
  template <typename T>
  static PackedMatrix FromRowsOf(MatrixView<const T> w, WeightFormat format);

  AlignedBuffer<std::byte> buffer_;
  size_t inner_ = 0, outer_ = 0, panel_width_ = kLaneBlock, panel_stride_ = 0;
  WeightFormat format_ = WeightFormat::kFloat32;
  const WeightStretch* stretch_ = nullptr;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_PACKING_H_
