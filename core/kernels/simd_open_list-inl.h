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

inline size_t ListOpen(const float* x, size_t n, size_t inner, uint32_t* index, float* value,
                       uint32_t* starts) {
  const FloatTag d;
  const IntTag di;
  size_t count = 0;
  const size_t blocks = OpenBlocks(inner);
  // Counted upward in a register: hn::Iota(di, i) for a variable i takes 16 scalar stores, five times as long
  // as all the rest.
  IntVector places = hn::Iota(di, 0);
  const IntVector step = hn::Set(di, static_cast<int32_t>(kLanes));
  for (size_t b = 0; b < blocks; ++b) {
    starts[b] = static_cast<uint32_t>(count);
    size_t i = b * kOpenBlock;
    const size_t end = HWY_MIN(n, i + kOpenBlock);
    for (; i + kLanes <= end; i += kLanes) {
      count += AppendOpen(hn::LoadU(d, x + i), places, index + count, value + count);
      places = hn::Add(places, step);
    }
    if (i < end) count += AppendOpen(LoadFirst(x + i, end - i), places, index + count, value + count);
  }
  starts[blocks] = static_cast<uint32_t>(count);
  return count;
}

// Goes on with the list of `row`: V vectors of gated numbers, the columns from `column` on, a multiple of
// kLanes; `open` are their gates. All columns before must have been listed.
template <size_t V>
HWY_INLINE void ListTileRow(const OpenListRoom& lists, size_t row, size_t column, const FloatVector (&x)[V],
                            const FloatMask (&open)[V]) {
  const IntTag di;
  uint32_t* const index = lists.index + row * lists.stride;
  float* const value = lists.value + row * lists.stride;
  uint32_t* const starts = lists.starts + row * lists.starts_stride;
  if (column == 0) starts[0] = 0;
  size_t count = column == 0 ? 0 : starts[(column - 1) / kOpenBlock + 1];
  IntVector places = hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(column)));
#pragma GCC unroll 8
  for (size_t v = 0; v < V; ++v) {
    Append(x[v], open[v], places, index + count, value + count);
    places = hn::Add(places, hn::Set(di, static_cast<int32_t>(kLanes)));
    count += hn::CountTrue(FloatTag(), open[v]);
    // The end of the columns' block, so far. Within a tile of 64 columns no block ends, but in one of 48 one
    // may.
    if (v + 1 == V || (V * kLanes != 64 && (column + (v + 1) * kLanes) % kOpenBlock == 0)) {
      starts[(column + v * kLanes) / kOpenBlock + 1] = static_cast<uint32_t>(count);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
