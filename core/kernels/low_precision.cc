#include "core/kernels/low_precision.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace splineserve {
namespace {

// Nearest, ties to even; NaN stays NaN (its low bits are dropped: keep one of the high ones set).
inline uint32_t RoundToBfloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40;
  return (bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded;
}

inline int32_t RoundToInt8(float x) {
  return static_cast<int32_t>(std::clamp(std::nearbyintf(x), -127.0f, 127.0f));
}

}  // namespace

LowPrecisionMatrix LowPrecisionMatrix::Round(const PackedMatrix& w, Precision precision) {
  const PackedView from = w.view();
  LowPrecisionMatrix out;
  out.precision_ = precision;
  out.inner_ = from.inner;
  out.outer_ = from.outer;
  out.panel_width_ = from.panel_width;
  const size_t words = WordsFor(precision, from.inner), per_word = NumbersPerWord(precision);
  out.panel_stride_ = words * from.panel_width;
  out.words_ = AlignedBuffer<uint32_t>(from.panels() * out.panel_stride_);
  if (precision == Precision::kInt8) {
    out.scales_ = AlignedBuffer<float>(from.outer);
    out.sums_ = AlignedBuffer<int32_t>(from.outer);
  }
  std::vector<float> column(from.inner);
  for (size_t n = 0; n < from.outer; ++n) {
    w.Column(n, column.data());
    uint32_t* const to = out.words_.data() + n / from.panel_width * out.panel_stride_ + n % from.panel_width;
    float largest = 0;
    for (size_t k = 0; k < from.inner && precision == Precision::kInt8; ++k) {
      largest = std::max(largest, std::abs(column[k]));
    }
    const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
    int32_t sum = 0;
    for (size_t k = 0; k < from.inner; ++k) {
      const float x = column[k];
      uint32_t& word = to[k / per_word * from.panel_width];
      if (precision == Precision::kInt8) {
        const int32_t q = RoundToInt8(x * inverse);
        sum += q;
        word |= static_cast<uint32_t>(static_cast<uint8_t>(q)) << (8 * (k % 4));
      } else {
        word |= RoundToBfloat16(x) << (16 * (k % 2));
      }
    }
    if (precision == Precision::kInt8) {
      out.scales_[n] = largest / 127.0f;
      out.sums_[n] = sum;
    }
  }
  return out;
}

void RoundRow(Precision precision, const float* x, size_t n, uint32_t* words, float* scale) {
  if (precision == Precision::kBfloat16) {
    *scale = 1;
    for (size_t i = 0; i < n / 2; ++i) {
      words[i] = RoundToBfloat16(x[2 * i]) | RoundToBfloat16(x[2 * i + 1]) << 16;
    }
    if (n % 2 != 0) words[n / 2] = RoundToBfloat16(x[n - 1]);
    return;
  }
  // As integers, so that the compiler may take the maximum in any order; infinity and NaN come out above all.
  int32_t largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, std::bit_cast<int32_t>(x[i]) & 0x7FFFFFFF);
  const float magnitude = std::bit_cast<float>(largest);
  const bool finite = std::isfinite(magnitude);
  *scale = finite ? magnitude / 127.0f : std::numeric_limits<float>::quiet_NaN();
  const float inverse = finite && magnitude > 0 ? 127.0f / magnitude : 0.0f;
  // Added to a number of at most 127, this leaves it rounded to the nearest integer in the lowest bits.
  constexpr float kRound = 0x1.8p23f;
  const auto byte = [&](float v) {
    const float scaled = finite ? std::clamp(v * inverse, -127.0f, 127.0f) : 0.0f;
    return (std::bit_cast<uint32_t>(scaled + kRound) + 128u) & 0xFFu;
  };
  for (size_t i = 0; i < n / 4; ++i) {
    words[i] = byte(x[4 * i]) | byte(x[4 * i + 1]) << 8 | byte(x[4 * i + 2]) << 16 | byte(x[4 * i + 3]) << 24;
  }
  if (n % 4 != 0) {
    uint32_t word = 0;
    for (size_t i = n / 4 * 4; i < n; ++i) word |= byte(x[i]) << (8 * (i % 4));
    words[n / 4] = word;  // spare weights are zero, so spare inputs may be anything
  }
}

}  // namespace splineserve
