#include "core/kernels/native_dot.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/kernels/low_precision.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics begin with a variable that is meant to be undefined (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
// For each function that uses them: the file's other code must run anywhere.
#define SPLINESERVE_DOT \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma")))
#endif

namespace splineserve {

#if defined(__x86_64__)
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kTileRows = 6;

struct Arguments {
  const LowPrecisionRows& x;
  const LowPrecisionView& w;
  const float* bias;
  float* out;
  size_t out_stride;
};

// A type of its own for each sum: casts between them in the loop make GCC 12 store every one at every step,
// which halves the speed.
template <bool kInt8>
struct Sum {
  using Vector = __m512;
};
template <>
struct Sum<true> {
  typedef int Vector __attribute__((vector_size(64)));  // not __m512i, which GCC takes for 64-bit numbers
};

// The microkernel of simd_product-inl.h with words for numbers: R rows, V vectors of one panel.
template <bool kInt8, size_t R, size_t V>
SPLINESERVE_DOT void Tile(const Arguments& a, size_t first_row, const uint32_t* words, size_t column,
                          size_t columns, const char* ahead, size_t ahead_step) {
  typename Sum<kInt8>::Vector acc[R][V];
#pragma GCC unroll 6
  for (size_t r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (size_t v = 0; v < V; ++v) acc[r][v] = typename Sum<kInt8>::Vector{};
  }
  const uint32_t* row[R];
#pragma GCC unroll 6
  for (size_t r = 0; r < R; ++r) row[r] = a.x.words + (first_row + r) * a.x.stride;
  const size_t inner = a.w.inner_words, step = a.w.panel_width;
  for (size_t k = 0; k < inner; ++k, words += step, ahead += ahead_step) {
    __builtin_prefetch(ahead, 0, 2);
    __builtin_prefetch(ahead + 64, 0, 2);
    __m512i weight[V];
#pragma GCC unroll 4
    for (size_t v = 0; v < V; ++v) weight[v] = _mm512_load_si512(words + v * kLanes);
#pragma GCC unroll 6
    for (size_t r = 0; r < R; ++r) {
      const __m512i number = _mm512_set1_epi32(static_cast<int32_t>(row[r][k]));
#pragma GCC unroll 4
      for (size_t v = 0; v < V; ++v) {
        if constexpr (kInt8) {
          acc[r][v] = (typename Sum<true>::Vector)_mm512_dpbusd_epi32((__m512i)acc[r][v], number, weight[v]);
        } else {
          acc[r][v] = _mm512_dpbf16_ps(acc[r][v], (__m512bh)number, (__m512bh)weight[v]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (size_t v = 0; v < V; ++v) {
    const size_t n = column + v * kLanes;
    const auto mask = static_cast<__mmask16>((1u << std::min(kLanes, columns - v * kLanes)) - 1);
    const __m512 shift = a.bias == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, a.bias + n);
    __m512 scales = _mm512_setzero_ps();
    __m512i sums = _mm512_setzero_si512();
    if constexpr (kInt8) {
      scales = _mm512_maskz_loadu_ps(mask, a.w.scales + n);
      // The inputs' bytes are 128 too large each.
      sums = _mm512_slli_epi32(_mm512_maskz_loadu_epi32(mask, a.w.sums + n), 7);
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < R; ++r) {
      __m512 number;
      if constexpr (kInt8) {
        const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(a.x.scales[first_row + r]), scales);
        number =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32((__m512i)acc[r][v], sums)), scale, shift);
      } else {
        number = _mm512_add_ps(acc[r][v], shift);
      }
      _mm512_mask_storeu_ps(a.out + (first_row + r) * a.out_stride + n, mask, number);
    }
  }
}

template <bool kInt8, size_t R>
SPLINESERVE_DOT void Rows(const Arguments& a, size_t first_row, const uint32_t* words, size_t column,
                          size_t columns, const char* ahead, size_t ahead_step) {
  switch ((columns + kLanes - 1) / kLanes) {
    case 1:
      return Tile<kInt8, R, 1>(a, first_row, words, column, columns, ahead, ahead_step);
    case 2:
      return Tile<kInt8, R, 2>(a, first_row, words, column, columns, ahead, ahead_step);
    case 3:
      return Tile<kInt8, R, 3>(a, first_row, words, column, columns, ahead, ahead_step);
    default:
      return Tile<kInt8, R, 4>(a, first_row, words, column, columns, ahead, ahead_step);
  }
}

template <bool kInt8>
SPLINESERVE_DOT void Product(const Arguments& a, size_t rows) {
  const size_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (size_t column = 0; column < a.w.outer; column += a.w.panel_width) {
    const uint32_t* words = a.w.words + column / a.w.panel_width * a.w.panel_stride;
    const size_t columns = std::min(a.w.panel_width, a.w.outer - column);
    // As in simd_product-inl.h, every tile fetches its share of the panel that is next.
    const bool fetch = tiles > 1 && column + a.w.panel_width < a.w.outer;
    const size_t ahead_step = fetch ? (a.w.panel_width * sizeof(uint32_t) + tiles - 1) / tiles : 0;
    for (size_t t = 0, r = 0; t < tiles; ++t) {
      const size_t count = (rows - r + (tiles - t) - 1) / (tiles - t);
      const char* ahead = reinterpret_cast<const char*>(words + (fetch ? a.w.panel_stride : 0)) +
                          t * ahead_step * a.w.inner_words;
      switch (count) {
        case 1:
          Rows<kInt8, 1>(a, r, words, column, columns, ahead, ahead_step);
          break;
        case 2:
          Rows<kInt8, 2>(a, r, words, column, columns, ahead, ahead_step);
          break;
        case 3:
          Rows<kInt8, 3>(a, r, words, column, columns, ahead, ahead_step);
          break;
        case 4:
          Rows<kInt8, 4>(a, r, words, column, columns, ahead, ahead_step);
          break;
        case 5:
          Rows<kInt8, 5>(a, r, words, column, columns, ahead, ahead_step);
          break;
        default:
          Rows<kInt8, 6>(a, r, words, column, columns, ahead, ahead_step);
          break;
      }
      r += count;
    }
  }
}

// RoundRow's bfloat16, 32 numbers at a time: the same bits but for subnormal numbers, which become zero.
SPLINESERVE_DOT void RoundToBfloat16(const float* x, size_t n, uint32_t* words) {
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    _mm512_storeu_si512(words + i / 2, (__m512i)pairs);
  }
  float scale;
  if (i < n) RoundRow(Precision::kBfloat16, x + i, n - i, words + i / 2, &scale);
}

// RoundRow's bytes, 16 at a time: the same bits. Scalar, rounding took an eighth of the time of a product.
SPLINESERVE_DOT void RoundToBytes(const float* x, size_t n, uint32_t* words, float* scale) {
  const size_t whole = n / kLanes * kLanes;
  __m512i largest = _mm512_setzero_si512();
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  const auto mask = static_cast<__mmask16>((1u << (n - whole)) - 1);
  for (size_t i = 0; i < whole; i += kLanes) {
    largest = _mm512_max_epi32(largest, _mm512_and_si512(_mm512_loadu_si512(x + i), magnitude));
  }
  largest = _mm512_max_epi32(largest, _mm512_and_si512(_mm512_maskz_loadu_epi32(mask, x + whole), magnitude));
  const float limit = std::bit_cast<float>(_mm512_reduce_max_epi32(largest));
  if (!(limit < std::numeric_limits<float>::infinity()))
    return RoundRow(Precision::kInt8, x, n, words, scale);
  *scale = limit / 127.0f;
  const __m512 inverse = _mm512_set1_ps(limit > 0 ? 127.0f / limit : 0.0f);
  const __m512 most = _mm512_set1_ps(127.0f), least = _mm512_set1_ps(-127.0f);
  const __m128i offset = _mm_set1_epi8(static_cast<char>(0x80));
  auto* bytes = reinterpret_cast<uint8_t*>(words);
  for (size_t i = 0; i < n; i += kLanes) {
    const auto lanes = i < whole ? static_cast<__mmask16>(0xFFFF) : mask;
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), inverse);
    // Nearest, ties to even: the default rounding.
    const __m512i q = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(scaled, least), most));
    _mm_mask_storeu_epi8(bytes + i, lanes, _mm_add_epi8(_mm512_cvtepi32_epi8(q), offset));
  }
}

void NativeRoundRow(Precision precision, const float* x, size_t n, uint32_t* words, float* scale) {
  if (precision != Precision::kBfloat16) return RoundToBytes(x, n, words, scale);
  *scale = 1;
  RoundToBfloat16(x, n, words);
}

void NativeProduct(const LowPrecisionRows& x, size_t rows, const LowPrecisionView& w, const float* bias,
                   float* out, size_t out_stride) {
  const Arguments a = {x, w, bias, out, out_stride};
  if (w.precision == Precision::kInt8) {
    Product<true>(a, rows);
  } else {
    Product<false>(a, rows);
  }
}

}  // namespace

KernelSet WithNativeDot(const KernelSet& set) {
  KernelSet native = set;
  if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni")) {
    native.low_precision_product = NativeProduct;
    native.round_row = NativeRoundRow;
  }
  return native;
}

#else

KernelSet WithNativeDot(const KernelSet& set) { return set; }

#endif

}  // namespace splineserve
