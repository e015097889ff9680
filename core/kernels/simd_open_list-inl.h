// Lists of the open numbers of gated rows, for sparse products: of a row that lies in memory, or vector by
// vector while a product gates it. Included once for each target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_OPEN_LIST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_OPEN_LIST_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_OPEN_LIST_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_OPEN_LIST_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// Appends the values that `open` picks, and their places, which `places` holds lane by lane; may write a
// whole vector to each list.
HWY_INLINE void Append(FloatVector x, FloatMask open, IntVector places, uint32_t* index, float* value) {
  const FloatTag d;
#if HWY_TARGET == HWY_AVX3
  const IntTag di;
  // Compressed in a register, then stored: on Zen 4 a compressing store is microcoded and takes some 140
  // cycles.
  hn::StoreU(hn::Compress(x, open), d, value);
  hn::StoreU(hn::Compress(places, hn::RebindMask(di, open)), di, reinterpret_cast<int32_t*>(index));
#else
  // One by one: where no instruction does it, Highway's Compress made a list take 115 cycles a vector of
  // AVX2, this takes 22 with 10 % open (Emerald Rapids).
  HWY_ALIGN float lanes[kLanes];
  hn::Store(x, d, lanes);
  const auto first = static_cast<uint32_t>(hn::GetLane(places));
  size_t count = 0;
  for (uint64_t bits = BitsOf(open); bits != 0; bits &= bits - 1) {
    const size_t lane = hwy::Num0BitsBelowLS1Bit_Nonzero64(bits);
    index[count] = first + static_cast<uint32_t>(lane);
    value[count++] = lanes[lane];
  }
#endif
}

#if HWY_TARGET == HWY_AVX3
// Whether the processor compresses bytes (VBMI2), which this target does not ask for.
inline bool CompressesBytes() {
  static const bool has = __builtin_cpu_supports("avx512vbmi2") != 0;
  return has;
}

// The same of four vectors, whose places start at `first`; returns how many were picked. One compression of
// 64 bytes says which they are, and permutations bring 16 of them at a time, as a rule all: half the time of
// compressing each vector and its places (Zen 4: 3.9 instead of 8 cycles a vector with 10 % open, 5.4 instead
// of 11 with half). May write kOpenListSlack entries past the last. Needs CompressesBytes.
HWY_INLINE size_t AppendFour(const FloatVector (&x)[4], uint64_t open, size_t first, uint32_t* index,
                             float* value) {
  alignas(64) static constexpr uint8_t kPlaces[64] = {
      0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
      22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
      44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
  __m512i places;
  // As text: compiled for this target, the compiler does not know the instruction.
  asm("vpcompressb %1, %0%{%2%}%{z%}"
      : "=v"(places)
      : "v"(_mm512_load_si512(kPlaces)), "Yk"(static_cast<__mmask64>(open)));
  const __m512i base = _mm512_set1_epi32(static_cast<int>(first));
  const size_t count = hwy::PopCount(open);
  for (size_t i = 0;; i += kLanes) {
    // The permutations take bits 0 to 4 of a place; bit 5 says which of them is right.
    const __m512i place = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(places));
    const __m512 lower = _mm512_permutex2var_ps(x[0].raw, place, x[1].raw);
    const __m512 upper = _mm512_permutex2var_ps(x[2].raw, place, x[3].raw);
    const __mmask16 is_upper = _mm512_test_epi32_mask(place, _mm512_set1_epi32(32));
    _mm512_storeu_ps(value + i, _mm512_mask_blend_ps(is_upper, lower, upper));
    _mm512_storeu_si512(index + i, _mm512_add_epi32(place, base));
    if (count <= i + kLanes) return count;
    places = _mm512_alignr_epi64(places, places, 2);
  }
}
#endif

// Those above zero; returns how many there are.
HWY_INLINE size_t AppendOpen(FloatVector x, IntVector places, uint32_t* index, float* value) {
  const FloatTag d;
  const FloatMask open = hn::Gt(x, hn::Zero(d));
  Append(x, open, places, index, value);
  return hn::CountTrue(d, open);
}

inline size_t ListOpen(const float* x, size_t n, size_t first, uint32_t* index, float* value) {
  const FloatTag d;
  const IntTag di;
  // Counted upward in a register: hn::Iota(di, i) for a variable i takes 16 scalar stores, five times as long
  // as all the rest.
  IntVector places = hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(first)));
  const IntVector step = hn::Set(di, static_cast<int32_t>(kLanes));
  size_t count = 0, i = 0;
#if HWY_TARGET == HWY_AVX3
  if (CompressesBytes()) {
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
      FloatVector number[4];
      FloatMask open[4];
#pragma GCC unroll 4
      for (size_t v = 0; v < 4; ++v) {
        number[v] = hn::LoadU(d, x + i + v * kLanes);
        open[v] = hn::Gt(number[v], hn::Zero(d));
      }
      count += AppendFour(number, BitsOf(open), first + i, index + count, value + count);
    }
    places = hn::Add(places, hn::Set(di, static_cast<int32_t>(i)));
  }
#endif
  for (; i + kLanes <= n; i += kLanes) {
    count += AppendOpen(hn::LoadU(d, x + i), places, index + count, value + count);
    places = hn::Add(places, step);
  }
  if (i < n) count += AppendOpen(LoadFirst(x + i, n - i), places, index + count, value + count);
  return count;
}

// The part of `row`'s list to which columns from `column` on, a multiple of kLanes, belong. All columns
// before must have been listed.
HWY_INLINE OpenSegment& SegmentAt(const OpenListRoom& room, size_t row, size_t column) {
  const size_t block = column >> room.log2_block;
  OpenSegment* const segment = room.segments + block * room.rows + row;
  if (column == block << room.log2_block) {
    segment->begin = block == 0 ? static_cast<uint32_t>(row * room.row_stride) : (segment - room.rows)->end;
    segment->end = segment->begin;
  }
  return *segment;
}

// Goes on with the list of `row`: V vectors of gated numbers, the columns from `column` on, a multiple of
// kLanes; `open` are their gates. No tile crosses a block's end: panels of several are 64 columns wide, which
// tiles divide.
template <size_t V>
HWY_INLINE void ListTileRow(const OpenListRoom& room, size_t row, size_t column, const FloatVector (&x)[V],
                            const FloatMask (&open)[V]) {
  const IntTag di;
  OpenSegment& segment = SegmentAt(room, row, column);
  size_t at = segment.end;
  IntVector places = hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(column)));
#pragma GCC unroll 8
  for (size_t v = 0; v < V; ++v) {
    Append(x[v], open[v], places, room.index + at, room.value + at);
    places = hn::Add(places, hn::Set(di, static_cast<int32_t>(kLanes)));
    at += hn::CountTrue(FloatTag(), open[v]);
  }
  segment.end = static_cast<uint32_t>(at);
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
