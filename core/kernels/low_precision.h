// Matrices and rows of bfloat16 or 8-bit numbers, packed into 32-bit words: a word holds what one lane of a
// dot product instruction takes at a time, two bfloat16 or four bytes of consecutive k.
#ifndef SPLINESERVE_CORE_KERNELS_LOW_PRECISION_H_
#define SPLINESERVE_CORE_KERNELS_LOW_PRECISION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/packing.h"
#include "core/kernels/precision.h"

namespace splineserve {

// Numbers in a word: 2 or 4. Float32 must not be asked.
constexpr size_t NumbersPerWord(Precision precision) { return precision == Precision::kInt8 ? 4 : 2; }
constexpr size_t WordsFor(Precision precision, size_t n) {
  return (n + NumbersPerWord(precision) - 1) / NumbersPerWord(precision);
}

// A matrix of weights, rounded once at load. Immutable; thread-safe.
class LowPrecisionMatrix {
 public:
  LowPrecisionMatrix() = default;
  // Rounds w to the nearest. kInt8: column n becomes q * scale(n) with q in [-127, 127] and scale = max |w| /
  // 127. Numbers must be finite.
  static LowPrecisionMatrix Round(const PackedMatrix& w, Precision precision);

  LowPrecisionView view() const {
    return {precision_,     words_.data(), WordsFor(precision_, inner_), outer_, panel_width_, panel_stride_,
            scales_.data(), sums_.data()};
  }
  bool empty() const { return outer_ == 0; }
  size_t inner() const { return inner_; }
  size_t outer() const { return outer_; }

 private:
  Precision precision_ = Precision::kBfloat16;
  size_t inner_ = 0, outer_ = 0, panel_width_ = kLaneBlock, panel_stride_ = 0;
  AlignedBuffer<uint32_t> words_;
  AlignedBuffer<float> scales_;  // of each column; kInt8
  AlignedBuffer<int32_t> sums_;  // of each column's q; kInt8
};

// Rounds one row of n inputs to words, zeros in the last word's spare places. kInt8: bytes hold q + 128 for
// x = q * scale; kBfloat16: scale becomes 1. A row that is not finite gets a NaN scale or NaNs, so that the
// product is not finite either. Same bits on every target.
void RoundRow(Precision precision, const float* x, size_t n, uint32_t* words, float* scale);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_LOW_PRECISION_H_
