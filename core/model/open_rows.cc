#include "core/model/open_rows.h"

namespace splineserve {

void OpenRows::Reserve(size_t rows, size_t cols) {
  index_.EnsureSize(rows * (cols + kOpenListSlack));
  value_.EnsureSize(rows * (cols + kOpenListSlack));
  starts_.EnsureSize(rows * (OpenBlocks(cols) + 1));
}

void OpenRows::List(const KernelSet& kernels, MatrixView<const float> x, const GateState* states,
                    double sparse_below) {
  x_ = x;
  states_ = states;
  limit_ = sparse_below * static_cast<double>(x.cols);
  stride_ = x.cols + kOpenListSlack;
  starts_stride_ = OpenBlocks(x.cols) + 1;
  Reserve(x.rows, x.cols);
  for (size_t r = 0; r < x.rows; ++r) {
    if (!Listed(r)) continue;
    kernels.list_open(x.row(r), x.cols, x.cols, index_.data() + r * stride_, value_.data() + r * stride_,
                      starts_.data() + r * starts_stride_);
  }
}

template <typename ListedRows, typename DenseRows>
void OpenRows::ForRuns(const ListedRows& listed, const DenseRows& dense) const {
  for (size_t first = 0, last; first < x_.rows; first = last) {
    last = first + 1;
    while (last < x_.rows && Listed(last) == Listed(first)) ++last;
    if (Listed(first)) {
      listed(first, last - first,
             OpenLists{index_.data() + first * stride_, value_.data() + first * stride_, stride_,
                       starts_.data() + first * starts_stride_, starts_stride_});
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
