// What becomes of a tile of a product while it is still in registers: stored, or gated and then stored or
// listed. Included once for each target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_GATE_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_GATE_TILE_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_GATE_TILE_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_GATE_TILE_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_gate-inl.h"
#include "core/kernels/simd_open_list-inl.h"
#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// Whether rows [row, row + rows) see all of columns [column, column + columns).
HWY_INLINE bool SeeAll(const GateSpec& spec, size_t row, size_t rows, size_t column, size_t columns) {
  if (spec.widths == nullptr) return true;
  for (size_t r = row; r < row + rows; ++r) {
    if (spec.widths[r] < column + columns) return false;
  }
  return true;
}

// Stores V vectors, of which `columns` numbers exist: more than V - 1 vectors.
template <size_t V>
HWY_INLINE void StoreTileRow(const FloatVector (&x)[V], size_t columns, float* out) {
#pragma GCC unroll 8
  for (size_t v = 0; v < V; ++v) {
    if (v + 1 < V || columns == V * kLanes) {
      hn::StoreU(x[v], FloatTag(), out + v * kLanes);
    } else {
      StoreFirst(x[v], out + v * kLanes, columns - v * kLanes);
    }
  }
}

// Gates rows [row, row + R) of columns [column, column + columns), stores them at `out` or lists them and
// passes on what `spec` asks for. With kAll every number of the tile exists and is a gate, as nearly always:
// then no vector need be asked.
template <size_t R, size_t V, bool kMargin, bool kAll>
HWY_INLINE void GateTile(const FloatVector (&acc)[R][V], FloatVector scale, const GateSpec& spec, size_t row,
                         size_t column, size_t columns, float* out, size_t out_stride) {
  size_t gates[R];
  uint64_t open[R];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) {
    gates[r] = kAll ? V * kLanes : columns;
    if (!kAll && spec.widths != nullptr) {
      const size_t width = spec.widths[row + r];
      gates[r] = width <= column ? 0 : HWY_MIN(width - column, columns);
    }
    FloatVector number[V];
    FloatMask positive[V];
#pragma GCC unroll 8
    for (size_t v = 0; v < V; ++v) number[v] = hn::Mul(scale, acc[r][v]);
    GateVectors<V, kMargin, kAll>(gates[r], spec.square, number, positive, spec.states[row + r]);
    open[r] = BitsOf(positive);
    if (spec.lists != nullptr) {
      ListTileRow<V>(*spec.lists, row + r, column, number, positive);
    } else {
      StoreTileRow<V>(number, kAll ? V * kLanes : columns, out + r * out_stride);
    }
  }
#pragma GCC unroll 1
  for (size_t r = 0; r < R; ++r) {
    spec.states[row + r].open += static_cast<uint32_t>(hwy::PopCount(open[r]));
    uint8_t* const bits = spec.bits == nullptr ? nullptr : spec.bits[row + r];
    if (bits != nullptr) StoreBits<V * kLanes>(open[r], column, gates[r], bits);
  }
}

#if HWY_TARGET == HWY_AVX3
// The same of a tile of which every number is a gate, without squares and margins, listed by AppendFour.
// Little is left to do then, and the compiler makes less of it where it must keep all that the general case
// may need: 88.3 instead of 90.3 us for 36 queries and 2,048 keys of 64 numbers, of which the product
// takes 85.4 (Zen 4).
template <size_t R>
HWY_INLINE void ListTile(const FloatVector (&acc)[R][4], FloatVector scale, const GateSpec& spec, size_t row,
                         size_t column) {
  const FloatTag d;
  uint64_t open[R];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) {
    GateState& state = spec.states[row + r];
    FloatVector number[4];
    FloatMask positive[4];
    FloatVector overflow = hn::Load(d, state.overflow);
#pragma GCC unroll 4
    for (size_t v = 0; v < 4; ++v) {
      number[v] = hn::Mul(scale, acc[r][v]);
      positive[v] = hn::Gt(number[v], hn::Zero(d));
      overflow = hn::MulAdd(number[v], hn::Zero(d), overflow);
    }
    hn::Store(overflow, d, state.overflow);
    open[r] = BitsOf(positive);
    state.open += static_cast<uint32_t>(hwy::PopCount(open[r]));
    OpenSegment& segment = SegmentAt(*spec.lists, row + r, column);
    segment.end += static_cast<uint32_t>(AppendFour(number, open[r], column, spec.lists->index + segment.end,
                                                    spec.lists->value + segment.end));
  }
  if (spec.bits == nullptr) return;
#pragma GCC unroll 1
  for (size_t r = 0; r < R; ++r) {
    if (spec.bits[row + r] != nullptr)
      std::memcpy(spec.bits[row + r] + column / 8, &open[r], sizeof(open[r]));
  }
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
