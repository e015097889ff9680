// Private to core/kernels: the microkernel of screening, with the processor's own products of bytes (AVX-512
// VNNI). Included by native_screen.cc and native_tiles.cc.
#ifndef SPLINESERVE_CORE_KERNELS_NATIVE_SCREEN_INL_H_
#define SPLINESERVE_CORE_KERNELS_NATIVE_SCREEN_INL_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/kernels/screen.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics begin with a variable that is meant to be undefined (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
// For each function that uses them: the file's other code must run anywhere.
#define SPLINESERVE_SCREEN \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi2,fma")))

namespace splineserve {

inline constexpr size_t kScreenLanes = 16;
inline constexpr size_t kScreenedTogether = 6;  // rows
inline constexpr size_t kScreenVectors = kScreenPanel / kScreenLanes;

// 0 to 63: compressed by a mask, the places of its bits.
alignas(64) inline constexpr std::array<uint8_t, kScreenPanel> kPanelPlaces = [] {
  std::array<uint8_t, kScreenPanel> places = {};
  for (size_t i = 0; i < kScreenPanel; ++i) places[i] = static_cast<uint8_t>(i);
  return places;
}();

// A type of its own for sums of integers, not __m512i, which GCC takes for 64-bit numbers and then stores at
// every step.
typedef int Integers __attribute__((vector_size(64)));

// Says of R rows which columns of one panel may be open: bit n of open[r] is that of the panel's column n.
// The microkernel of native_dot.cc, whose end asks whether the upper bound is above zero; it prefetches
// `ahead_step` bytes at a time.
template <size_t R>
SPLINESERVE_SCREEN inline void MayBeOpen(const ScreenedRows& x, size_t first_row, const ScreenView& w,
                                         size_t panel, const char* ahead, size_t ahead_step, uint64_t* open) {
  const size_t column = panel * kScreenPanel;
  Integers dot[R][kScreenVectors];
#pragma GCC unroll 4
  for (size_t v = 0; v < kScreenVectors; ++v) {
    // The inputs' bytes are 128 too large each.
    const auto start = -128 * (Integers)_mm512_loadu_si512(w.sums + column + v * kScreenLanes);
#pragma GCC unroll 6
    for (size_t r = 0; r < R; ++r) dot[r][v] = start;
  }
  const uint32_t* words = w.words + panel * w.panel_stride;
  const uint32_t* row[R];
#pragma GCC unroll 6
  for (size_t r = 0; r < R; ++r) row[r] = x.words + (first_row + r) * x.stride;
  const size_t inner = w.inner_words;
  for (size_t k = 0; k < inner; ++k, words += kScreenPanel, ahead += ahead_step) {
    __builtin_prefetch(ahead, 0, 2);
    __m512i weight[kScreenVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kScreenVectors; ++v) weight[v] = _mm512_load_si512(words + v * kScreenLanes);
#pragma GCC unroll 6
    for (size_t r = 0; r < R; ++r) {
      const __m512i number = _mm512_set1_epi32(static_cast<int32_t>(row[r][k]));
#pragma GCC unroll 4
      for (size_t v = 0; v < kScreenVectors; ++v) {
        dot[r][v] = (Integers)_mm512_dpbusd_epi32((__m512i)dot[r][v], number, weight[v]);
      }
    }
  }
#pragma GCC unroll 6
  for (size_t r = 0; r < R; ++r) open[r] = 0;
#pragma GCC unroll 4
  for (size_t v = 0; v < kScreenVectors; ++v) {
    const size_t n = column + v * kScreenLanes;
    const __m512 scales = _mm512_loadu_ps(w.scales + n), errors = _mm512_loadu_ps(w.errors + n);
    const __m512 lengths = _mm512_loadu_ps(w.lengths + n), biases = _mm512_loadu_ps(w.biases + n);
#pragma GCC unroll 6
    for (size_t r = 0; r < R; ++r) {
      const ScreenedRow& rounded = x.rows[first_row + r];
      const __m512 rest = _mm512_fmadd_ps(_mm512_set1_ps(rounded.length), errors,
                                          _mm512_fmadd_ps(_mm512_set1_ps(rounded.error), lengths, biases));
      const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)dot[r][v]), scales);
      const __m512 bound = _mm512_fmadd_ps(product, _mm512_set1_ps(rounded.scale), rest);
      const __mmask16 mask = _mm512_cmp_ps_mask(bound, _mm512_setzero_ps(), _CMP_NLE_UQ);
      open[r] |= static_cast<uint64_t>(mask) << (v * kScreenLanes);
    }
  }
}

}  // namespace splineserve

#endif

#endif  // SPLINESERVE_CORE_KERNELS_NATIVE_SCREEN_INL_H_
