// The open units of a feed-forward network, for many rows, or the open scores of queries, found by screening
// (core/kernels/screen.h). ScreenedUnits does the same for the units of few rows.
#ifndef SPLINESERVE_CORE_MODEL_SCREENED_TILES_H_
#define SPLINESERVE_CORE_MODEL_SCREENED_TILES_H_

#include <cstddef>
#include <cstdint>

#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/screen.h"
#include "core/model/open_rows.h"
#include "core/model/screened_input.h"

namespace splineserve {

// Allocates only to grow; not thread-safe.
class ScreenedTiles {
 public:
  // Whether the weights lie as tiles need them: in panels of that width.
  static bool CanScreen(const PackedView& w) { return w.panel_width == kScreenPanel; }

  // Lists in `open`, of each row of x, which must be screenable, what of scale > 0 times the product of x, w
  // and the bias of `screen` is above zero: exactly that, squared if `square`. False, with nothing to be
  // used: over `limit` of all are candidates. `expected`: the share to be above zero, or OpenRows::kUnknown.
  bool Find(const KernelSet& kernels, const ScreenView& screen, const PackedView& w, float scale, bool square,
            const ScreenedInput& x, double limit, double expected, OpenRows& open);
  // Makes room for the same, so that Find need not.
  void Reserve(size_t rows, size_t inner, size_t outer);
  // Of all rows, of the last Find: all of them if it returned true.
  size_t candidates() const { return all_; }
  size_t open() const { return listed_; }

 private:
  // The candidates, unless they are too many.
  bool Screen(const KernelSet& kernels, const ScreenView& screen, const ScreenedInput& x, double limit);
  // The numbers of those in one window of kCandidateColumns columns.
  void Compute(const KernelSet& kernels, const ScreenView& screen, const PackedView& w, size_t window);
  void Transpose(const KernelSet& kernels, MatrixView<const float> x);

  // The rows come in blocks of nearly equal size, at most kCandidateRows.
  size_t FirstRow(size_t block) const { return rows_ * block / blocks_; }

  size_t rows_ = 0, blocks_ = 0;
  size_t all_ = 0, listed_ = 0;
  size_t used_ = 0;  // entries
  AlignedBuffer<float> transposed_;
  AlignedBuffer<CandidateTile> tiles_;  // those of kCandidateColumns columns after those of others
  AlignedBuffer<uint16_t> candidates_;
  AlignedBuffer<float> numbers_;  // of each
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_SCREENED_TILES_H_
