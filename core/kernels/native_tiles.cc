#include "core/kernels/native_tiles.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/kernels/native_screen-inl.h"
#include "core/kernels/screen.h"

#if defined(__x86_64__)

namespace splineserve {
namespace {

static_assert(kCandidateRows == kScreenLanes && kCandidateColumns == 2 * kScreenLanes);

// Lists the columns of rows that `open` picks, 32 bits of each from bit `shift` on, and returns the end.
SPLINESERVE_SCREEN size_t ListCandidates(const uint64_t* open, size_t rows, unsigned shift,
                                         uint16_t* candidates, size_t begin, CandidateTile* tile) {
  const __m256i places = _mm256_load_si256(reinterpret_cast<const __m256i*>(kPanelPlaces.data()));
  size_t count = 0;
  tile->begin = static_cast<uint32_t>(begin);
  for (size_t r = 0; r < rows; ++r) {
    tile->row[r] = static_cast<uint16_t>(count);
    const auto mask = static_cast<uint32_t>(open[r] >> shift);
    const __m512i columns = _mm512_cvtepu8_epi16(_mm256_maskz_compress_epi8(mask, places));
    const __m512i row = _mm512_set1_epi16(static_cast<int16_t>(r * kCandidateColumns));
    _mm512_storeu_si512(candidates + begin + count, _mm512_or_si512(columns, row));
    count += static_cast<size_t>(std::popcount(mask));
  }
  std::fill(tile->row.begin() + static_cast<ptrdiff_t>(rows), tile->row.end(), static_cast<uint16_t>(count));
  return begin + (count + kLaneBlock - 1) / kLaneBlock * kLaneBlock;
}

// Where the weights of 32 columns lie, as one permutation reads them.
struct Weights32 {
  __m512 first, second;
};
SPLINESERVE_SCREEN inline Weights32 Weights32Of(const float* w) {
  return {_mm512_load_ps(w), _mm512_load_ps(w + kScreenLanes)};
}
SPLINESERVE_SCREEN inline __m512 Picked(const Weights32& w, __m512i places) {
  return _mm512_permutex2var_ps(w.first, places, w.second);
}

template <WeightFormat kFormat>
SPLINESERVE_SCREEN inline Weights32 Expanded(const uint16_t* w) {
  const __m256i first = _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
  const __m256i second = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + kScreenLanes));
  if constexpr (kFormat == WeightFormat::kFloat16) {
    return {_mm512_cvtph_ps(first), _mm512_cvtph_ps(second)};
  } else {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(first), 16)),
            _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16))};
  }
}
template <WeightFormat kFormat>
SPLINESERVE_SCREEN inline Weights32 WeightsAt(const void* w, size_t k) {
  if constexpr (kFormat == WeightFormat::kFloat32) {
    return Weights32Of(static_cast<const float*>(w) + k * kScreenPanel);
  } else {
    return Expanded<kFormat>(static_cast<const uint16_t*>(w) + k * kScreenPanel);
  }
}

// G groups of 16 chains. Each step is two permutations and a multiply-add, which take 2.3 cycles on a Zen 4;
// with rows from two registers, too, they take 3.
template <size_t G, WeightFormat kFormat>
SPLINESERVE_SCREEN void Groups(const TileOperands& operands, const uint16_t* candidates, float* numbers) {
  // Permutations look at the lowest bits only: those of the column of what a candidate is.
  __m512i columns[G], rows[G];
  __m512 chain[G];
#pragma GCC unroll 8
  for (size_t g = 0; g < G; ++g) {
    columns[g] = _mm512_cvtepu16_epi32(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(candidates + g * kScreenLanes)));
    rows[g] = _mm512_srli_epi32(columns[g], std::countr_zero(kCandidateColumns));
  }
  if (operands.starts == nullptr) {
#pragma GCC unroll 8
    for (size_t g = 0; g < G; ++g) chain[g] = _mm512_loadu_ps(numbers + g * kScreenLanes);
  } else {
    const Weights32 starts = {_mm512_loadu_ps(operands.starts),
                              _mm512_loadu_ps(operands.starts + kScreenLanes)};
#pragma GCC unroll 8
    for (size_t g = 0; g < G; ++g) chain[g] = Picked(starts, columns[g]);
  }
  // What lies there is fetched for one tile of many, but no branch of this loop asks: again costs nothing.
  const auto* ahead = static_cast<const char*>(operands.ahead != nullptr ? operands.ahead : operands.w);
  constexpr size_t kStepBytes = kScreenPanel * BytesPerNumber(kFormat);
  for (size_t k = 0; k < operands.inner; ++k, ahead += kStepBytes) {
    __builtin_prefetch(ahead, 0, 2);
    if constexpr (kFormat == WeightFormat::kFloat32) __builtin_prefetch(ahead + kStepBytes / 4, 0, 2);
    const __m512 inputs = _mm512_load_ps(operands.x + k * kCandidateRows);
    const Weights32 weights = WeightsAt<kFormat>(operands.w, k);
#pragma GCC unroll 8
    for (size_t g = 0; g < G; ++g) {
      chain[g] =
          _mm512_fmadd_ps(_mm512_permutexvar_ps(rows[g], inputs), Picked(weights, columns[g]), chain[g]);
    }
  }
#pragma GCC unroll 8
  for (size_t g = 0; g < G; ++g) _mm512_storeu_ps(numbers + g * kScreenLanes, chain[g]);
}

template <WeightFormat kFormat>
void AllGroups(const TileOperands& operands, const uint16_t* candidates, size_t count, float* numbers) {
  constexpr size_t kMost = 8;  // three registers each, of 32
  size_t groups = (count + kScreenLanes - 1) / kScreenLanes;
  for (size_t calls = (groups + kMost - 1) / kMost; calls > 0; --calls) {
    const size_t now = (groups + calls - 1) / calls;
    switch (now) {
      case 1:
        Groups<1, kFormat>(operands, candidates, numbers);
        break;
      case 2:
        Groups<2, kFormat>(operands, candidates, numbers);
        break;
      case 3:
        Groups<3, kFormat>(operands, candidates, numbers);
        break;
      case 4:
        Groups<4, kFormat>(operands, candidates, numbers);
        break;
      case 5:
        Groups<5, kFormat>(operands, candidates, numbers);
        break;
      case 6:
        Groups<6, kFormat>(operands, candidates, numbers);
        break;
      case 7:
        Groups<7, kFormat>(operands, candidates, numbers);
        break;
      default:
        Groups<8, kFormat>(operands, candidates, numbers);
        break;
    }
    candidates += now * kScreenLanes;
    numbers += now * kScreenLanes;
    groups -= now;
  }
}

size_t ScreenTiles(const ScreenedRows& x, size_t rows, const ScreenView& w, size_t panel,
                   uint16_t* candidates, size_t begin, CandidateTile* left, CandidateTile* right) {
  uint64_t open[kCandidateRows];
  const size_t turns = (rows + kScreenedTogether - 1) / kScreenedTogether;
  // Every turn fetches its share of the panel that is next; a prefetch cannot fault.
  const size_t step = turns == 0 ? 0 : (kScreenPanel * sizeof(uint32_t) + turns - 1) / turns;
  const char* ahead = reinterpret_cast<const char*>(w.words + (panel + 1) * w.panel_stride);
  for (size_t t = 0, r = 0; t < turns; ++t, ahead += step * w.inner_words) {
    const size_t count = (rows - r + (turns - t) - 1) / (turns - t);
    switch (count) {
      case 1:
        MayBeOpen<1>(x, r, w, panel, ahead, step, open + r);
        break;
      case 2:
        MayBeOpen<2>(x, r, w, panel, ahead, step, open + r);
        break;
      case 3:
        MayBeOpen<3>(x, r, w, panel, ahead, step, open + r);
        break;
      case 4:
        MayBeOpen<4>(x, r, w, panel, ahead, step, open + r);
        break;
      case 5:
        MayBeOpen<5>(x, r, w, panel, ahead, step, open + r);
        break;
      default:
        MayBeOpen<6>(x, r, w, panel, ahead, step, open + r);
        break;
    }
    r += count;
  }
  begin = ListCandidates(open, rows, 0, candidates, begin, left);
  return ListCandidates(open, rows, kCandidateColumns, candidates, begin, right);
}

void TileChains(const TileOperands& operands, const uint16_t* candidates, size_t count, float* numbers) {
  switch (operands.format) {
    case WeightFormat::kFloat32:
      return AllGroups<WeightFormat::kFloat32>(operands, candidates, count, numbers);
    case WeightFormat::kBfloat16:
      return AllGroups<WeightFormat::kBfloat16>(operands, candidates, count, numbers);
    case WeightFormat::kFloat16:
      return AllGroups<WeightFormat::kFloat16>(operands, candidates, count, numbers);
  }
}

SPLINESERVE_SCREEN size_t ListTiles(const CandidateTile* tiles, size_t stride, size_t count, size_t row,
                                    const uint16_t* candidates, const float* numbers, float scale,
                                    bool square, uint32_t column, uint32_t* index, float* value) {
  constexpr size_t kLanes = 8;
  size_t listed = 0;
  const __m256i places = _mm256_set1_epi32(kCandidateColumns - 1);
  const __m256 factor = _mm256_set1_ps(scale);
  for (size_t t = 0; t < count; ++t, column += kCandidateColumns) {
    const CandidateTile& tile = tiles[t * stride];
    size_t i = tile.begin + tile.row[row];
    const size_t end = tile.begin + tile.row[row + 1];
    const __m256i first = _mm256_set1_epi32(static_cast<int32_t>(column));
    // Most rows of a tile have some candidates and few more than 8: no branch asks whether there are any.
    do {
      const auto lanes = static_cast<__mmask8>((1u << std::min(end - i, kLanes)) - 1);
      const __m256 number = _mm256_mul_ps(factor, _mm256_loadu_ps(numbers + i));
      const __mmask8 open = _mm256_mask_cmp_ps_mask(lanes, number, _mm256_setzero_ps(), _CMP_GT_OQ);
      const __m256i candidate =
          _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(candidates + i)));
      const __m256i columns = _mm256_add_epi32(_mm256_and_si256(candidate, places), first);
      const __m256 kept = square ? _mm256_mul_ps(number, number) : number;
      // Compressed in a register, then stored: compressing stores are microcoded on Zen 4.
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(index + listed),
                          _mm256_maskz_compress_epi32(open, columns));
      _mm256_storeu_ps(value + listed, _mm256_maskz_compress_ps(open, kept));
      listed += static_cast<size_t>(std::popcount(static_cast<unsigned>(open)));
      i += kLanes;
    } while (i < end);
  }
  return listed;
}

SPLINESERVE_SCREEN bool ScreenColumns(const float* panel, size_t inner, size_t columns,
                                      const ScreenPanel& out) {
  const size_t inner_words = (inner + 3) / 4;
  const __m512 most = _mm512_set1_ps(127.0f), least = _mm512_set1_ps(-127.0f);
  const __m512i byte = _mm512_set1_epi32(0xFF), magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  const auto count = static_cast<float>(inner);
  // As in ScreenRow, but each lane sums `inner` squares.
  const __m512 slack = _mm512_set1_ps(1 + (count + 64) * 0x1p-23f);
  const __m512 rounding = _mm512_set1_ps((2 * count + 32) * 0x1p-23f);
  const __m512 inexact = _mm512_set1_ps(std::sqrt(count) * 4.1e-5f), raise = _mm512_set1_ps(1 + 1e-5f);
  for (size_t v = 0; v < kScreenVectors; ++v) {
    const float* const w = panel + v * kScreenLanes;
    const size_t left = columns - std::min(columns, v * kScreenLanes);
    const auto lanes = static_cast<__mmask16>(left < kScreenLanes ? (1u << left) - 1 : 0xFFFF);
    __m512i largest = _mm512_setzero_si512();
    for (size_t k = 0; k < inner; ++k) {
      const __m512i bits = _mm512_maskz_loadu_epi32(lanes, w + k * kScreenPanel);
      largest = _mm512_max_epi32(largest, _mm512_and_si512(bits, magnitude));
    }
    // As integers, NaN is larger than all numbers. Zeros are columns like others.
    const auto nonzero = _mm512_test_epi32_mask(largest, largest);
    const auto small = _mm512_mask_cmplt_epi32_mask(
        nonzero, largest, _mm512_set1_epi32(std::bit_cast<int32_t>(kLeastScreened)));
    const auto large =
        _mm512_cmpgt_epi32_mask(largest, _mm512_set1_epi32(std::bit_cast<int32_t>(kMostScreened)));
    if ((small | large) != 0) return false;
    const __m512 limit = _mm512_castsi512_ps(largest);
    const __m512 inverse = _mm512_maskz_div_ps(nonzero, most, limit);
    const __m512 scale = _mm512_div_ps(limit, most);
    __m512 length = _mm512_setzero_ps(), error = _mm512_setzero_ps();
    __m512i sum = _mm512_setzero_si512();
    for (size_t word = 0; word < inner_words; ++word) {
      __m512i bytes = _mm512_setzero_si512();
      for (size_t k = 4 * word; k < std::min(inner, 4 * word + 4); ++k) {
        const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, w + k * kScreenPanel), inverse);
        const __m512i q = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(scaled, least), most));
        const __m512 rest = _mm512_sub_ps(scaled, _mm512_cvtepi32_ps(q));
        length = _mm512_fmadd_ps(scaled, scaled, length);
        error = _mm512_fmadd_ps(rest, rest, error);
        sum = _mm512_add_epi32(sum, q);
        const __m512i shift = _mm512_set1_epi32(static_cast<int32_t>(8 * (k % 4)));
        bytes = _mm512_or_si512(bytes, _mm512_sllv_epi32(_mm512_and_si512(q, byte), shift));
      }
      _mm512_storeu_si512(out.words + word * kScreenPanel + v * kScreenLanes, bytes);
    }
    // At least |w| and |e_w|; |s_w q_w| is at most their sum.
    const __m512 exact = _mm512_mul_ps(_mm512_mul_ps(scale, _mm512_sqrt_ps(length)), slack);
    const __m512 rest =
        _mm512_mul_ps(_mm512_mul_ps(scale, _mm512_add_ps(_mm512_sqrt_ps(error), inexact)), slack);
    const __m512 rounded = _mm512_mul_ps(_mm512_add_ps(exact, rest), raise);
    const __m512 errors = _mm512_fmadd_ps(rounding, _mm512_add_ps(exact, rounded), rest);
    const size_t n = v * kScreenLanes;
    _mm512_storeu_si512(out.sums + n, sum);
    _mm512_storeu_ps(out.scales + n, scale);
    _mm512_storeu_ps(out.errors + n, _mm512_mul_ps(errors, raise));
    _mm512_storeu_ps(out.lengths + n, rounded);
    _mm512_storeu_ps(out.biases + n,
                     _mm512_mask_blend_ps(lanes, _mm512_set1_ps(-1.0f), _mm512_set1_ps(kZeroBias)));
  }
  return true;
}

}  // namespace

void SetNativeTiles(KernelSet* set) {
  set->screen_tiles = ScreenTiles;
  set->tile_chains = TileChains;
  set->list_tiles = ListTiles;
  set->screen_columns = ScreenColumns;
}

}  // namespace splineserve

#endif
