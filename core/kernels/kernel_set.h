// The vectorised kernels, one set a SIMD target, and how a set is chosen.
//
// Exactness: every kernel of every set returns the same bits as the scalar loop in its comment, on any size
// and any alignment. Sums are single chains of fused multiply-adds in ascending inner index; lanes hold
// different outputs, never parts of one (the kernels that screen, which only say what need not be
// computed, may differ from set to set). Targets without fused multiply-add in hardware call std::fma. (-0
// and +0 count as equal.)
//
// All kernels are pure functions of their arguments: thread-safe, no allocation, no failure. Inputs and
// outputs must not overlap unless said. Sizes may be 0.
#ifndef SPLINESERVE_CORE_KERNELS_KERNEL_SET_H_
#define SPLINESERVE_CORE_KERNELS_KERNEL_SET_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/kernels/precision.h"
#include "core/kernels/weight_format.h"

namespace splineserve {

// Where a matrix lies among those of its model, which are used one after the other, again and again: what a
// product fetches ahead. Changes times, never a bit.
struct WeightStretch {
  const std::byte* data = nullptr;
  size_t bytes = 0;                     // > 0
  const WeightStretch* next = nullptr;  // goes round
  size_t lead = 0;                      // how far ahead of its own use a product fetches, in bytes

  // What is used `offset` bytes after the beginning of this one.
  const std::byte* At(size_t offset) const {
    const WeightStretch* stretch = this;
    for (; offset >= stretch->bytes; stretch = stretch->next) offset -= stretch->bytes;
    return stretch->data + offset;
  }
};

// The right operand of a product, packed: `outer` columns (outputs, or keys) in panels of `panel_width`, each
// panel k-major, so that a microkernel streams it. Element (k, n) lies at
//   data[(n / panel_width) * panel_stride + k * panel_width + n % panel_width]
// as a number of `format`. panel_width is a multiple of kLaneBlock and at most kMaxPanelWidth; columns past
// `outer` hold anything, finite or not: no output depends on them. See packing.h for makers.
inline constexpr size_t kLaneBlock = 16;
inline constexpr size_t kMaxPanelWidth = 64;

struct PackedView {
  const void* data = nullptr;  // aligned to 64 bytes
  size_t inner = 0;            // length of a chain
  size_t outer = 0;            // number of columns
  size_t panel_width = kLaneBlock;
  size_t panel_stride = 0;  // numbers from one panel to the next, >= inner * panel_width, a multiple of 16
  WeightFormat format = WeightFormat::kFloat32;
  const WeightStretch* stretch = nullptr;  // null where it is not known or not all of it is used

  size_t panels() const { return (outer + panel_width - 1) / panel_width; }
  // The columns of panels [first, first + count) as a matrix of their own.
  PackedView Panels(size_t first, size_t count) const {
    if (first == 0 && count == panels()) return *this;
    const size_t begin = first * panel_width;
    const size_t end = begin + count * panel_width < outer ? begin + count * panel_width : outer;
    const size_t skipped = first * panel_stride * BytesPerNumber(format);
    return {
        static_cast<const std::byte*>(data) + skipped, inner, end - begin, panel_width, panel_stride, format};
  }
};

// What a gate kernel saw in one row.
struct GateRow {
  uint32_t open = 0;   // arguments > 0
  float margin = 0;    // min |argument| over the row; +inf for an empty row
  bool finite = true;  // every argument was finite
};

// The running summary of one row's gates, for kernels that see the row piece by piece. Lane l sums up the
// numbers that passed through lane l of a vector.
struct alignas(64) GateState {
  float overflow[kLaneBlock];  // the sum of 0 * argument: NaN from the first that is not finite on
  // Magnitudes as bit patterns, which order like the magnitudes themselves; infinity until a margin was asked
  // for.
  int32_t smallest[kLaneBlock];
  uint32_t open;

  GateState() { Reset(); }
  void Reset();
  // Adds what `other` saw of further columns of the same row.
  void Merge(const GateState& other);
  // margin is 0 unless wanted.
  GateRow Summary(bool want_margin) const;
};

// The numbers above zero of several rows, as lists: what a sparse product reads. The columns are cut into
// blocks, whose weights all rows use before any goes on to the next block: the entries of row r in block b,
// columns [b, b + 1) << log2_block, are those of segments[b * rows + r], by ascending column.
// Places are 32 bits: rows * (columns + kOpenListSlack) must fit them.
struct OpenSegment {
  uint32_t begin = 0, end = 0;
};
struct OpenLists {
  const uint32_t* index = nullptr;  // the column of each entry
  const float* value = nullptr;
  const OpenSegment* segments = nullptr;  // of OpenBlocks(inner, log2_block) blocks
  size_t rows = 0;                        // from one block's segments to the next's
  size_t log2_block = 0;                  // at least kLeastLog2Block

  // From row `first` on.
  OpenLists Rows(size_t first) const { return {index, value, segments + first, rows, log2_block}; }
};
// A block is a whole number of panels.
inline constexpr size_t kLeastLog2Block = 6;
// Of a block that holds any row.
inline constexpr size_t kWholeRowLog2Block = 32;
constexpr size_t OpenBlocks(size_t inner, size_t log2_block) {
  return inner == 0 ? 1 : ((inner - 1) >> log2_block) + 1;
}
// A list's memory must have room for this many entries more than it may get.
inline constexpr size_t kOpenListSlack = 16;
// Where a gated product makes such lists: row r's from entry r * row_stride on, block after block.
struct OpenListRoom {
  uint32_t* index = nullptr;
  float* value = nullptr;
  size_t row_stride = 0;
  OpenSegment* segments = nullptr;
  size_t rows = 0;
  size_t log2_block = 0;

  OpenLists lists() const { return {index, value, segments, rows, log2_block}; }
};

// What a gated product does with its numbers.
struct GateSpec {
  bool square = false;  // relu2
  bool want_margin = false;
  // Gates of each row: columns past widths[r] are stored as zero, or not listed, and are no gates. Null: all
  // columns.
  const uint32_t* widths = nullptr;
  // Null, or one pointer a row, null where nobody wants the row's bits: (width + 7) / 8 bytes as `gate`
  // writes them.
  uint8_t* const* bits = nullptr;
  GateState* states = nullptr;  // one a row; added to
  // Null, or where the numbers of every row's open gates are listed, squares that underflowed to zero among
  // them, and then nothing is stored at `out`; `w` is then the whole matrix, of one column at least, in
  // panels of kMaxPanelWidth if it has several.
  const OpenListRoom* lists = nullptr;
};

// ReLU attention of one query row, all heads, over tokens in blocks (token_blocks.h).
struct TokenAttention {
  const float* query = nullptr;   // [heads, head_dim]
  const float* blocks = nullptr;  // aligned to 64 bytes
  size_t heads = 0, head_dim = 0;
  size_t tokens = 0;  // the keys seen, 1 to kMaxBlockTokens; the others of the last block hold anything
  float scale = 1;
  bool square = false;  // relu2
  bool want_margin = false;
  // Whether values of closed keys, then finite, may be read too: where they are at hand that takes less time
  // than to tell which are open.
  bool read_closed = false;
  uint8_t* const* bits = nullptr;  // null, or one pointer a head, as in GateSpec
};

// A matrix and rows of low precision (low_precision.h makes them). The matrix's panels are those of
// PackedView with words for numbers.
struct LowPrecisionView {
  Precision precision = Precision::kBfloat16;
  const uint32_t* words = nullptr;  // aligned to 64 bytes
  size_t inner_words = 0;
  size_t outer = 0;
  size_t panel_width = kLaneBlock;
  size_t panel_stride = 0;        // words
  const float* scales = nullptr;  // of each column; kInt8
  const int32_t* sums = nullptr;  // of each column's numbers; kInt8

  size_t panels() const { return (outer + panel_width - 1) / panel_width; }
  LowPrecisionView Panels(size_t first, size_t count) const {
    LowPrecisionView part = *this;
    const size_t begin = first * panel_width;
    part.words += first * panel_stride;
    part.outer = (begin + count * panel_width < outer ? begin + count * panel_width : outer) - begin;
    if (scales != nullptr) part.scales += begin;
    if (sums != nullptr) part.sums += begin;
    return part;
  }
};
struct LowPrecisionRows {
  const uint32_t* words = nullptr;
  size_t stride = 0;              // words
  const float* scales = nullptr;  // one a row
};

// Keys and values of tokens, [heads, head_dim] each.
struct TokenRows {
  const float* keys = nullptr;
  size_t key_stride = 0;
  const float* values = nullptr;
  size_t value_stride = 0;
};

// See token_blocks.h.
struct TokenBlocks;

// See screen.h.
struct ScreenView;
struct ScreenRange;
struct ScreenedRow;
struct ScreenedRows;
struct CandidateTile;
struct TileOperands;
struct ScreenPanel;

struct KernelSet {
  // "avx512", "avx2", "neon", "portable".
  const char* name;
  // Whether MulAdd is one instruction here; false means std::fma per number.
  bool hardware_fma;

  // out[r][n] = scale * chain, chain = bias ? bias[n] : 0; for k ascending: chain = fma(x[r][k], w(k, n),
  // chain) for r < rows, n < w.outer. Used with scale 1 for affine maps and for weights times values, and
  // with the attention scale for scores (w = packed keys). x rows are x_stride apart, out rows out_stride;
  // bias may be null and must else hold w.outer floats. Weights of 16 bits are expanded in registers, or a
  // panel at a time on the stack where many rows use it.
  void (*product)(const float* x, size_t x_stride, size_t rows, const PackedView& w, const float* bias,
                  float scale, float* out, size_t out_stride);

  // Goes on with chains: the product with scale 1, each chain starting at what out[r][n] holds. A chain over
  // parts of the rows of x and w, in order, is the chain over the whole, bit for bit. w must be float32, as
  // values of attention are.
  void (*continue_product)(const float* x, size_t x_stride, size_t rows, const PackedView& w, float* out,
                           size_t out_stride);

  // The product followed by the ReLU gate while the numbers are still in registers: out[r][n] = gate(scale *
  // chain), or with gates.lists the lists of those that are open, and `out` is left as it was. `w` must start
  // at a panel whose first column is a multiple of 8 of what the bits count.
  void (*gated_product)(const float* x, size_t x_stride, size_t rows, const PackedView& w, const float* bias,
                        float scale, const GateSpec& gates, float* out, size_t out_stride);

  // Lists the numbers above zero of x[0..n): their places plus `first`, ascending, and values. Returns how
  // many there are. May write kOpenListSlack entries past the last.
  size_t (*list_open)(const float* x, size_t n, size_t first, uint32_t* index, float* value);

  // The product with scale 1 of rows given by their lists: exactly what `product` returns for the full rows,
  // because fma(0, w, chain) = chain for finite w. Cost: the open entries, and 5 loads for each 4
  // multiply-adds of 16 lanes.
  void (*sparse_product)(const OpenLists& x, size_t rows, const PackedView& w, const float* bias, float* out,
                         size_t out_stride);

  // continue_product of rows given by their lists; w must be float32.
  void (*continue_sparse_product)(const OpenLists& x, size_t rows, const PackedView& w, float* out,
                                  size_t out_stride);

  // For every head h: scores by `product` of its query row with its keys, gated as `gate` does into gates[h],
  // then out[h * head_dim + n] = `product` of the gated scores with its values. Values of closed keys are not
  // read but where read_closed lets them be.
  void (*attend_token)(const TokenAttention& attention, GateRow* gates, float* out);

  // Stores tokens 0 to `tokens` - 1 in blocks, which have room for them and are aligned to 64 bytes; the
  // others of the last block then hold anything.
  void (*store_tokens)(const TokenRows& rows, size_t tokens, const TokenBlocks& layout, float* blocks);

  // out[c * out_stride + r] = x[r * x_stride + c] for r < rows and c < cols, which must not overlap x: keys
  // on their way into panels. Touches nothing else.
  void (*transpose)(const float* x, size_t x_stride, size_t rows, size_t cols, float* out, size_t out_stride);

  // out[r][n] = x_r . w_n + bias[n] in the matrix's precision. kInt8: the sum of products is exact, then one
  // fma(sum, x scale * w scale, bias), so the same on every target. kBfloat16: summed in float32, in an order
  // and with roundings that depend on the target (AVX-512 BF16 flushes subnormal numbers).
  void (*low_precision_product)(const LowPrecisionRows& x, size_t rows, const LowPrecisionView& w,
                                const float* bias, float* out, size_t out_stride);

  // RoundRow of low_precision.h; where the processor has an instruction for it, subnormal numbers become
  // zero.
  void (*round_row)(Precision precision, const float* x, size_t n, uint32_t* words, float* scale);

  // Whether the next eight are faster than a product: the processor multiplies bytes.
  bool fast_screen;

  // Rounds one row of n inputs to the bytes that `screen` reads, (n + 3) / 4 words.
  void (*screen_row)(const float* x, size_t n, uint32_t* words, ScreenedRow* row);

  // For every row the columns of `range` whose chain may be above zero: a superset of those where it is,
  // ascending, counts[r] of them at candidates + r * stride. Which others are among them depends on the
  // target. May write kScreenPanel entries past the last. Rows must be screenable.
  void (*screen)(const ScreenedRows& x, size_t rows, const ScreenView& w, const ScreenRange& range,
                 uint32_t* candidates, size_t stride, uint32_t* counts);

  // Drops of the `count` columns `chosen` those whose chain with row x, of length at most `length`, is
  // certainly not above zero; returns how many are left, in their order. This and the next read w.columns.
  size_t (*narrow)(const float* x, float length, const ScreenView& w, uint32_t* chosen, size_t count);

  // out[i] = what `product` with scale 1 returns of one row x and column chosen[i].
  void (*chosen_product)(const float* x, const ScreenView& w, const float* bias, const uint32_t* chosen,
                         size_t count, float* out);

  // What `screen` does, in tiles: the candidates of `rows` <= kCandidateRows rows in the left and the right
  // half of one panel, from candidates[begin] on, `begin` a multiple of kLaneBlock. Returns where others may
  // go on, such a multiple. May write kMostOfTwoTiles entries. Rows must be screenable.
  size_t (*screen_tiles)(const ScreenedRows& x, size_t rows, const ScreenView& w, size_t panel,
                         uint16_t* candidates, size_t begin, CandidateTile* left, CandidateTile* right);

  // numbers[i] = what `product` with scale 1 returns of the row and the column of candidates[i], or of so
  // many steps of it. Reads and writes whole groups of kLaneBlock entries; those past `count` may hold
  // anything.
  void (*tile_chains)(const TileOperands& operands, const uint16_t* candidates, size_t count, float* numbers);

  // Lists those numbers of row `row` of `count` tiles side by side, tiles[t * stride], that times `scale` are
  // above zero: those products, squared if `square`, with their columns, of which `column` is the first.
  // Returns how many. May write kOpenListSlack entries past the last, and read kLaneBlock entries past a
  // row's.
  size_t (*list_tiles)(const CandidateTile* tiles, size_t stride, size_t count, size_t row,
                       const uint16_t* candidates, const float* numbers, float scale, bool square,
                       uint32_t column, uint32_t* index, float* value);

  // What ScreenedMatrix::Make does, of one panel of `columns` <= kScreenPanel columns that have just been
  // made, float32 and without a bias: keys, number k of column n at panel[k * kScreenPanel + n], aligned to
  // 64 bytes, inner <= kLongestScreened. Returns false if one of them cannot be screened, with anything in
  // `out`.
  bool (*screen_columns)(const float* panel, size_t inner, size_t columns, const ScreenPanel& out);

  // The ReLU gate of one row, in place: x[i] = x[i] > 0 ? x[i] : +0, then x[i] = x[i] * x[i] if `square`. If
  // `bits` is not null, bit i of it (least significant first, the last byte zero-padded; (n + 7) / 8 bytes)
  // becomes x[i] > 0 of the argument. `want_margin` false leaves margin 0 and saves its time. NaN is closed
  // and not finite.
  GateRow (*gate)(float* x, size_t n, bool square, uint8_t* bits, bool want_margin);

  // True if all n numbers are finite.
  bool (*all_finite)(const float* x, size_t n);

  // out[i] = a[i] + b[i]; returns whether all sums are finite. out may equal a or b.
  bool (*add)(const float* a, const float* b, size_t n, float* out);

  // out[i] = fma(x[i], weight[i], bias[i]); bias may be null (zero). The affine norm. out may equal x.
  void (*scale_shift)(const float* x, const float* weight, const float* bias, size_t n, float* out);

  // out[i] = number i of those at x, which are of `format`, as float32; they must be finite. Any
  // alignment.
  void (*expand)(const void* x, WeightFormat format, size_t n, float* out);

  // out[i] = fma(x[i], scale, bias ? bias[i] : 0). The embedding. out may equal x.
  void (*scale_add)(const float* x, float scale, const float* bias, size_t n, float* out);

  // x[i] = x[i] / divisor, as a true division gives it.
  void (*divide)(float* x, float divisor, size_t n);
};

// The sets that this build has and this processor can run, best first; the last is always "portable".
absl::Span<const KernelSet* const> AvailableKernelSets();

// The set called `name`; "" or "auto" for the best. INVALID_ARGUMENT lists the known names if it is unknown,
// FAILED_PRECONDITION those that this processor runs if it is known but not among them. "avx3" is taken for
// "avx512".
absl::StatusOr<const KernelSet*> SelectKernelSet(std::string_view name);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_KERNEL_SET_H_
