// The open units of a feed-forward network, for many rows, found by screening (core/kernels/screen.h).
// ScreenedUnits does the same for few.
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

  // Lists the open units of every row of x, which must be screenable, in `open`, squared if `square`: exactly
  // the units that the product of x, w and the bias that `screen` was made with opens. Returns false, with
  // nothing to be used, if more than `limit` of all units are candidates.
  bool Find(const KernelSet& kernels, const ScreenView& screen, const PackedView& w, bool square,
            const ScreenedInput& x, double limit, OpenRows& open);
  // Of all rows, of the last Find.
  size_t candidates() const { return all_; }

 private:
  // The candidates, unless they are too many.
  bool Screen(const KernelSet& kernels, const ScreenView& screen, const ScreenedInput& x, double limit);
  // The numbers of those in kCandidateColumns columns.
  void Compute(const KernelSet& kernels, const ScreenView& screen, const PackedView& w, size_t columns);
  void Transpose(const KernelSet& kernels, MatrixView<const float> x);

  // The rows come in blocks of nearly equal size, at most kCandidateRows.
  size_t FirstRow(size_t block) const { return rows_ * block / blocks_; }

  size_t rows_ = 0, blocks_ = 0;
  size_t all_ = 0;
  size_t used_ = 0;  // entries
  AlignedBuffer<float> transposed_;
  AlignedBuffer<CandidateTile> tiles_;  // those of kCandidateColumns columns after those of others
  AlignedBuffer<uint16_t> candidates_;
  AlignedBuffer<float> numbers_;  // of each
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_SCREENED_TILES_H_
