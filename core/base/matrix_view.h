// A row-major view of someone else's memory: `rows` rows of `cols` elements, rows `stride` elements apart.
//
// Copying a view copies the three sizes and the pointer. The owner of the memory must outlive it. No bounds
// checks in release builds: views are made by code that has already validated its sizes.
#ifndef SPLINESERVE_CORE_BASE_MATRIX_VIEW_H_
#define SPLINESERVE_CORE_BASE_MATRIX_VIEW_H_

#include <cstddef>
#include <type_traits>

namespace splineserve {

template <typename T>
struct MatrixView {
  T* data = nullptr;
  size_t rows = 0;
  size_t cols = 0;
  size_t stride = 0;  // elements from one row to the next, >= cols

  MatrixView() = default;
  MatrixView(T* data, size_t rows, size_t cols) : MatrixView(data, rows, cols, cols) {}
  MatrixView(T* data, size_t rows, size_t cols, size_t stride)
      : data(data), rows(rows), cols(cols), stride(stride) {}
  // A mutable view reads as a const one.
  template <typename U, typename = std::enable_if_t<std::is_same_v<const U, T> && !std::is_same_v<U, T>>>
  MatrixView(const MatrixView<U>& other)  // NOLINT(google-explicit-constructor): like T* to const T*
      : data(other.data), rows(other.rows), cols(other.cols), stride(other.stride) {}

  T* row(size_t r) const { return data + r * stride; }
  T& operator()(size_t r, size_t c) const { return data[r * stride + c]; }
  // Rows [first, first + count) of the same columns.
  MatrixView Rows(size_t first, size_t count) const { return {row(first), count, cols, stride}; }
  // Columns [first, first + count) of the same rows.
  MatrixView Cols(size_t first, size_t count) const { return {data + first, rows, count, stride}; }
  bool empty() const { return rows == 0 || cols == 0; }
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_MATRIX_VIEW_H_
