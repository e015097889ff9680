// The open units of a feed-forward network, for few rows, found by screening (core/kernels/screen.h): only
// units that may be open are computed, so that closed gates cost a quarter of their product, or, where
// float32 weights come from memory, a quarter of the time to read them.
#ifndef SPLINESERVE_CORE_MODEL_SCREENED_UNITS_H_
#define SPLINESERVE_CORE_MODEL_SCREENED_UNITS_H_

#include <cstddef>
#include <cstdint>

#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/screen.h"
#include "core/model/open_rows.h"
#include "core/model/screened_input.h"

namespace splineserve {

// Of chains of at least this length candidates are narrowed down before they are computed. A chosen chain
// takes a quarter of a cycle a term on an Emerald Rapids, a sum in any order a tenth; of 160 terms narrowing
// costs what it saves.
inline constexpr size_t kNarrowed = 192;

// What screening finds in a block of rows. Allocates only to grow; not thread-safe.
class ScreenedUnits {
 public:
  // Lists the open units of `range` of every row of x, which must be screenable: count(r) of them, their
  // numbers squared if `square`. Exactly the units that the product of x, w and `bias` opens. Returns false,
  // with nothing to be used, if more than `limit` of all units are candidates.
  bool Find(const KernelSet& kernels, const ScreenView& w, const ScreenRange& range, const float* bias,
            bool square, const ScreenedInput& x, double limit, const RowListRoom& lists);
  uint32_t count(size_t row) const { return counts_[row]; }
  // Of all rows, of the last Find.
  size_t candidates() const { return candidates_.all; }

 private:
  // Row r's candidates.
  void Compute(const KernelSet& kernels, const ScreenView& w, size_t r, const float* bias, bool square,
               const ScreenedInput& x, const RowListRoom& lists);

  struct {
    AlignedBuffer<uint32_t> places;
    size_t stride = 0, all = 0;
    AlignedBuffer<uint32_t> counts;  // of each row
  } candidates_;
  AlignedBuffer<uint32_t> counts_;  // of each row's open units
  AlignedBuffer<float> numbers_;    // of one row's candidates
};

// Whether one layer's screening is worth another try. Gates that are not sparse cost it a quarter of a
// product, so after a failure it pauses, the longer the more often it fails.
class ScreenPause {
 public:
  bool Try() {
    if (left_ == 0) return true;
    --left_;
    return false;
  }
  // After a try.
  void Report(bool succeeded) {
    length_ = succeeded ? 0 : length_ == 0 ? 1 : length_ < kLongest ? 2 * length_ : kLongest;
    left_ = length_;
  }

 private:
  static constexpr uint32_t kLongest = 128;
  uint32_t length_ = 0, left_ = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_SCREENED_UNITS_H_
