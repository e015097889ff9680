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

void OpenRows::Multiply(const KernelSet& kernels, const PackedView& w, const float* bias,
                        MatrixView<float> out) const {
  for (size_t first = 0, last; first < x_.rows; first = last) {
    last = first + 1;
    while (last < x_.rows && Listed(last) == Listed(first)) ++last;
    if (Listed(first)) {
      const OpenLists lists = {index_.data() + first * stride_, value_.data() + first * stride_, stride_,
                               starts_.data() + first * starts_stride_, starts_stride_};
      kernels.sparse_product(lists, last - first, w, bias, out.row(first), out.stride);
    } else {
      kernels.product(x_.row(first), x_.stride, last - first, w, bias, 1.0f, out.row(first), out.stride);
    }
  }
}

}  // namespace splineserve
