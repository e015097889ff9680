// ReLU attention of a single token: scores, gates and the sum over values of all heads in one call. Included
// once for each target.
//
// In generation the products of one head are tiny: 32 multiply-adds in a chain, each waiting for the one
// before. Here the chains of several heads share a vector, several vectors run at once, and a closed key's
// value is not even read, unless that is the quicker way.
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
#include "core/kernels/token_blocks.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

inline constexpr size_t kLineVectors = kLaneBlock / kLanes;

// Blocks whose scores are computed together: 4 chains hide the latency of the multiply-add, 4 cycles, as far
// as one load for each lets them.
inline constexpr size_t kBlocksAtOnce = kLineVectors >= 4 ? 1 : 4 / kLineVectors;

// Query numbers that are arranged at a time.
inline constexpr size_t kQueryChunk = 128;

// The gates of G heads that share lines. Of block b and head h of them, bit and weight of token t are
// open[h]'s bit b * 16 / G + t and weight[b * 16 + h * 16 / G + t].
template <size_t G>
struct OpenKeys {
  HWY_ALIGN float weight[kMaxBlockTokens * G];
  uint64_t open[G];
};

// The query's numbers as the lanes of a line want them: number k of the head that each lane belongs to.
template <size_t G>
class LineQuery {
 public:
  static constexpr size_t kTokens = kLaneBlock / G;
  // Else all lanes of a vector are one head's.
  static constexpr bool kArranged = kLanes > kTokens;

  LineQuery(const float* query, size_t head_dim) : query_(query), head_dim_(head_dim) {}

  // Prepares numbers [first, first + count), count <= kQueryChunk.
  HWY_INLINE void Arrange(size_t first, size_t count) {
    first_ = first;
    if constexpr (kArranged) {
#if HWY_TARGET != HWY_SCALAR
      const FloatTag d;
      // Four a number, for a 128-bit block of every vector.
      const float* head[4];
      for (size_t i = 0; i < 4; ++i) head[i] = query_ + i % G * head_dim_ + first;
      size_t k = 0;
      for (; k + kLanes <= count; k += kLanes) {
        hn::StoreInterleaved4(hn::LoadU(d, head[0] + k), hn::LoadU(d, head[1] + k), hn::LoadU(d, head[2] + k),
                              hn::LoadU(d, head[3] + k), d, arranged_ + 4 * k);
      }
      for (; k < count; ++k) {
        for (size_t i = 0; i < 4; ++i) arranged_[4 * k + i] = head[i][k];
      }
#endif
    }
  }

  // Of number first + k of what is prepared, for vector u of a line.
  HWY_INLINE FloatVector Lanes(size_t k, size_t u) const {
    const FloatTag d;
#if HWY_TARGET != HWY_SCALAR
    if constexpr (kArranged) {
      return hn::TableLookupLanes(hn::LoadDup128(d, arranged_ + 4 * k),
                                  hn::SetTableIndices(d, kHeadOfLane.head[u]));
    }
#endif
    return hn::Set(d, query_[u * kLanes / kTokens * head_dim_ + first_ + k]);
  }

 private:
  struct HeadOfLane {
    HWY_ALIGN int32_t head[kLineVectors][kLanes];
  };
  static constexpr HeadOfLane kHeadOfLane = [] {
    HeadOfLane of = {};
    for (size_t i = 0; i < kLaneBlock; ++i)
      of.head[i / kLanes][i % kLanes] = static_cast<int32_t>(i / kTokens);
    return of;
  }();

  const float* const query_;
  const size_t head_dim_;
  size_t first_ = 0;
  HWY_ALIGN float arranged_[4 * kQueryChunk];
};

// Gates the scores of block b; the lanes of tokens past the last hold anything.
template <size_t G, bool kMargin>
HWY_INLINE void GateLine(const TokenAttention& a, size_t b, const FloatVector (&chain)[kLineVectors],
                         GateSummary (&seen)[kLineVectors], OpenKeys<G>& keys) {
  constexpr size_t kTokens = kLaneBlock / G;
  const FloatTag d;
  const IntTag di;
  const size_t count = HWY_MIN(a.tokens - b * kTokens, kTokens);
  const FloatVector scale = hn::Set(d, a.scale);
  uint64_t line = 0;
#pragma GCC unroll 4
  for (size_t u = 0; u < kLineVectors; ++u) {
    FloatVector argument = hn::Mul(scale, chain[u]);
    const IntVector before = seen[u].smallest;
    const IntVector token = hn::And(hn::Iota(di, static_cast<int32_t>(u * kLanes)),
                                    hn::Set(di, static_cast<int32_t>(kTokens - 1)));
    const auto exists = hn::Lt(token, hn::Set(di, static_cast<int32_t>(count)));
    argument = hn::IfThenElseZero(hn::RebindMask(d, exists), argument);
    FloatVector weight;
    line |= BitsOf(GateVector<false, kMargin>(argument, weight, seen[u])) << (u * kLanes);
    if constexpr (kMargin) seen[u].smallest = hn::IfThenElse(exists, seen[u].smallest, before);
    if (a.square) weight = hn::Mul(weight, weight);
    hn::Store(weight, d, keys.weight + b * kLaneBlock + u * kLanes);
  }
  constexpr uint64_t kMask = (uint64_t{1} << kTokens) - 1;
#pragma GCC unroll 4
  for (size_t h = 0; h < G; ++h) keys.open[h] |= (line >> (h * kTokens) & kMask) << (b * kTokens);
}

// The gates of blocks [b, b + B) of the heads whose keys start at `lines`.
template <size_t G, size_t B, bool kMargin>
HWY_INLINE void GateBlocks(const TokenAttention& a, size_t b, const float* lines, size_t block_size,
                           LineQuery<G>& query, GateSummary (&seen)[kLineVectors], OpenKeys<G>& keys) {
  const FloatTag d;
  FloatVector chain[B][kLineVectors];
#pragma GCC unroll 4
  for (size_t i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (size_t u = 0; u < kLineVectors; ++u) chain[i][u] = hn::Zero(d);
  }
  const float* line = lines + b * block_size;
  for (size_t first = 0; first < a.head_dim; first += kQueryChunk) {
    const size_t count = HWY_MIN(a.head_dim - first, kQueryChunk);
    // What fits one chunk is arranged already.
    if (a.head_dim > kQueryChunk) query.Arrange(first, count);
    for (size_t k = 0; k < count; ++k, line += kLaneBlock) {
#pragma GCC unroll 4
      for (size_t u = 0; u < kLineVectors; ++u) {
        const FloatVector lanes = query.Lanes(k, u);
#pragma GCC unroll 4
        for (size_t i = 0; i < B; ++i) {
          chain[i][u] = Fma(lanes, hn::Load(d, line + i * block_size + u * kLanes), chain[i][u]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < B; ++i) GateLine<G, kMargin>(a, b + i, chain[i], seen, keys);
}

// Columns [column, column + V vectors) of one head's sum over the keys in `open`; `columns` of them exist.
// `values` is column `column` of the value of token 0.
template <size_t G, size_t V>
HWY_INLINE void SumValues(uint64_t open, const float* weight, const float* values, size_t block_size,
                          size_t token_size, size_t columns, float* out) {
  constexpr size_t kTokens = kLaneBlock / G;
  const FloatTag d;
  FloatVector chain[V];
#pragma GCC unroll 4
  for (size_t v = 0; v < V; ++v) chain[v] = hn::Zero(d);
  for (; open != 0; open &= open - 1) {
    const size_t token = hwy::Num0BitsBelowLS1Bit_Nonzero64(open);
    const size_t b = token / kTokens, t = token % kTokens;
    const FloatVector broadcast = hn::Set(d, weight[b * kLaneBlock + t]);
    const float* const value = values + b * block_size + t * token_size;
#pragma GCC unroll 4
    for (size_t v = 0; v < V; ++v) chain[v] = Fma(broadcast, hn::Load(d, value + v * kLanes), chain[v]);
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

template <size_t G>
HWY_INLINE void SumHead(uint64_t open, const float* weight, const float* values, const TokenBlocks& layout,
                        float* out) {
  constexpr size_t kVectors = 4;
  const size_t block_size = layout.block_size(), token_size = layout.heads * layout.value_width();
  for (size_t column = 0; column < layout.head_dim;) {
    const size_t columns = HWY_MIN(layout.head_dim - column, kVectors * kLanes);
    switch ((columns + kLanes - 1) / kLanes) {
#define SPLINESERVE_COLUMNS(V)                                                                     \
  case V:                                                                                          \
    SumValues<G, V>(open, weight, values + column, block_size, token_size, columns, out + column); \
    break;
      SPLINESERVE_COLUMNS(1)
      SPLINESERVE_COLUMNS(2)
      SPLINESERVE_COLUMNS(3)
      SPLINESERVE_COLUMNS(4)
#undef SPLINESERVE_COLUMNS
    }
    column += columns;
  }
}

// The summaries of G heads out of those of their lines.
template <size_t G, bool kMargin>
HWY_INLINE void SummarizeHeads(const GateSummary (&seen)[kLineVectors], const OpenKeys<G>& keys,
                               GateRow* gates) {
  constexpr size_t kTokens = kLaneBlock / G;
  const FloatTag d;
  const IntTag di;
  FloatVector overflow = seen[0].overflow;
  for (size_t u = 1; u < kLineVectors; ++u) overflow = hn::Add(overflow, seen[u].overflow);
  const bool all_finite = hn::GetLane(hn::SumOfLanes(d, overflow)) == 0;
  HWY_ALIGN float overflows[kLaneBlock] = {};
  HWY_ALIGN int32_t smallest[kLaneBlock];
  for (size_t u = 0; u < kLineVectors; ++u) {
    if (!all_finite) hn::Store(seen[u].overflow, d, overflows + u * kLanes);
    if constexpr (kMargin) hn::Store(seen[u].smallest, di, smallest + u * kLanes);
  }
  for (size_t h = 0; h < G; ++h) {
    GateRow& row = gates[h];
    row.open = static_cast<uint32_t>(hwy::PopCount(keys.open[h]));
    row.finite = true;
    int32_t margin = kInfinityBits;
    for (size_t t = h * kTokens; t < (h + 1) * kTokens; ++t) {
      if (!all_finite) row.finite = row.finite && overflows[t] == 0;
      if constexpr (kMargin) margin = HWY_MIN(margin, smallest[t]);
    }
    row.margin = kMargin ? FloatOfBits(margin) : 0;
  }
}

template <size_t G, bool kMargin>
HWY_NOINLINE void AttendHeads(const TokenAttention& a, GateRow* gates, float* out) {
  const TokenBlocks layout = {a.heads, a.head_dim};
  const size_t blocks = layout.Blocks(a.tokens), block_size = layout.block_size();
  const uint64_t all = ~uint64_t{0} >> (64 - a.tokens);
  OpenKeys<G> keys;
  for (size_t head = 0; head < a.heads; head += G) {
    LineQuery<G> query(a.query + head * a.head_dim, a.head_dim);
    query.Arrange(0, HWY_MIN(a.head_dim, kQueryChunk));
    GateSummary seen[kLineVectors];
    for (GateSummary& summary : seen) summary = {0, hn::Zero(FloatTag()), hn::Set(IntTag(), kInfinityBits)};
    for (size_t h = 0; h < G; ++h) keys.open[h] = 0;
    const float* const lines = a.blocks + layout.KeyAt(0, head);
    for (size_t b = 0; b < blocks;) {
      const size_t count = HWY_MIN(blocks - b, kBlocksAtOnce);
      switch (count) {
#define SPLINESERVE_BLOCKS(B)                                                                                \
  case B:                                                                                                    \
    if constexpr (B <= kBlocksAtOnce) GateBlocks<G, B, kMargin>(a, b, lines, block_size, query, seen, keys); \
    break;
        SPLINESERVE_BLOCKS(1)
        SPLINESERVE_BLOCKS(2)
        SPLINESERVE_BLOCKS(3)
        SPLINESERVE_BLOCKS(4)
#undef SPLINESERVE_BLOCKS
      }
      b += count;
    }
    SummarizeHeads<G, kMargin>(seen, keys, gates + head);
    for (size_t h = 0; h < G; ++h) {
      uint8_t* const bits = a.bits == nullptr ? nullptr : a.bits[head + h];
      if (bits != nullptr) std::memcpy(bits, &keys.open[h], (a.tokens + 7) / 8);
      SumHead<G>(a.read_closed ? all : keys.open[h], keys.weight + h * (kLaneBlock / G),
                 a.blocks + layout.ValueAt(0, head + h), layout, out + (head + h) * a.head_dim);
    }
  }
}

template <bool kMargin>
HWY_INLINE void AttendAllHeads(const TokenAttention& a, GateRow* gates, float* out) {
  switch (TokenBlocks{a.heads, a.head_dim}.heads_together()) {
    case 4:
      return AttendHeads<4, kMargin>(a, gates, out);
    case 2:
      return AttendHeads<2, kMargin>(a, gates, out);
    default:
      return AttendHeads<1, kMargin>(a, gates, out);
  }
}

inline void AttendToken(const TokenAttention& a, GateRow* gates, float* out) {
  a.want_margin ? AttendAllHeads<true>(a, gates, out) : AttendAllHeads<false>(a, gates, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
