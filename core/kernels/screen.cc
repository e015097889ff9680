#include "core/kernels/screen.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace splineserve {
namespace {

// The same of the largest weight of a column.
constexpr float kLeastWeight = kLeastScreened, kMostWeight = kMostScreened;
// Far enough below the largest float for chains that start there not to overflow.
constexpr double kMostBias = 1e37;
// What underflows of a chain and of the bound, at most, many times over.
constexpr double kUnderflow = 1e-33;
static_assert(kZeroBias > kUnderflow);
constexpr double kUnit = 0x1p-23;

size_t RoundUp(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Not below x.
float Up(double x) {
  const auto rounded = static_cast<float>(x * (1 + 1e-6));
  return std::nextafterf(rounded, std::numeric_limits<float>::infinity());
}

struct Column {
  float scale = 0, error = 0, length = 0, rounding = 0;
  int32_t sum = 0;
};

// Bytes of one column to `words`, `step` words apart, which hold zeros. False if it cannot be screened.
bool RoundColumn(const float* w, size_t inner, uint32_t* words, size_t step, Column& column) {
  float largest = 0;
  bool numbers = true;
  for (size_t k = 0; k < inner; ++k) {
    largest = std::max(largest, std::abs(w[k]));
    numbers = numbers && w[k] == w[k];
  }
  if (!numbers) return false;
  if (largest == 0) return true;
  if (!(largest >= kLeastWeight && largest <= kMostWeight)) return false;
  column.scale = largest / 127.0f;
  const float inverse = 127.0f / largest;
  double error = 0, rounded = 0, exact = 0;
  for (size_t k = 0; k < inner; ++k) {
    const int32_t q = std::clamp(static_cast<int32_t>(std::lrintf(w[k] * inverse)), -127, 127);
    column.sum += q;
    words[k / 4 * step] |= static_cast<uint32_t>(static_cast<uint8_t>(q)) << (8 * (k % 4));
    // Products of 24 and 8 bits: exact.
    const double back = static_cast<double>(column.scale) * q;
    const double rest = w[k] - back;
    error += rest * rest;
    rounded += back * back;
    exact += static_cast<double>(w[k]) * w[k];
  }
  const double rounding = (2 * static_cast<double>(inner) + 16) * kUnit;
  column.rounding = Up(rounding * (std::sqrt(exact) + std::sqrt(rounded)));
  column.error = Up(std::sqrt(error) + column.rounding);
  column.length = Up(std::sqrt(rounded) * (1 + 1e-5));
  return true;
}

// Whether the bound of row r and column n lies above zero.
bool MayBeOpen(const ScreenedRows& x, size_t r, const ScreenView& w, size_t n) {
  const ScreenedRow& row = x.rows[r];
  const uint32_t* words = w.words + n / kScreenPanel * w.panel_stride + n % kScreenPanel;
  int32_t dot = -128 * w.sums[n];
  for (size_t k = 0; k < w.inner_words; ++k, words += kScreenPanel) {
    for (size_t byte = 0; byte < 4; ++byte) {
      const auto q_w = static_cast<int8_t>(*words >> (8 * byte));
      dot += q_w * static_cast<int32_t>((x.words[r * x.stride + k] >> (8 * byte)) & 0xFFu);
    }
  }
  const float rest = row.length * w.errors[n] + (row.error * w.lengths[n] + w.biases[n]);
  return !(static_cast<float>(dot) * w.scales[n] * row.scale + rest <= 0);
}

}  // namespace

size_t ScreenedMatrix::Bytes(size_t inner, size_t outer, Columns columns) {
  const size_t padded = RoundUp(outer, kScreenPanel);
  const size_t exact = columns == Columns::kNone ? 0 : outer * RoundUp(inner, kLaneBlock) * sizeof(float);
  return exact + padded * RoundUp(inner, 4) + 7 * padded * sizeof(float);
}

ScreenedMatrix ScreenedMatrix::Make(const PackedMatrix& w, const float* bias, Columns columns) {
  if (w.inner() > kLongestScreened) return ScreenedMatrix();
  ScreenedMatrix made;
  ScreenView& view = made.view_;
  const size_t inner = w.inner(), padded = RoundUp(w.outer(), kScreenPanel);
  const bool kept = columns == Columns::kAll;
  view.inner = inner;
  view.column_stride = RoundUp(inner, kLaneBlock);
  view.inner_words = (inner + 3) / 4;
  view.panel_stride = view.inner_words * kScreenPanel;
  // One column after another in the same place, unless they are kept.
  AlignedBuffer<float> exact_columns((kept ? w.outer() : 1) * view.column_stride);
  made.words_ = AlignedBuffer<uint32_t>(padded / kScreenPanel * view.panel_stride);
  made.sums_ = AlignedBuffer<int32_t>(padded);
  made.per_column_ = AlignedBuffer<float>(6 * padded);
  float* const scales = made.per_column_.data();
  float* const errors = scales + padded;
  float* const lengths = errors + padded;
  float* const roundings = lengths + padded;
  float* const biases = roundings + padded;
  float* const starts = biases + padded;
  std::fill_n(biases, padded, -1.0f);

  double largest_bias = 0;
  for (size_t n = 0; n < w.outer(); ++n) {
    float* const exact = exact_columns.data() + (kept ? n : 0) * view.column_stride;
    w.Column(n, exact);
    uint32_t* const words = made.words_.data() + n / kScreenPanel * view.panel_stride + n % kScreenPanel;
    Column column;
    if (!RoundColumn(exact, inner, words, kScreenPanel, column)) return ScreenedMatrix();
    made.sums_[n] = column.sum;
    scales[n] = column.scale;
    errors[n] = column.error;
    lengths[n] = column.length;
    roundings[n] = column.rounding;
    starts[n] = bias == nullptr ? 0.0f : bias[n];
    const double b = starts[n];
    const double raised = b + (static_cast<double>(inner) + 16) * kUnit * std::abs(b) + kUnderflow;
    biases[n] = std::nextafterf(static_cast<float>(raised), std::numeric_limits<float>::infinity());
    largest_bias = std::max(largest_bias, std::abs(b));
  }
  if (!(largest_bias < kMostBias)) return ScreenedMatrix();
  if (kept) {
    made.columns_ = std::move(exact_columns);
    view.columns = made.columns_.data();
  }
  view.words = made.words_.data();
  view.sums = made.sums_.data();
  view.scales = scales;
  view.errors = errors;
  view.lengths = lengths;
  view.roundings = roundings;
  view.biases = biases;
  view.starts = starts;
  view.outer = w.outer();
  return made;
}

void PlainScreenRow(const float* x, size_t n, uint32_t* words, ScreenedRow* row) {
  float largest = 0;
  bool numbers = true;
  for (size_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::abs(x[i]));
    numbers = numbers && x[i] == x[i];
  }
  *row = {0, std::numeric_limits<float>::infinity(), 0};
  if (!numbers || !(largest >= kLeastScreened && largest <= kMostScreened)) return;
  const float inverse = 127.0f / largest;
  std::fill_n(words, (n + 3) / 4, 0u);
  // In double, of what the bytes stand for: x / scale.
  double length = 0, error = 0;
  row->scale = largest / 127.0f;
  for (size_t i = 0; i < n; ++i) {
    const int32_t q = std::clamp(static_cast<int32_t>(std::lrintf(x[i] * inverse)), -127, 127);
    words[i / 4] |= (static_cast<uint32_t>(q + 128) & 0xFFu) << (8 * (i % 4));
    const double scaled = static_cast<double>(x[i]) / row->scale;
    length += scaled * scaled;
    error += (scaled - q) * (scaled - q);
  }
  row->length = Up(row->scale * std::sqrt(length));
  row->error = Up(row->scale * std::sqrt(error));
}

void PlainScreen(const ScreenedRows& x, size_t rows, const ScreenView& w, const ScreenRange& range,
                 uint32_t* candidates, size_t stride, uint32_t* counts) {
  for (size_t r = 0; r < rows; ++r) {
    counts[r] = 0;
    const size_t first = range.first_panel * kScreenPanel;
    for (size_t n = first; n < std::min(w.outer, first + range.panels * kScreenPanel); ++n) {
      if (MayBeOpen(x, r, w, n)) candidates[r * stride + counts[r]++] = static_cast<uint32_t>(n);
    }
  }
}

size_t PlainScreenTiles(const ScreenedRows& x, size_t rows, const ScreenView& w, size_t panel,
                        uint16_t* candidates, size_t begin, CandidateTile* left, CandidateTile* right) {
  size_t end = begin;
  size_t first = panel * kScreenPanel;
  for (CandidateTile* const tile : {left, right}) {
    tile->begin = static_cast<uint32_t>(end);
    for (size_t r = 0; r < kCandidateRows; ++r) {
      tile->row[r] = static_cast<uint16_t>(end - tile->begin);
      for (size_t c = 0; r < rows && c < kCandidateColumns && first + c < w.outer; ++c) {
        if (!MayBeOpen(x, r, w, first + c)) continue;
        candidates[end++] = static_cast<uint16_t>(r * kCandidateColumns + c);
      }
    }
    tile->row[kCandidateRows] = static_cast<uint16_t>(end - tile->begin);
    end = RoundUp(end, kLaneBlock);
    first += kCandidateColumns;
  }
  return end;
}

void PlainTileChains(const TileOperands& operands, const uint16_t* candidates, size_t count, float* numbers) {
  for (size_t i = 0; i < count; ++i) {
    const size_t r = candidates[i] / kCandidateColumns, n = candidates[i] % kCandidateColumns;
    float chain = operands.starts == nullptr ? numbers[i] : operands.starts[n];
    for (size_t k = 0; k < operands.inner; ++k) {
      const float weight = NumberAt(operands.format, operands.w, k * kScreenPanel + n);
      chain = std::fma(operands.x[k * kCandidateRows + r], weight, chain);
    }
    numbers[i] = chain;
  }
}

size_t PlainListTiles(const CandidateTile* tiles, size_t stride, size_t count, size_t row,
                      const uint16_t* candidates, const float* numbers, float scale, bool square,
                      uint32_t column, uint32_t* index, float* value) {
  size_t open = 0;
  for (size_t t = 0; t < count; ++t, column += kCandidateColumns) {
    const CandidateTile& tile = tiles[t * stride];
    for (size_t i = tile.begin + tile.row[row]; i < tile.begin + tile.row[row + 1]; ++i) {
      const float number = scale * numbers[i];
      if (!(number > 0)) continue;
      index[open] = column + candidates[i] % kCandidateColumns;
      value[open++] = square ? number * number : number;
    }
  }
  return open;
}

bool PlainScreenColumns(const float* panel, size_t inner, size_t columns, const ScreenPanel& out) {
  const size_t inner_words = (inner + 3) / 4;
  std::fill_n(out.words, inner_words * kScreenPanel, 0u);
  std::vector<float> w(inner);
  for (size_t n = 0; n < kScreenPanel; ++n) {
    Column column;
    if (n < columns) {
      for (size_t k = 0; k < inner; ++k) w[k] = panel[k * kScreenPanel + n];
      if (!RoundColumn(w.data(), inner, out.words + n, kScreenPanel, column)) return false;
    }
    out.sums[n] = column.sum;
    out.scales[n] = column.scale;
    out.errors[n] = column.error;
    out.lengths[n] = column.length;
    out.biases[n] = n < columns ? kZeroBias : -1.0f;
  }
  return true;
}

size_t PlainNarrow(const float* x, float length, const ScreenView& w, uint32_t* chosen, size_t count) {
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t n = chosen[i];
    const float* const column = w.columns + n * w.column_stride;
    float sum = 0;
    for (size_t k = 0; k < w.inner; ++k) sum += x[k] * column[k];
    chosen[kept] = n;
    kept += sum + (w.biases[n] + length * w.roundings[n]) <= 0 ? 0 : 1;
  }
  return kept;
}

void PlainChosenProduct(const float* x, const ScreenView& w, const float* bias, const uint32_t* chosen,
                        size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const float* const column = w.columns + chosen[i] * w.column_stride;
    float chain = bias == nullptr ? 0.0f : bias[chosen[i]];
    for (size_t k = 0; k < w.inner; ++k) chain = std::fma(x[k], column[k], chain);
    out[i] = chain;
  }
}

}  // namespace splineserve
