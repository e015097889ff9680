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
  for (; i + kLanes <= n; i += kLanes) {
    count += AppendOpen(hn::LoadU(d, x + i), places, index + count, value + count);
    places = hn::Add(places, step);
  }
  if (i < n) count += AppendOpen(LoadFirst(x + i, n - i), places, index + count, value + count);
  return count;
}

// Goes on with the list of `row`: V vectors of gated numbers, the columns from `column` on, a multiple of
// kLanes; `open` are their gates. All columns before must have been listed. No tile crosses a block's end:
// panels of several are 64 columns wide, which tiles divide.
template <size_t V>
HWY_INLINE void ListTileRow(const OpenListRoom& room, size_t row, size_t column, const FloatVector (&x)[V],
                            const FloatMask (&open)[V]) {
  const IntTag di;
  const size_t block = column >> room.log2_block;
  OpenSegment* const segment = room.segments + block * room.rows + row;
  if (column == block << room.log2_block) {
    segment->begin = block == 0 ? static_cast<uint32_t>(row * room.row_stride) : (segment - room.rows)->end;
    segment->end = segment->begin;
  }
  size_t at = segment->end;
  IntVector places = hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(column)));
#pragma GCC unroll 8
  for (size_t v = 0; v < V; ++v) {
    Append(x[v], open[v], places, room.index + at, room.value + at);
    places = hn::Add(places, hn::Set(di, static_cast<int32_t>(kLanes)));
    at += hn::CountTrue(FloatTag(), open[v]);
  }
  segment->end = static_cast<uint32_t>(at);
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
