// Right operands of products in the layout that the microkernels stream (PackedView in kernel_set.h).
#ifndef SPLINESERVE_CORE_KERNELS_PACKING_H_
#define SPLINESERVE_CORE_KERNELS_PACKING_H_

#include <cstddef>

#include "absl/functional/function_ref.h"
#include "core/base/aligned_buffer.h"
#include "core/base/matrix_view.h"
#include "core/kernels/kernel_set.h"

namespace splineserve {

// The panel width for `outer` columns: outer rounded up to kLaneBlock, at least that and at most
// kMaxPanelWidth.
size_t PanelWidth(size_t outer);

// An owned packed matrix. Weights: FromRows once at load. Keys and values of attention: grown token by token.
// Allocation failure throws std::bad_alloc. Thread-safe as any container: const members only.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Zeros; `inner` is also the capacity of the chain length.
  PackedMatrix(size_t inner, size_t outer);

  // Packs w [outer, inner] (one row an output, as linear layers store them).
  static PackedMatrix FromRows(MatrixView<const float> w);

  // The same in blocks, so that a large matrix is packed by several threads from what they have just read:
  // memory that holds anything until SetBlock has set all of it.
  static PackedMatrix Unfilled(size_t inner, size_t outer);
  // The same in memory of an arena that must outlive the matrix.
  static PackedMatrix Unfilled(size_t inner, size_t outer, AlignedArena& arena);
  // Element (k + c, n + r) = w[r][c]. n is a multiple of panel_width() and the block has that many rows, or,
  // in the last panel, as many as are left of outer(); the columns past outer() become zero. Blocks that do
  // not overlap may be set at the same time.
  void SetBlock(size_t k, size_t n, MatrixView<const float> w);

  PackedView view() const { return {buffer_.data(), inner_, outer_, panel_width_, panel_stride_}; }
  // The same with the chain cut to its first `inner` and the columns to the first `outer`.
  PackedView view(size_t inner, size_t outer) const {
    return {buffer_.data(), inner, outer, panel_width_, panel_stride_};
  }

  size_t inner() const { return inner_; }
  size_t outer() const { return outer_; }
  size_t panel_width() const { return panel_width_; }

  // n < outer. Column n = x[0..inner()): how a key enters packed keys (inner = head_dim, n = key index).
  void SetColumn(size_t n, const float* x);
  // k < inner. Row k = x[0..outer()): how a value enters packed values (k = key index, outer = head_dim).
  void SetRow(size_t k, const float* x);

  // A copy of the first min(old, new) entries in a matrix of the new size; new entries are zero.
  PackedMatrix Resized(size_t inner, size_t outer) const;

 private:
  PackedMatrix(size_t inner, size_t outer, absl::FunctionRef<AlignedBuffer<float>(size_t)> allocate);

  AlignedBuffer<float> buffer_;
  size_t inner_ = 0, outer_ = 0, panel_width_ = kLaneBlock, panel_stride_ = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_PACKING_H_
