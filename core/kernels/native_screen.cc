#include "core/kernels/native_screen.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/kernels/native_screen-inl.h"
#include "core/kernels/native_tiles.h"
#include "core/kernels/screen.h"

namespace splineserve {

#if defined(__x86_64__)
namespace {

constexpr size_t kLanes = kScreenLanes;

struct Tile {
  const ScreenedRows& x;
  const ScreenView& w;
  uint32_t* candidates;
  size_t stride;
  uint32_t* counts;
};

SPLINESERVE_SCREEN inline __m512i Widened(__m512i first, __m128i places) {
  return _mm512_add_epi32(first, _mm512_cvtepu8_epi32(places));
}

// Appends the columns that `open` picks of the panel that starts at `column`.
SPLINESERVE_SCREEN inline void Append(uint64_t open, size_t column, uint32_t* list) {
  // All 64 at once as bytes, widened 16 at a time: few panels have more candidates than that. A compression
  // for each vector of 16 takes three times as many instructions.
  const __m512i places =
      _mm512_maskz_compress_epi8(_cvtu64_mask64(open), _mm512_load_si512(kPanelPlaces.data()));
  const __m512i first = _mm512_set1_epi32(static_cast<int32_t>(column));
  _mm512_storeu_si512(list, Widened(first, _mm512_castsi512_si128(places)));
  const auto count = static_cast<size_t>(std::popcount(open));
  if (__builtin_expect(count <= kLanes, 1)) return;
  alignas(64) uint8_t bytes[64];
  _mm512_store_si512(bytes, places);
  for (size_t i = kLanes; i < count; i += kLanes) {
    _mm512_storeu_si512(list + i,
                        Widened(first, _mm_load_si128(reinterpret_cast<const __m128i*>(bytes + i))));
  }
}

// R rows of one panel.
template <size_t R>
SPLINESERVE_SCREEN void ScreenTile(const Tile& tile, size_t first_row, size_t panel, const char* ahead,
                                   size_t ahead_step) {
  uint64_t open[R];
  MayBeOpen<R>(tile.x, first_row, tile.w, panel, ahead, ahead_step, open);
#pragma GCC unroll 6
  for (size_t r = 0; r < R; ++r) {
    uint32_t& count = tile.counts[first_row + r];
    Append(open[r], panel * kScreenPanel, tile.candidates + (first_row + r) * tile.stride + count);
    count += static_cast<uint32_t>(std::popcount(open[r]));
  }
}

void Screen(const ScreenedRows& x, size_t rows, const ScreenView& w, const ScreenRange& range,
            uint32_t* candidates, size_t stride, uint32_t* counts) {
  const Tile tile = {x, w, candidates, stride, counts};
  std::fill_n(counts, rows, 0u);
  const size_t tiles = (rows + kScreenedTogether - 1) / kScreenedTogether;
  for (size_t p = range.first_panel; p < range.first_panel + range.panels; ++p) {
    // As in simd_product-inl.h, every tile fetches its share of the panel that is next; a prefetch cannot
    // fault. One tile alone is as fast as the memory.
    const size_t step = tiles < 2 ? 0 : (kScreenPanel * sizeof(uint32_t) + tiles - 1) / tiles;
    const char* ahead = reinterpret_cast<const char*>(w.words + (p + (tiles < 2 ? 0 : 1)) * w.panel_stride);
    for (size_t t = 0, r = 0; t < tiles; ++t, ahead += step * w.inner_words) {
      const size_t count = (rows - r + (tiles - t) - 1) / (tiles - t);
      switch (count) {
        case 1:
          ScreenTile<1>(tile, r, p, ahead, step);
          break;
        case 2:
          ScreenTile<2>(tile, r, p, ahead, step);
          break;
        case 3:
          ScreenTile<3>(tile, r, p, ahead, step);
          break;
        case 4:
          ScreenTile<4>(tile, r, p, ahead, step);
          break;
        case 5:
          ScreenTile<5>(tile, r, p, ahead, step);
          break;
        default:
          ScreenTile<6>(tile, r, p, ahead, step);
          break;
      }
      r += count;
    }
  }
}

// RoundToBytes of native_dot.cc with the lengths of the row and of what rounding leaves.
SPLINESERVE_SCREEN void ScreenRow(const float* x, size_t n, uint32_t* words, ScreenedRow* row) {
  const auto lanes_from = [n](size_t i) {
    return static_cast<__mmask16>(n - i >= kLanes ? 0xFFFF : (1u << (n - i)) - 1);
  };
  __m512i largest = _mm512_setzero_si512();
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  for (size_t i = 0; i < n; i += kLanes) {
    largest = _mm512_max_epi32(largest,
                               _mm512_and_si512(_mm512_maskz_loadu_epi32(lanes_from(i), x + i), magnitude));
  }
  const float limit = std::bit_cast<float>(_mm512_reduce_max_epi32(largest));
  *row = {0, std::numeric_limits<float>::infinity(), 0};
  if (!(limit >= kLeastScreened && limit <= kMostScreened)) return;  // NaN too
  const __m512 inverse = _mm512_set1_ps(127.0f / limit);
  const __m512 most = _mm512_set1_ps(127.0f), least = _mm512_set1_ps(-127.0f);
  const __m128i offset = _mm_set1_epi8(static_cast<char>(0x80));
  __m512 length = _mm512_setzero_ps(), error = _mm512_setzero_ps();
  auto* bytes = reinterpret_cast<uint8_t*>(words);
  for (size_t i = 0; i < n; i += kLanes) {
    const __mmask16 lanes = lanes_from(i);
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), inverse);
    const __m512i q = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(scaled, least), most));
    const __m512 rest = _mm512_sub_ps(scaled, _mm512_cvtepi32_ps(q));
    length = _mm512_fmadd_ps(scaled, scaled, length);
    error = _mm512_fmadd_ps(rest, rest, error);
    const __m128i rounded = _mm_add_epi8(_mm512_cvtepi32_epi8(q), offset);
    // Masked stores of bytes are microcoded on Zen 4: of 64 numbers they took half of the time.
    if (lanes == 0xFFFF) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + i), rounded);
    } else {
      _mm_mask_storeu_epi8(bytes + i, lanes, rounded);
    }
  }
  row->scale = limit / 127.0f;
  // Each lane summed n / 16 squares; and `scaled` is x / scale but for 2^-22 of its at most 127.
  const double count = static_cast<double>(n);
  const double slack = 1 + (count / 16 + 64) * 0x1p-23;
  const double rest = std::sqrt(static_cast<double>(_mm512_reduce_add_ps(error))) + std::sqrt(count) * 4e-5;
  row->length =
      static_cast<float>(row->scale * std::sqrt(static_cast<double>(_mm512_reduce_add_ps(length))) * slack);
  row->error = static_cast<float>(row->scale * rest * slack);
}

SPLINESERVE_SCREEN inline __m256 HalvesAdded(__m512 x) {
  return _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
}

// The sums of 16 lanes of each of four.
SPLINESERVE_SCREEN inline __m128 SumsOf(const __m512* x) {
  const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(HalvesAdded(x[0]), HalvesAdded(x[1])),
                                     _mm256_hadd_ps(HalvesAdded(x[2]), HalvesAdded(x[3])));
  return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}

// Eight columns at a time: so many sums hide the latency of the multiply-add, and share the loads of x.
SPLINESERVE_SCREEN size_t Narrow(const float* x, float length, const ScreenView& w, uint32_t* chosen,
                                 size_t count) {
  constexpr size_t kColumns = 8;
  const size_t whole = w.inner / kLanes * kLanes;
  const auto rest = static_cast<__mmask16>((1u << (w.inner - whole)) - 1);
  size_t kept = 0;
  for (size_t i = 0; i < count; i += kColumns) {
    const auto columns = static_cast<__mmask8>(count - i < kColumns ? (1u << (count - i)) - 1 : 0xFF);
    // Missing ones are column 0.
    const __m256i places = _mm256_maskz_loadu_epi32(columns, chosen + i);
    alignas(32) uint32_t place[kColumns];
    _mm256_store_si256(reinterpret_cast<__m256i*>(place), places);
    const float* column[kColumns];
    __m512 sum[kColumns];
#pragma GCC unroll 8
    for (size_t c = 0; c < kColumns; ++c) {
      column[c] = w.columns + place[c] * w.column_stride;
      sum[c] = _mm512_setzero_ps();
    }
    for (size_t k = 0; k < whole; k += kLanes) {
      const __m512 inputs = _mm512_loadu_ps(x + k);
#pragma GCC unroll 8
      for (size_t c = 0; c < kColumns; ++c) {
        sum[c] = _mm512_fmadd_ps(inputs, _mm512_load_ps(column[c] + k), sum[c]);
      }
    }
    if (rest != 0) {
      const __m512 inputs = _mm512_maskz_loadu_ps(rest, x + whole);
#pragma GCC unroll 8
      for (size_t c = 0; c < kColumns; ++c) {
        sum[c] = _mm512_fmadd_ps(inputs, _mm512_load_ps(column[c] + whole), sum[c]);
      }
    }
    const __m256 sums = _mm256_insertf128_ps(_mm256_castps128_ps256(SumsOf(sum)), SumsOf(sum + 4), 1);
    const __m256 biases = _mm256_i32gather_ps(w.biases, places, 4);
    const __m256 roundings = _mm256_i32gather_ps(w.roundings, places, 4);
    const __m256 bound = _mm256_add_ps(sums, _mm256_fmadd_ps(_mm256_set1_ps(length), roundings, biases));
    const __mmask8 stay = _mm256_mask_cmp_ps_mask(columns, bound, _mm256_setzero_ps(), _CMP_NLE_UQ);
    const auto number = static_cast<unsigned>(std::popcount(static_cast<unsigned>(stay)));
    // Compressed in a register, then stored: compressing stores are microcoded on Zen 4.
    _mm256_mask_storeu_epi32(chosen + kept, static_cast<__mmask8>((1u << number) - 1),
                             _mm256_maskz_compress_epi32(stay, places));
    kept += number;
  }
  return kept;
}

// Chains of 16 columns at a time: every chain goes through k by itself, so four k of sixteen columns are
// transposed in registers. Columns 4 l + i, l < 4, of part i lie in 128-bit lane l.
struct Columns16 {
  const float* at[kLanes];
};

SPLINESERVE_SCREEN inline __m512 PartOf(const Columns16& w, size_t i, size_t k) {
  // Blends while loading: inserts would need the one port that shuffles.
  __m512 part = _mm512_castps128_ps512(_mm_load_ps(w.at[i] + k));
  part = _mm512_mask_broadcast_f32x4(part, 0x00F0, _mm_load_ps(w.at[4 + i] + k));
  part = _mm512_mask_broadcast_f32x4(part, 0x0F00, _mm_load_ps(w.at[8 + i] + k));
  return _mm512_mask_broadcast_f32x4(part, 0xF000, _mm_load_ps(w.at[12 + i] + k));
}

SPLINESERVE_SCREEN inline __m512 FourSteps(const Columns16& w, size_t k, const float* x, __m512 chain) {
  const __m512 a = PartOf(w, 0, k), b = PartOf(w, 1, k), c = PartOf(w, 2, k), d = PartOf(w, 3, k);
  const __m512d ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
  const __m512d ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
  const __m512d cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
  const __m512d cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
  const __m512d terms[4] = {_mm512_unpacklo_pd(ab_low, cd_low), _mm512_unpackhi_pd(ab_low, cd_low),
                            _mm512_unpacklo_pd(ab_high, cd_high), _mm512_unpackhi_pd(ab_high, cd_high)};
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    chain = _mm512_fmadd_ps(_mm512_set1_ps(x[i]), _mm512_castpd_ps(terms[i]), chain);
  }
  return chain;
}

// G groups of 16 side by side, 16 k of one after 16 k of the other: one chain alone waits 4 cycles for every
// multiply-add. 512-long chains take 0.19 to 0.22 cycles a term with two groups, 0.26 with one. The last
// group may be short: its other lanes are column 0.
template <size_t G>
SPLINESERVE_SCREEN void ChosenGroups(const float* x, const ScreenView& w, const float* bias,
                                     const uint32_t* chosen, size_t count, float* out) {
  Columns16 columns[G];
  __m512 chain[G];
  __mmask16 lanes[G];
#pragma GCC unroll 2
  for (size_t g = 0; g < G; ++g) {
    const size_t left = count - g * kLanes;
    lanes[g] = static_cast<__mmask16>(left < kLanes ? (1u << left) - 1 : 0xFFFF);
    const __m512i places = _mm512_maskz_loadu_epi32(lanes[g], chosen + g * kLanes);
    chain[g] = bias == nullptr ? _mm512_setzero_ps() : _mm512_i32gather_ps(places, bias, 4);
    alignas(64) uint32_t place[kLanes];
    _mm512_store_si512(place, places);
    for (size_t i = 0; i < kLanes; ++i) columns[g].at[i] = w.columns + place[i] * w.column_stride;
  }
  const size_t whole = w.inner / kLanes * kLanes;
  for (size_t k = 0; k < whole; k += kLanes) {
#pragma GCC unroll 2
    for (size_t g = 0; g < G; ++g) {
#pragma GCC unroll 4
      for (size_t i = 0; i < kLanes; i += 4) chain[g] = FourSteps(columns[g], k + i, x + k + i, chain[g]);
    }
  }
  if (whole < w.inner) {
    // Columns are zero from w.inner on, so that these inputs add nothing.
    float rest[kLanes] = {};
    std::copy(x + whole, x + w.inner, rest);
#pragma GCC unroll 2
    for (size_t g = 0; g < G; ++g) {
      for (size_t i = 0; i < w.inner - whole; i += 4) {
        chain[g] = FourSteps(columns[g], whole + i, rest + i, chain[g]);
      }
    }
  }
#pragma GCC unroll 2
  for (size_t g = 0; g < G; ++g) _mm512_mask_storeu_ps(out + g * kLanes, lanes[g], chain[g]);
}

void ChosenProduct(const float* x, const ScreenView& w, const float* bias, const uint32_t* chosen,
                   size_t count, float* out) {
  size_t i = 0;
  for (; count - i > kLanes; i += std::min(count - i, 2 * kLanes)) {
    ChosenGroups<2>(x, w, bias, chosen + i, std::min(count - i, 2 * kLanes), out + i);
  }
  if (i < count) ChosenGroups<1>(x, w, bias, chosen + i, count - i, out + i);
}

}  // namespace

KernelSet WithNativeScreen(const KernelSet& set) {
  KernelSet native = set;
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi2")) {
    native.fast_screen = true;
    native.screen_row = ScreenRow;
    native.screen = Screen;
    native.narrow = Narrow;
    native.chosen_product = ChosenProduct;
    SetNativeTiles(&native);
  }
  return native;
}

#else

KernelSet WithNativeScreen(const KernelSet& set) { return set; }

#endif

}  // namespace splineserve
