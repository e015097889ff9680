#include "core/model/open_rows.h"

#include <algorithm>
#include <limits>

namespace splineserve {
namespace {

constexpr size_t kShortLog2Block = 7, kLongLog2Block = 8;
static_assert(kShortLog2Block >= kLeastLog2Block, "a block is a whole number of panels");

size_t CeilDiv(size_t a, size_t b) { return (a + b - 1) / b; }

// The blocks in which rows, `open` of whose gates are open, pass over the weights. 128 rows of 64 columns
// fill two thirds of the first-level cache; the sparser the lists, the more does loading and storing the sums
// weigh. On an Emerald Rapids sparse_product of kernels_bench makes in blocks of 128, 256 and 512, half open
// 90, 63 and 56 GFLOP/s, 10 % open 59, 52 and 51, 3 % open 28, 32 and 31.
size_t Log2Block(double open) { return open < 0.07 ? kLongLog2Block : kShortLog2Block; }

// Of lists that lie row by row, where every part of a list lies on a page of its own: the longer the parts,
// the better. Lists of one or two rows are walked once, and the parts of very short ones are not worth a walk
// each.
size_t Log2BlockOfRows(size_t rows, double open) {
  if (rows <= 2 || open < 0.02) return kWholeRowLog2Block;
  return open < 0.25 ? kLongLog2Block : kShortLog2Block;
}

}  // namespace

bool OpenRows::Fits(size_t rows, size_t cols) {
  return rows * (cols + kOpenListSlack) <= std::numeric_limits<uint32_t>::max();
}

void OpenRows::Reserve(size_t rows, size_t cols) {
  group_listed_.EnsureSize(CeilDiv(rows, kGroupRows));
  if (!Fits(rows, cols)) return;
  index_.EnsureSize(rows * (cols + kOpenListSlack));
  value_.EnsureSize(rows * (cols + kOpenListSlack));
  segments_.EnsureSize(rows * OpenBlocks(cols, kShortLog2Block));
}

const OpenListRoom& OpenRows::MakeRoom(size_t rows, size_t cols, size_t log2_block) {
  Reserve(rows, cols);
  lists_ = {index_.data(), value_.data(), cols + kOpenListSlack, segments_.data(), rows, log2_block};
  return lists_;
}

const OpenListRoom* OpenRows::Room(size_t rows, size_t cols, double expected, double sparse_below) {
  listed_by_product_ = expected < sparse_below && Fits(rows, cols);
  MakeRoom(rows, cols, Log2BlockOfRows(rows, expected));
  return listed_by_product_ ? &lists_ : nullptr;
}

RowListRoom OpenRows::ListedByCaller(size_t rows, size_t cols) {
  x_ = MatrixView<const float>(nullptr, rows, cols);
  all_listed_ = true;
  listed_by_product_ = false;
  MakeRoom(rows, cols, kWholeRowLog2Block);
  return {lists_.index, lists_.value, lists_.row_stride};
}

const OpenListRoom& OpenRows::ListedInBlocks(size_t rows, size_t cols, double open) {
  x_ = MatrixView<const float>(nullptr, rows, cols);
  all_listed_ = true;
  listed_by_product_ = false;
  return MakeRoom(rows, cols, Log2Block(open));
}

uint32_t OpenRows::MarkOpen(size_t r, uint8_t* bits) const {
  uint32_t count = 0;
  for (size_t b = 0; b < OpenBlocks(x_.cols, lists_.log2_block); ++b) {
    const OpenSegment& segment = lists_.segments[b * x_.rows + r];
    count += segment.end - segment.begin;
    for (uint32_t i = segment.begin; i < segment.end; ++i) {
      const uint32_t n = lists_.index[i];
      bits[n / 8] = static_cast<uint8_t>(bits[n / 8] | 1u << n % 8);
    }
  }
  return count;
}

void OpenRows::AppendTo(size_t r, size_t count, size_t at, OpenRows& to) const {
  const size_t from = r * lists_.row_stride;
  at += r * to.lists_.row_stride;
  std::copy_n(lists_.index + from, count, to.lists_.index + at);
  std::copy_n(lists_.value + from, count, to.lists_.value + at);
}

void OpenRows::SetCount(size_t r, size_t count) {
  const size_t begin = r * lists_.row_stride;
  lists_.segments[r] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(begin + count)};
}

void OpenRows::CutIntoBlocks() {
  size_t open = 0;
  for (size_t r = 0; r < x_.rows; ++r) open += lists_.segments[r].end - lists_.segments[r].begin;
  const size_t numbers = std::max<size_t>(x_.rows * x_.cols, 1);
  lists_.log2_block = Log2BlockOfRows(x_.rows, static_cast<double>(open) / static_cast<double>(numbers));
  const size_t blocks = OpenBlocks(x_.cols, lists_.log2_block);
  if (blocks == 1) return;
  for (size_t r = 0; r < x_.rows; ++r) {
    const OpenSegment row = lists_.segments[r];
    uint32_t i = row.begin;
    for (size_t b = 0; b < blocks; ++b) {
      OpenSegment& segment = lists_.segments[b * x_.rows + r];
      segment.begin = i;
      while (i < row.end && lists_.index[i] < (b + 1) << lists_.log2_block) ++i;
      segment.end = i;
    }
  }
}

double OpenRows::List(const KernelSet& kernels, MatrixView<const float> x, const GateState* states,
                      double sparse_below) {
  size_t all = 0;
  for (size_t r = 0; r < x.rows; ++r) all += states[r].open;
  const double open = static_cast<double>(all) / static_cast<double>(std::max<size_t>(x.rows * x.cols, 1));
  x_ = x;
  all_listed_ = true;
  if (listed_by_product_) {
    listed_by_product_ = false;
    return open;
  }
  MakeRoom(x.rows, x.cols, x.rows <= 2 ? kWholeRowLog2Block : Log2Block(open));
  for (size_t first = 0, group = 0; first < x.rows; first += kGroupRows, ++group) {
    const size_t end = std::min(x.rows, first + kGroupRows);
    size_t open_here = 0;
    for (size_t r = first; r < end; ++r) open_here += states[r].open;
    const double limit =
        Fits(x.rows, x.cols) ? sparse_below * static_cast<double>((end - first) * x.cols) : 0;
    group_listed_[group] = static_cast<double>(open_here) < limit ? 1 : 0;
    if (group_listed_[group] == 0) all_listed_ = false;
  }
  ListBlocks(kernels);
  return open;
}

void OpenRows::ListBlocks(const KernelSet& kernels) {
  size_t at = 0;
  for (size_t b = 0, column = 0; column < x_.cols; ++b) {
    const size_t count = std::min(x_.cols - column, size_t{1} << lists_.log2_block);
    for (size_t r = 0; r < x_.rows; ++r) {
      if (!Listed(r)) continue;
      OpenSegment& segment = lists_.segments[b * x_.rows + r];
      segment.begin = static_cast<uint32_t>(at);
      at += kernels.list_open(x_.row(r) + column, count, column, lists_.index + at, lists_.value + at);
      segment.end = static_cast<uint32_t>(at);
    }
    column += count;
  }
}

template <typename ListedRows, typename DenseRows>
void OpenRows::ForRuns(const ListedRows& listed, const DenseRows& dense) const {
  if (all_listed_) return listed(0, x_.rows, lists_.lists());
  for (size_t first = 0, last; first < x_.rows; first = last) {
    const uint8_t kind = group_listed_[first / kGroupRows];
    last = first;
    while (last < x_.rows && group_listed_[last / kGroupRows] == kind) last += kGroupRows;
    last = std::min(last, x_.rows);
    if (kind != 0) {
      listed(first, last - first, lists_.lists().Rows(first));
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
