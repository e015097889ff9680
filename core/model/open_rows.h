// Products of gated rows (scores after ReLU, units after ReLU) that skip closed gates where that is faster.
#ifndef SPLINESERVE_CORE_MODEL_OPEN_ROWS_H_
#define SPLINESERVE_CORE_MODEL_OPEN_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "core/base/aligned_buffer.h"
#include "core/base/matrix_view.h"
#include "core/kernels/kernel_set.h"

namespace splineserve {

// A block of gated rows, each either listed (its open numbers) or left dense. The choice changes the time,
// never a bit of the result. Reused from block to block: allocates only to grow. Not thread-safe, but
// Multiply may be called from several threads between two calls of List.
class OpenRows {
 public:
  // Makes room for the lists of `rows` rows of `cols` numbers, so that List need not.
  void Reserve(size_t rows, size_t cols);

  // Where a gated product can list `rows` rows of `cols` numbers while it makes them, for the List that
  // follows; null where few rows are expected to be sparse: lists cost a product of 64-long chains 8 to 27 %
  // of its time (Emerald Rapids). `mostly_listed` is what List returned for rows like these.
  const OpenListRoom* Room(size_t rows, size_t cols, bool mostly_listed);

  // Where the caller lists all of `rows` rows of `cols` numbers, in place of List; SetStarts of every row
  // completes them.
  const OpenListRoom& ListedByCaller(size_t rows, size_t cols);

  // The first `count` entries of row r's list become those from `at` on in `to`, which is made the same way.
  void AppendTo(size_t r, size_t count, size_t at, OpenRows& to) const;
  // Says that row r's list has `count` entries. Returns the first one's place.
  const uint32_t* SetStarts(size_t r, size_t count);

  // Lists row r of x, unless a product has listed it in the Room, if fewer than sparse_below * x.cols of its
  // gates are open (states[r].open). Rows hold gated numbers, >= 0. `x` and `states` must stay until the last
  // Multiply. Returns whether most rows are listed.
  bool List(const KernelSet& kernels, MatrixView<const float> x, const GateState* states,
            double sparse_below);

  // out = chain over k ascending of x[r][k] w(k, n) from bias: what KernelSet::product returns, bit for bit.
  // w.inner is x.cols; out has a row for each row of x. w may be a range of a matrix's panels.
  void Multiply(const KernelSet& kernels, const PackedView& w, const float* bias,
                MatrixView<float> out) const;
  // The same from what `out` holds: KernelSet::continue_product.
  void Continue(const KernelSet& kernels, const PackedView& w, MatrixView<float> out) const;

 private:
  bool Listed(size_t row) const { return states_ == nullptr || states_[row].open < limit_; }
  // Calls listed(first row, rows, their lists) or dense(first row, rows) for every run of rows of a kind.
  template <typename ListedRows, typename DenseRows>
  void ForRuns(const ListedRows& listed, const DenseRows& dense) const;

  MatrixView<const float> x_;
  const GateState* states_ = nullptr;  // null: all are listed
  double limit_ = 0;
  AlignedBuffer<uint32_t> index_, starts_;
  AlignedBuffer<float> value_;
  OpenListRoom lists_;
  bool listed_by_product_ = false;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_OPEN_ROWS_H_
