// The rows that are screened (core/kernels/screen.h), rounded to bytes.
#ifndef SPLINESERVE_CORE_MODEL_SCREENED_INPUT_H_
#define SPLINESERVE_CORE_MODEL_SCREENED_INPUT_H_

#include <cstddef>
#include <cstdint>

#include "core/base/aligned_buffer.h"
#include "core/base/matrix_view.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/screen.h"

namespace splineserve {

// A block of rows, rounded to bytes. Allocates only to grow.
class ScreenedInput {
 public:
  // `x` must stay. Rows are then rounded one by one, from any threads.
  void Prepare(MatrixView<const float> x);
  void Reserve(size_t rows, size_t cols);  // for Prepare
  void Round(const KernelSet& kernels, size_t row);

  const MatrixView<const float>& x() const { return x_; }
  const ScreenedRow& row(size_t r) const { return rows_[r]; }
  ScreenedRows rows(size_t first = 0) const {
    return {words_.data() + first * stride_, stride_, rows_.data() + first};
  }
  bool screenable() const;  // all rows

 private:
  MatrixView<const float> x_;
  size_t stride_ = 0;
  AlignedBuffer<uint32_t> words_;
  AlignedBuffer<ScreenedRow> rows_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_SCREENED_INPUT_H_
