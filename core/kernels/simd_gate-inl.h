// The ReLU gate: values, sign bits, open count, margin and the check for overflow in one pass. Included once
// for each target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_GATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_GATE_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_GATE_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_GATE_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// Magnitudes of floats order like their bit patterns without the sign, as integers; infinity is the first
// pattern that is not finite, and every NaN lies above it. So an integer minimum that starts at infinity
// passes NaN over.
inline constexpr int32_t kInfinityBits = 0x7F800000;

HWY_INLINE IntVector Magnitude(FloatVector x) {
  const IntTag di;
  return hn::And(hn::BitCast(di, x), hn::Set(di, 0x7FFFFFFF));
}

HWY_INLINE float FloatOfBits(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// What a pass over a row has seen so far, lane by lane. (No default initialisers: GCC would compile the
// constructor that they imply without the target's instructions.)
struct GateSummary {
  uint32_t open;
  FloatVector overflow;
  IntVector smallest;
};

HWY_INLINE bool AllWereFinite(const GateSummary& seen) {
  return hn::GetLane(hn::SumOfLanes(FloatTag(), seen.overflow)) == 0;
}

// Gates one vector and returns which lanes are open.
template <bool kSquare, bool kMargin>
HWY_INLINE FloatMask GateVector(FloatVector x, FloatVector& gated, GateSummary& seen) {
  const FloatTag d;
  const FloatMask positive = hn::Gt(x, hn::Zero(d));  // false for NaN
  gated = hn::IfThenElseZero(positive, x);
  if constexpr (kSquare) gated = hn::Mul(gated, gated);
  // 0 * x is exact, so that it does not matter whether this is fused.
  seen.overflow = hn::MulAdd(x, hn::Zero(d), seen.overflow);
  if constexpr (kMargin) seen.smallest = hn::Min(seen.smallest, Magnitude(x));
  return positive;
}

// Gates V vectors of a row, adds them to the row's summary and says which lanes are open. The first `gates`
// numbers are gates, with kAll all of them; the others become zero.
template <size_t V, bool kMargin, bool kAll>
HWY_INLINE void GateVectors(size_t gates, bool square, FloatVector (&x)[V], FloatMask (&open)[V],
                            GateState& state) {
  const FloatTag d;
  const IntTag di;
  GateSummary seen = {0, hn::Load(d, state.overflow), hn::Zero(di)};
  if constexpr (kMargin) seen.smallest = hn::Load(di, state.smallest);
#pragma GCC unroll 8
  for (size_t v = 0; v < V; ++v) {
    const IntVector before = seen.smallest;
    const size_t count = gates > v * kLanes ? HWY_MIN(gates - v * kLanes, kLanes) : 0;
    if constexpr (!kAll) x[v] = hn::IfThenElseZero(hn::FirstN(d, count), x[v]);
    open[v] = GateVector<false, kMargin>(x[v], x[v], seen);
    if constexpr (kMargin && !kAll) {
      seen.smallest = hn::IfThenElse(hn::FirstN(di, count), seen.smallest, before);
    }
  }
  if (HWY_UNLIKELY(square)) {
#pragma GCC unroll 8
    for (size_t v = 0; v < V; ++v) x[v] = hn::Mul(x[v], x[v]);
  }
  hn::Store(seen.overflow, d, state.overflow);
  if constexpr (kMargin) hn::Store(seen.smallest, di, state.smallest);
}

// Where the sign bits of a tile's row go: `gates` of them, the first of which is that of column `column`, a
// multiple of 8 unless the tile is narrower than that.
template <size_t kColumns>
HWY_INLINE void StoreBits(uint64_t open, size_t column, size_t gates, uint8_t* bits) {
  bits += column / 8;
  if constexpr (kColumns < 8) {
    if (gates == 0) return;
    const auto byte = static_cast<uint8_t>(open << column % 8);
    bits[0] = column % 8 == 0 ? byte : static_cast<uint8_t>(bits[0] | byte);
  } else if (gates == kColumns) {
    std::memcpy(bits, &open, (kColumns + 7) / 8);
  } else {
    std::memcpy(bits, &open, (gates + 7) / 8);
  }
}

template <bool kSquare, bool kMargin>
HWY_INLINE GateRow GateRowOf(float* x, size_t n, uint8_t* bits) {
  const FloatTag d;
  const IntTag di;
  GateSummary seen = {0, hn::Zero(FloatTag()), hn::Set(di, kInfinityBits)};
  size_t i = 0;
  // Sixteen numbers, two bytes of bits, at a time.
  for (; i + kLaneBlock <= n; i += kLaneBlock) {
    uint64_t open = 0;
    for (size_t lane = 0; lane < kLaneBlock; lane += kLanes) {
      FloatVector gated;
      open |= BitsOf(GateVector<kSquare, kMargin>(hn::LoadU(d, x + i + lane), gated, seen)) << lane;
      hn::StoreU(gated, d, x + i + lane);
    }
    seen.open += static_cast<uint32_t>(hwy::PopCount(open));
    if (bits != nullptr) {
      bits[i / 8] = static_cast<uint8_t>(open);
      bits[i / 8 + 1] = static_cast<uint8_t>(open >> 8);
    }
  }
  if (i < n) {
    uint64_t open = 0;
    for (size_t begin = i; begin < n; begin += kLanes) {
      const size_t count = HWY_MIN(n - begin, kLanes);
      FloatVector loaded = count == kLanes ? hn::LoadU(d, x + begin) : LoadFirst(x + begin, count);
      // The zeros that fill the vector are closed and finite but would be its margin: keep them out of the
      // minimum.
      const IntVector before = seen.smallest;
      FloatVector gated;
      open |= BitsOf(GateVector<kSquare, kMargin>(loaded, gated, seen)) << (begin - i);
      if (count == kLanes) {
        hn::StoreU(gated, d, x + begin);
      } else {
        StoreFirst(gated, x + begin, count);
        if constexpr (kMargin) seen.smallest = hn::IfThenElse(hn::FirstN(di, count), seen.smallest, before);
      }
    }
    seen.open += static_cast<uint32_t>(hwy::PopCount(open));
    if (bits != nullptr) {
      bits[i / 8] = static_cast<uint8_t>(open);
      if (n - i > 8) bits[i / 8 + 1] = static_cast<uint8_t>(open >> 8);
    }
  }
  GateRow row;
  row.open = seen.open;
  row.finite = AllWereFinite(seen);
  if constexpr (kMargin) row.margin = FloatOfBits(hn::GetLane(hn::MinOfLanes(di, seen.smallest)));
  return row;
}

inline GateRow Gate(float* x, size_t n, bool square, uint8_t* bits, bool want_margin) {
  if (square) return want_margin ? GateRowOf<true, true>(x, n, bits) : GateRowOf<true, false>(x, n, bits);
  return want_margin ? GateRowOf<false, true>(x, n, bits) : GateRowOf<false, false>(x, n, bits);
}

inline bool AllFinite(const float* x, size_t n) {
  const IntTag di;
  IntVector largest = hn::Zero(di);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = hn::Max(largest, Magnitude(hn::LoadU(FloatTag(), x + i)));
  if (i < n) largest = hn::Max(largest, Magnitude(LoadFirst(x + i, n - i)));
  return hn::GetLane(hn::MaxOfLanes(di, largest)) < kInfinityBits;
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
