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
//
// The candidates of few rows are listed row by row, and their chains read copies of the weights that lie
// column by column. Those of many rows are pairs of a row and a column in tiles of kCandidateRows by
// kCandidateColumns: any 16 pairs of a tile are 16 chains side by side, whose inputs and weights two
// permutations of registers pick from what lies k after k, so that no other copy of the weights is needed.
#ifndef SPLINESERVE_CORE_KERNELS_SCREEN_H_
#define SPLINESERVE_CORE_KERNELS_SCREEN_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/packing.h"
#include "core/kernels/weight_format.h"

namespace splineserve {

inline constexpr size_t kScreenPanel = 64;  // columns
// Of a tile: what one permutation of 16 numbers, and one of two times 16, can pick from.
inline constexpr size_t kCandidateRows = 16, kCandidateColumns = 32;
static_assert(kScreenPanel == 2 * kCandidateColumns);
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
  // multiple of kLaneBlock. Null if only tiles are screened.
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
  const float* starts = nullptr;     // b, zero if there is none

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

// The candidates of up to kCandidateRows rows in kCandidateColumns columns, among those of other tiles:
// entries [begin + row[r], begin + row[r + 1]) are those of row r, each r * kCandidateColumns + its column in
// the tile, ascending. Rows that the tile does not have, have none.
struct CandidateTile {
  uint32_t begin = 0;  // a multiple of kLaneBlock
  std::array<uint16_t, kCandidateRows + 1> row = {};

  size_t count() const { return row[kCandidateRows]; }
};
// Entries that the candidates of two tiles may take, with gaps, and a kernel may write.
inline constexpr size_t kMostOfTwoTiles =
    2 * (kCandidateRows * kCandidateColumns + kLaneBlock) + kCandidateColumns;

// What the chains of a tile read.
struct TileOperands {
  const float* x = nullptr;  // number k of row r at x[k * kCandidateRows + r]; aligned to 64 bytes
  // Number k of column n: number k * kScreenPanel + n of `format` at w, the same for two times 16 columns.
  const void* w = nullptr;
  WeightFormat format = WeightFormat::kFloat32;
  size_t inner = 0;               // of these steps of the chains
  const float* starts = nullptr;  // of each column's chain; null: chains go on with what `numbers` holds
  const void* ahead = nullptr;    // weights to fetch meanwhile, laid out like those at w; null: none
};

// Where what ScreenView says of one panel is written: kScreenPanel numbers each, and the words.
struct ScreenPanel {
  uint32_t* words;
  int32_t* sums;
  float *scales, *errors, *lengths, *biases;
};
// What is added to a bias of zero.
inline constexpr float kZeroBias = 1.01e-33f;

// Memory for screening one matrix: a quarter of float32, and float32 again with columns. Immutable once made;
// thread-safe.
class ScreenedMatrix {
 public:
  enum class Columns { kNone, kAll };

  ScreenedMatrix() = default;
  // `bias` holds w.outer() numbers or is null. Empty if chains are longer than kLongestScreened, or some
  // column or bias is so small or so large that the bound might underflow or overflow. Takes some 2 ns a
  // weight.
  static ScreenedMatrix Make(const PackedMatrix& w, const float* bias, Columns columns = Columns::kAll);
  static size_t Bytes(size_t inner, size_t outer, Columns columns = Columns::kAll);

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
size_t PlainScreenTiles(const ScreenedRows& x, size_t rows, const ScreenView& w, size_t panel,
                        uint16_t* candidates, size_t begin, CandidateTile* left, CandidateTile* right);
void PlainTileChains(const TileOperands& operands, const uint16_t* candidates, size_t count, float* numbers);
size_t PlainListTiles(const CandidateTile* tiles, size_t stride, size_t count, size_t row,
                      const uint16_t* candidates, const float* numbers, float scale, bool square,
                      uint32_t column, uint32_t* index, float* value);
bool PlainScreenColumns(const float* panel, size_t inner, size_t columns, const ScreenPanel& out);
void PlainChosenProduct(const float* x, const ScreenView& w, const float* bias, const uint32_t* chosen,
                        size_t count, float* out);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_SCREEN_H_
