// ReLU attention of a single token: scores, gates and the sum over values of all heads in one call. Included
// once for each target.
//
// In generation the products of one head are tiny: 32 multiply-adds in a chain, each waiting for the one
// before. Here several heads' chains run at once, and a closed key's value is not even read.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_TOKEN_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_TOKEN_ATTENTION_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_TOKEN_ATTENTION_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_TOKEN_ATTENTION_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_gate-inl.h"
#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// Chains that hide the latency of the multiply-add: 4 cycles, and one a cycle is all that two loads for each
// allow.
inline constexpr size_t kTokenChains = 4;

// What one head's gates let through: the weights of its open keys, whose bits are set in `open`.
struct OpenKeys {
  HWY_ALIGN float weight[kMaxPanelWidth];
  uint64_t open;
};

// Gates the scores of keys [key, key + V * kLanes) of one head; chains past the last key hold anything.
template <size_t V, bool kMargin>
HWY_INLINE void GateScores(const TokenAttention& a, size_t key, const FloatVector (&chain)[V],
                           GateSummary& seen, OpenKeys& keys) {
  const FloatTag d;
  const IntTag di;
  const FloatVector scale = hn::Set(d, a.scale);
#pragma GCC unroll 4
  for (size_t v = 0; v < V; ++v) {
    const size_t first = key + v * kLanes;
    const size_t count = a.keys.outer > first ? a.keys.outer - first : 0;
    FloatVector argument = hn::Mul(scale, chain[v]);
    const IntVector before = seen.smallest;
    if (count < kLanes) argument = hn::IfThenElseZero(hn::FirstN(d, count), argument);
    FloatVector weight;
    keys.open |= BitsOf(GateVector<false, kMargin>(argument, weight, seen)) << first;
    if constexpr (kMargin) {
      if (count < kLanes) seen.smallest = hn::IfThenElse(hn::FirstN(di, count), seen.smallest, before);
    }
    if (a.square) weight = hn::Mul(weight, weight);
    hn::Store(weight, d, keys.weight + first);
  }
}

// The scores of H heads from `head` on with V vectors of keys from `key` on.
template <size_t H, size_t V, bool kMargin>
HWY_INLINE void ScoreHeads(const TokenAttention& a, size_t head, size_t key, GateSummary (&seen)[H],
                           OpenKeys (&keys)[H]) {
  const FloatTag d;
  const size_t inner = a.keys.inner, width = a.keys.panel_width;
  const float* panel = static_cast<const float*>(a.keys.data) + head * a.head_stride + key;
  const float* query = a.query + head * inner;
  FloatVector chain[H][V];
#pragma GCC unroll 4
  for (size_t h = 0; h < H; ++h) {
#pragma GCC unroll 4
    for (size_t v = 0; v < V; ++v) chain[h][v] = hn::Zero(d);
  }
  for (size_t k = 0; k < inner; ++k) {
#pragma GCC unroll 4
    for (size_t h = 0; h < H; ++h) {
      const FloatVector broadcast = hn::Set(d, query[h * inner + k]);
#pragma GCC unroll 4
      for (size_t v = 0; v < V; ++v) {
        chain[h][v] =
            Fma(broadcast, hn::Load(d, panel + h * a.head_stride + k * width + v * kLanes), chain[h][v]);
      }
    }
  }
#pragma GCC unroll 4
  for (size_t h = 0; h < H; ++h) GateScores<V, kMargin>(a, key, chain[h], seen[h], keys[h]);
}

// Columns [column, column + V vectors) of one head's sum over its open keys; `columns` of them exist.
template <size_t V>
HWY_INLINE void SumValues(const OpenKeys& keys, const float* values, size_t width, size_t columns,
                          float* out) {
  const FloatTag d;
  FloatVector chain[V];
#pragma GCC unroll 4
  for (size_t v = 0; v < V; ++v) chain[v] = hn::Zero(d);
  for (uint64_t open = keys.open; open != 0; open &= open - 1) {
    const size_t key = hwy::Num0BitsBelowLS1Bit_Nonzero64(open);
    const FloatVector broadcast = hn::Set(d, keys.weight[key]);
#pragma GCC unroll 4
    for (size_t v = 0; v < V; ++v) {
      chain[v] = Fma(broadcast, hn::Load(d, values + key * width + v * kLanes), chain[v]);
    }
  }
  const size_t last = columns - (V - 1) * kLanes;
#pragma GCC unroll 4
  for (size_t v = 0; v + 1 < V; ++v) hn::StoreU(chain[v], d, out + v * kLanes);
  if (kLanes == 1 || last == kLanes) {
    hn::StoreU(chain[V - 1], d, out + (V - 1) * kLanes);
  } else {
    StoreFirst(chain[V - 1], out + (V - 1) * kLanes, last);
  }
}

HWY_INLINE void SumHead(const TokenAttention& a, size_t head, const OpenKeys& keys, float* out) {
  constexpr size_t kVectors = 4;
  const float* values = static_cast<const float*>(a.values.data) + head * a.head_stride;
  const size_t width = a.values.panel_width;
  for (size_t column = 0; column < a.values.outer;) {
    const float* panel = values + column / width * a.values.panel_stride + column % width;
    const size_t left = HWY_MIN(a.values.outer - column, width - column % width);
    const size_t columns = HWY_MIN(left, kVectors * kLanes);
    switch ((columns + kLanes - 1) / kLanes) {
      case 1:
        SumValues<1>(keys, panel, width, columns, out + column);
        break;
      case 2:
        SumValues<2>(keys, panel, width, columns, out + column);
        break;
      case 3:
        SumValues<3>(keys, panel, width, columns, out + column);
        break;
      default:
        SumValues<4>(keys, panel, width, columns, out + column);
        break;
    }
    column += columns;
  }
}

// H heads from `head` on.
template <size_t H, bool kMargin>
HWY_NOINLINE void AttendHeads(const TokenAttention& a, size_t head, GateRow* gates, float* out) {
  const IntTag di;
  GateSummary seen[H];
  OpenKeys keys[H];
  for (size_t h = 0; h < H; ++h) {
    seen[h] = {0, hn::Zero(FloatTag()), hn::Set(di, kInfinityBits)};
    keys[h].open = 0;
  }
  for (size_t key = 0; key < a.keys.outer;) {
    const size_t vectors = HWY_MIN((a.keys.outer - key + kLanes - 1) / kLanes, kTokenChains / H);
    switch (vectors) {
#define SPLINESERVE_KEYS(V)                                                                   \
  case V:                                                                                     \
    if constexpr (V * H <= kTokenChains) ScoreHeads<H, V, kMargin>(a, head, key, seen, keys); \
    break;
      SPLINESERVE_KEYS(1)
      SPLINESERVE_KEYS(2)
      SPLINESERVE_KEYS(3)
      SPLINESERVE_KEYS(4)
#undef SPLINESERVE_KEYS
    }
    key += vectors * kLanes;
  }
  for (size_t h = 0; h < H; ++h) {
    GateRow& row = gates[head + h];
    row.open = static_cast<uint32_t>(hwy::PopCount(keys[h].open));
    row.finite = AllWereFinite(seen[h]);
    row.margin = kMargin ? FloatOfBits(hn::GetLane(hn::MinOfLanes(di, seen[h].smallest))) : 0;
    uint8_t* bits = a.bits == nullptr ? nullptr : a.bits[head + h];
    if (bits != nullptr) std::memcpy(bits, &keys[h].open, (a.keys.outer + 7) / 8);
    SumHead(a, head + h, keys[h], out + (head + h) * a.values.outer);
  }
}

template <bool kMargin>
HWY_INLINE void AttendAllHeads(const TokenAttention& a, GateRow* gates, float* out) {
  size_t head = 0;
  if (a.keys.outer <= kLanes) {
    for (; head + 4 <= a.heads; head += 4) AttendHeads<4, kMargin>(a, head, gates, out);
  }
  if (a.keys.outer <= 2 * kLanes) {
    for (; head + 2 <= a.heads; head += 2) AttendHeads<2, kMargin>(a, head, gates, out);
  }
  for (; head < a.heads; ++head) AttendHeads<1, kMargin>(a, head, gates, out);
}

inline void AttendToken(const TokenAttention& a, GateRow* gates, float* out) {
  a.want_margin ? AttendAllHeads<true>(a, gates, out) : AttendAllHeads<false>(a, gates, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
