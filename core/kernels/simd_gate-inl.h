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

using IntTag = hn::RebindToSigned<FloatTag>;
using IntVector = hn::Vec<IntTag>;

// Magnitudes of floats order like their bit patterns without the sign, as integers; infinity is the first
// pattern that is not finite, and every NaN lies above it. So one integer maximum detects every overflow, and
// an integer minimum that starts at infinity passes NaN over.
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
  IntVector largest;
  IntVector smallest;
};

// Gates one vector and returns its sign bits, lane 0 lowest.
template <bool kSquare, bool kMargin>
HWY_INLINE uint32_t GateVector(FloatVector x, FloatVector& gated, GateSummary& seen) {
  const FloatTag d;
  const auto positive = hn::Gt(x, hn::Zero(d));  // false for NaN
  gated = hn::IfThenElseZero(positive, x);
  if constexpr (kSquare) gated = hn::Mul(gated, gated);
  const IntVector magnitude = Magnitude(x);
  seen.largest = hn::Max(seen.largest, magnitude);
  if constexpr (kMargin) seen.smallest = hn::Min(seen.smallest, magnitude);
  // Highway wants eight bytes to write to; the compiler keeps the mask in a register.
  uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, positive, bytes);
  return static_cast<uint32_t>(bytes[0]) | static_cast<uint32_t>(bytes[1]) << 8;
}

// Gates the first `gates` of V vectors of a row, which start at a multiple of 8 columns unless they are fewer
// than 8, and adds them to the row's summary. The numbers past them become zero. `bits`, if not null, is the
// byte of the first column; `first_bit` its bit in there.
template <size_t V, bool kMargin>
HWY_INLINE void GateVectors(FloatVector (&x)[V], size_t gates, bool square, uint8_t* bits, size_t first_bit,
                            GateState& state) {
  const FloatTag d;
  const IntTag di;
  GateSummary seen = {0, hn::Load(di, state.largest), hn::Zero(di)};
  if constexpr (kMargin) seen.smallest = hn::Load(di, state.smallest);
  uint64_t open = 0;
#pragma GCC unroll 8
  for (size_t v = 0; v < V; ++v) {
    FloatVector argument = x[v];
    if (gates >= (v + 1) * kLanes) {
      open |= uint64_t{GateVector<false, kMargin>(argument, x[v], seen)} << (v * kLanes);
    } else {
      const size_t count = gates > v * kLanes ? gates - v * kLanes : 0;
      argument = hn::IfThenElseZero(hn::FirstN(d, count), argument);
      const IntVector before = seen.smallest;
      open |= uint64_t{GateVector<false, kMargin>(argument, x[v], seen)} << (v * kLanes);
      if constexpr (kMargin) seen.smallest = hn::IfThenElse(hn::FirstN(di, count), seen.smallest, before);
    }
    if (square) x[v] = hn::Mul(x[v], x[v]);
  }
  hn::Store(seen.largest, di, state.largest);
  if constexpr (kMargin) hn::Store(seen.smallest, di, state.smallest);
  state.open += static_cast<uint32_t>(hwy::PopCount(open));
  if (bits != nullptr) {
    if (V * kLanes % 8 == 0) {
      std::memcpy(bits, &open, (gates + 7) / 8);
    } else if (gates > 0) {  // tiles narrower than a byte: one lane a vector
      const auto byte = static_cast<uint8_t>(open << first_bit);
      bits[0] = first_bit == 0 ? byte : static_cast<uint8_t>(bits[0] | byte);
    }
  }
}

template <bool kSquare, bool kMargin>
HWY_INLINE GateRow GateRowOf(float* x, size_t n, uint8_t* bits) {
  const FloatTag d;
  const IntTag di;
  GateSummary seen = {0, hn::Zero(di), hn::Set(di, kInfinityBits)};
  size_t i = 0;
  // Sixteen numbers, two bytes of bits, at a time.
  for (; i + kLaneBlock <= n; i += kLaneBlock) {
    uint32_t open = 0;
    for (size_t lane = 0; lane < kLaneBlock; lane += kLanes) {
      FloatVector gated;
      open |= GateVector<kSquare, kMargin>(hn::LoadU(d, x + i + lane), gated, seen) << lane;
      hn::StoreU(gated, d, x + i + lane);
    }
    seen.open += static_cast<uint32_t>(hwy::PopCount(open));
    if (bits != nullptr) {
      bits[i / 8] = static_cast<uint8_t>(open);
      bits[i / 8 + 1] = static_cast<uint8_t>(open >> 8);
    }
  }
  if (i < n) {
    uint32_t open = 0;
    for (size_t begin = i; begin < n; begin += kLanes) {
      const size_t count = HWY_MIN(n - begin, kLanes);
      FloatVector loaded = count == kLanes ? hn::LoadU(d, x + begin) : LoadFirst(x + begin, count);
      // The zeros that fill the vector are closed and finite but would be its margin: keep them out of the
      // minimum.
      const IntVector before = seen.smallest;
      FloatVector gated;
      open |= GateVector<kSquare, kMargin>(loaded, gated, seen) << (begin - i);
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
  row.finite = hn::GetLane(hn::MaxOfLanes(di, seen.largest)) < kInfinityBits;
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
