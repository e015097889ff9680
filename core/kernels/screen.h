// Screening: which gates of an affine map may be open, from products of bytes, so that only those need the
// exact chain. A closed gate contributes nothing, so the rest of its chain is never missed.
//
// Row and column are rounded to bytes, x = s_x q_x + e_x and w = s_w q_w + e_w with integers q in
// [-127, 127]. The chain c of x and w from bias b then differs from s_x s_w (q_x . q_w) + b by at most
//
//   |x| |e_w| + |e_x| |s_w q_w| + rounding       (Cauchy and Schwarz; |.| is the Euclidean length)
//
// where rounding, of the chain and of this bound itself, is some 4 K 2^-23 of |x| |w| for chains of length K.
// A unit whose upper bound is not above zero is closed for certain; the others are candidates. Of normal
// numbers the bound lies some 0.014 sqrt(K) standard deviations above the number: with 3 % of the gates open
// 4.2 % are candidates at K = 160, 6 % at 512, 7.6 % at 1,024. Of long chains, which are several times slower
// for chosen columns than for all, sums in float32 in any order, right but for `rounding`, first dismiss
// those that are closed after all.
#ifndef SPLINESERVE_CORE_KERNELS_SCREEN_H_
#define SPLINESERVE_CORE_KERNELS_SCREEN_H_

#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/packing.h"

namespace splineserve {

inline constexpr size_t kScreenPanel = 64;  // columns
// The largest input of a row that can be screened lies between these: then no product or square of the bound
// leaves the range of normal floats.
inline constexpr float kLeastScreened = 1e-25f, kMostScreened = 1e10f;
// Sums of longer products of bytes might not fit 32 bits: 2^17 * 127 * 128 does.
inline constexpr size_t kLongestScreened = size_t{1} << 17;

// What screening reads of a matrix. The arrays of one number a column are padded to whole panels with columns
// that are never candidates.
struct ScreenView {
  size_t inner = 0, outer = 0;
  // The exact weights by column: that of column n at columns + n * column_stride, zeros up to the stride, a
  // multiple of kLaneBlock.
  const float* columns = nullptr;
  size_t column_stride = 0;
  // Bytes, four consecutive k to a word, in panels of kScreenPanel columns: word k / 4 of column n at
  //   words[n / kScreenPanel * panel_stride + k / 4 * kScreenPanel + n % kScreenPanel].
  const uint32_t* words = nullptr;
  size_t inner_words = 0;
  size_t panel_stride = 0;
  const int32_t* sums = nullptr;     // of q_w
  const float* scales = nullptr;     // s_w
  const float* errors = nullptr;     // what |x| is multiplied with in the bound
  const float* lengths = nullptr;    // what |e_x| is multiplied with
  const float* roundings = nullptr;  // the same of a sum in float32
  const float* biases = nullptr;     // b, and its share of the rounding

  size_t panels() const { return (outer + kScreenPanel - 1) / kScreenPanel; }
};

// One row rounded to bytes: those of q_x + 128, as words. A row that cannot be screened, because it is zero,
// tiny, huge or not finite, has infinite length. Chains of the others cannot overflow: |x| |w| is below
// K 10^20.
struct ScreenedRow {
  float scale = 0;   // s_x
  float length = 0;  // at least |x|
  float error = 0;   // at least |e_x|

  bool screenable() const { return length < std::numeric_limits<float>::infinity(); }
};
struct ScreenedRows {
  const uint32_t* words = nullptr;
  size_t stride = 0;  // words, at least inner_words
  const ScreenedRow* rows = nullptr;
};

// Panels [first_panel, first_panel + panels) of a matrix as what a screen looks at.
struct ScreenRange {
  size_t first_panel = 0, panels = 0;
};

// Memory for screening one matrix: a quarter more than float32. Immutable once made; thread-safe.
class ScreenedMatrix {
 public:
  ScreenedMatrix() = default;
  // `bias` holds w.outer() numbers or is null. Empty if chains are longer than kLongestScreened, or some
  // column or bias is so small or so large that the bound might underflow or overflow. Takes some 2 ns a
  // weight.
  static ScreenedMatrix Make(const PackedMatrix& w, const float* bias);
  static size_t Bytes(size_t inner, size_t outer);

  bool empty() const { return view_.outer == 0; }
  const ScreenView& view() const { return view_; }

 private:
  AlignedBuffer<float> columns_, per_column_;
  AlignedBuffer<uint32_t> words_;
  AlignedBuffer<int32_t> sums_;
  ScreenView view_;
};

// The kernels of sets that have no instructions for this.
void PlainScreenRow(const float* x, size_t n, uint32_t* words, ScreenedRow* row);
void PlainScreen(const ScreenedRows& x, size_t rows, const ScreenView& w, const ScreenRange& range,
                 uint32_t* candidates, size_t stride, uint32_t* counts);
size_t PlainNarrow(const float* x, float length, const ScreenView& w, uint32_t* chosen, size_t count);
void PlainChosenProduct(const float* x, const ScreenView& w, const float* bias, const uint32_t* chosen,
                        size_t count, float* out);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_SCREEN_H_
