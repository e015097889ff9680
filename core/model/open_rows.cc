#include "core/model/open_rows.h"

#include <algorithm>

namespace splineserve {

void OpenRows::Reserve(size_t rows, size_t cols) {
  index_.EnsureSize(rows * (cols + kOpenListSlack));
  value_.EnsureSize(rows * (cols + kOpenListSlack));
  starts_.EnsureSize(rows * (OpenBlocks(cols) + 1));
}

const OpenListRoom* OpenRows::Room(size_t rows, size_t cols, bool mostly_listed) {
  Reserve(rows, cols);
  lists_ = {index_.data(), value_.data(), cols + kOpenListSlack, starts_.data(), OpenBlocks(cols) + 1};
  listed_by_product_ = mostly_listed;
  return mostly_listed ? &lists_ : nullptr;
}

const OpenListRoom& OpenRows::ListedByCaller(size_t rows, size_t cols) {
  Room(rows, cols, false);
  x_ = MatrixView<const float>(nullptr, rows, cols);
  states_ = nullptr;
  return lists_;
}

void OpenRows::AppendTo(size_t r, size_t count, size_t at, OpenRows& to) const {
  std::copy_n(lists_.index + r * lists_.stride, count, to.lists_.index + r * to.lists_.stride + at);
  std::copy_n(lists_.value + r * lists_.stride, count, to.lists_.value + r * to.lists_.stride + at);
}

const uint32_t* OpenRows::SetStarts(size_t r, size_t count) {
  const uint32_t* const index = lists_.index + r * lists_.stride;
  uint32_t* const starts = lists_.starts + r * lists_.starts_stride;
  size_t block = 0;
  starts[0] = 0;
  for (size_t i = 0; i < count; ++i) {
    for (; index[i] >= (block + 1) * kOpenBlock; ++block) starts[block + 1] = static_cast<uint32_t>(i);
  }
  for (; block < OpenBlocks(x_.cols); ++block) starts[block + 1] = static_cast<uint32_t>(count);
  return index;
}

bool OpenRows::List(const KernelSet& kernels, MatrixView<const float> x, const GateState* states,
                    double sparse_below) {
  x_ = x;
  states_ = states;
  limit_ = sparse_below * static_cast<double>(x.cols);
  if (!listed_by_product_) Room(x.rows, x.cols, false);
  size_t listed = 0;
  for (size_t r = 0; r < x.rows; ++r) {
    if (!Listed(r)) continue;
    ++listed;
    if (listed_by_product_) continue;
    kernels.list_open(x.row(r), x.cols, x.cols, lists_.index + r * lists_.stride,
                      lists_.value + r * lists_.stride, lists_.starts + r * lists_.starts_stride);
  }
  listed_by_product_ = false;
  return 2 * listed > x.rows;
}

template <typename ListedRows, typename DenseRows>
void OpenRows::ForRuns(const ListedRows& listed, const DenseRows& dense) const {
  for (size_t first = 0, last; first < x_.rows; first = last) {
    last = first + 1;
    while (last < x_.rows && Listed(last) == Listed(first)) ++last;
    if (Listed(first)) {
      listed(first, last - first, lists_.Rows(first));
    } else {
      dense(first, last - first);
    }
  }
}

void OpenRows::Multiply(const KernelSet& kernels, const PackedView& w, const float* bias,
                        MatrixView<float> out) const {
  ForRuns(
      [&](size_t first, size_t rows, const OpenLists& lists) {
        kernels.sparse_product(lists, rows, w, bias, out.row(first), out.stride);
      },
      [&](size_t first, size_t rows) {
        kernels.product(x_.row(first), x_.stride, rows, w, bias, 1.0f, out.row(first), out.stride);
      });
}

void OpenRows::Continue(const KernelSet& kernels, const PackedView& w, MatrixView<float> out) const {
  ForRuns(
      [&](size_t first, size_t rows, const OpenLists& lists) {
        kernels.continue_sparse_product(lists, rows, w, out.row(first), out.stride);
      },
      [&](size_t first, size_t rows) {
        kernels.continue_product(x_.row(first), x_.stride, rows, w, out.row(first), out.stride);
      });
}

}  // namespace splineserve
