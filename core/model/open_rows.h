// Products of gated rows (scores after ReLU, units after ReLU) that skip closed gates where that is faster.
#ifndef SPLINESERVE_CORE_MODEL_OPEN_ROWS_H_
#define SPLINESERVE_CORE_MODEL_OPEN_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "core/base/aligned_buffer.h"
#include "core/base/matrix_view.h"
#include "core/kernels/kernel_set.h"

namespace splineserve {

// Where open numbers are listed row by row: those of row r from entry r * stride on, ascending places and,
// beside them, numbers. One entry past the last may be written.
struct RowListRoom {
  uint32_t* index = nullptr;
  float* value = nullptr;
  size_t stride = 0;
};

// A block of gated rows, each dozen of them either listed (their open numbers) or left dense. The choice
// changes the time, never a bit of the result. Reused from block to block: allocates only to grow. Not
// thread-safe, but Multiply may be called from several threads between two calls of List.
class OpenRows {
 public:
  // What is said of the rows that come, as nobody has seen their gates yet.
  static constexpr double kUnknown = 1;

  // Whether places in the lists of so many rows fit 32 bits. Others are never listed.
  static bool Fits(size_t rows, size_t cols);

  // Makes room for the lists of `rows` rows of `cols` numbers, so that List need not.
  void Reserve(size_t rows, size_t cols);

  // Where a gated product can list `rows` rows of `cols` numbers instead of storing them, for the List that
  // follows; null unless fewer than `sparse_below` of the gates are `expected` to be open. Scores that are
  // not stored do not wear out the second-level cache: 2,048 tokens of d = 512, 10 % open, in 1/1.026 of the
  // time (Emerald Rapids). All rows are listed then, also where the expectation was wrong, which makes their
  // product up to 2.2 times as slow (90 % open, by sparse_product of kernels_bench). `expected` is what List
  // returned for rows like these, or kUnknown.
  const OpenListRoom* Room(size_t rows, size_t cols, double expected, double sparse_below);

  // Where the caller lists all of `rows` rows of `cols` numbers, which must fit, in place of List. SetCount
  // of every row, then CutIntoBlocks complete them.
  RowListRoom ListedByCaller(size_t rows, size_t cols);

  // Where the caller lists all of them, block after block without gaps, of whose numbers about `open` are to
  // be above zero: in place of List, complete with its segments.
  const OpenListRoom& ListedInBlocks(size_t rows, size_t cols, double open);
  // Sets the bits of row r's entries in `bits` and returns how many they are.
  uint32_t MarkOpen(size_t r, uint8_t* bits) const;

  // The first `count` entries of row r's list become those from `at` on in `to`, which is made the same way.
  void AppendTo(size_t r, size_t count, size_t at, OpenRows& to) const;
  // Says that row r's list has `count` entries.
  void SetCount(size_t r, size_t count);
  void CutIntoBlocks();

  // Lists the rows of x but those of whose gates, `states` says, at least sparse_below are open: some rows at
  // a time, as dense rows cost less together. Rows hold gated numbers, >= 0; `x` must stay until the last
  // Multiply. Where a product has listed them in the Room, of x only the size matters. Returns the share of
  // open gates.
  double List(const KernelSet& kernels, MatrixView<const float> x, const GateState* states,
              double sparse_below);

  // out = chain over k ascending of x[r][k] w(k, n) from bias: what KernelSet::product returns, bit for bit.
  // w.inner is x.cols; out has a row for each row of x. w may be a range of a matrix's panels.
  void Multiply(const KernelSet& kernels, const PackedView& w, const float* bias,
                MatrixView<float> out) const;
  // The same from what `out` holds: KernelSet::continue_product.
  void Continue(const KernelSet& kernels, const PackedView& w, MatrixView<float> out) const;

 private:
  // Rows that are listed together, or not: two of the microkernel's tiles, so that dense rows never come one
  // by one, which would take several times as long.
  static constexpr size_t kGroupRows = 12;

  bool Listed(size_t row) const { return all_listed_ || group_listed_[row / kGroupRows] != 0; }
  const OpenListRoom& MakeRoom(size_t rows, size_t cols, size_t log2_block);
  // Block after block, without gaps, so that what is read together lies together: 144 rows of 2,048 numbers,
  // 10 % open, take the product with 512 columns 1/1.3 of the time that lists row by row take.
  void ListBlocks(const KernelSet& kernels);
  // Calls listed(first row, rows, their lists) or dense(first row, rows) for every run of rows of a kind.
  template <typename ListedRows, typename DenseRows>
  void ForRuns(const ListedRows& listed, const DenseRows& dense) const;

  MatrixView<const float> x_;
  bool all_listed_ = false;
  AlignedBuffer<uint8_t> group_listed_;  // one a group of rows; unless all_listed_
  AlignedBuffer<uint32_t> index_;
  AlignedBuffer<float> value_;
  AlignedBuffer<OpenSegment> segments_;
  OpenListRoom lists_;
  bool listed_by_product_ = false;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_OPEN_ROWS_H_
