// Products that skip what closed gates multiply with zero: each panel's accumulators walk the lists of open
// numbers that simd_open_list-inl.h makes. Included once for each target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_SPARSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_SPARSE_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_SPARSE_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_SPARSE_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// Of a cache line of 64 bytes.
template <typename Weight>
inline constexpr size_t kNumbersPerLine = 64 / sizeof(Weight);

// Vectors of one tile: a whole panel, but no more than 8, whose chains hide the latency of the multiply-add
// and leave registers; in portable code, which the compiler writes out lane by lane, a cache line.
inline constexpr size_t kSparseVectors = HWY_MIN(kMaxPanelWidth / kLanes, kHardwareFma ? 8 : 4);

// Rows whose chains may run side by side: those of one wait 4 cycles for every multiply-add, of which there
// are but as many as vectors in the tile. Where two rows' chains do not fit the registers a row has enough.
template <size_t V>
inline constexpr size_t kRowsTogether = 2 * V <= 8 ? 2 : 1;

// Whether a row's own chains leave multiply-adds unused. Not on Zen 4, which begins one of 512 bits a cycle
// (Zen 3, of the same family, has none): a row's 4 vectors fill it, and the ends of two lists in one loop are
// foreseen more rarely than that of one. There 128 tokens of d = 512, 10 % open, take 1/1.03 of the time row
// by row.
inline bool RunsRowsSideBySide() {
#if HWY_TARGET == HWY_AVX3
  static const bool halves_vectors = __builtin_cpu_is("amdfam19h") != 0;
  return !halves_vectors;
#else
  return true;
#endif
}

// V vectors of one row's sums.
template <size_t V>
struct SparseChains {
  FloatVector chain[V];

  // From `start`, or zero if that is null; the last vector has `last` numbers.
  HWY_INLINE void Load(const float* start, size_t last) {
    const FloatTag d;
#pragma GCC unroll 16
    for (size_t v = 0; v < V; ++v) {
      chain[v] = hn::Zero(d);
      if (start != nullptr) {
        chain[v] = v + 1 < V || last == kLanes ? hn::LoadU(d, start + v * kLanes)
                                               : LoadFirst(start + v * kLanes, last);
      }
    }
  }
  HWY_INLINE void Store(float* out, size_t last) const {
    const FloatTag d;
#pragma GCC unroll 16
    for (size_t v = 0; v + 1 < V; ++v) hn::StoreU(chain[v], d, out + v * kLanes);
    if (last == kLanes) {
      hn::StoreU(chain[V - 1], d, out + (V - 1) * kLanes);
    } else {
      StoreFirst(chain[V - 1], out + (V - 1) * kLanes, last);
    }
  }
  template <typename Weight>
  HWY_INLINE void Add(float value, const Weight* HWY_RESTRICT weights) {
    const FloatVector broadcast = hn::Set(FloatTag(), value);
#pragma GCC unroll 16
    for (size_t v = 0; v < V; ++v) chain[v] = Fma(broadcast, LoadWeights(weights + v * kLanes), chain[v]);
  }
};

// What is brought into the caches while a list is walked: nothing; the weights of later entries of the same
// list, which is walked once; or those of the next block, a share with every few entries, as the processor
// does not foresee which rows of a panel come next.
enum class SparseFetch { kNone, kEntries, kBlock };

// Where the next block's weights are fetched, `step` bytes further for every entry.
struct BlockFetch {
  const char* at;
  size_t step;
};

template <SparseFetch kFetch>
HWY_INLINE void FetchShare(BlockFetch& fetch, size_t entries) {
  if constexpr (kFetch == SparseFetch::kBlock) {
    // May run past the last panel; a prefetch cannot fault.
    const size_t bytes = entries * fetch.step;
    for (size_t c = 0; c < bytes; c += 64) __builtin_prefetch(fetch.at + c, 0, 2);
    fetch.at += bytes;
  }
}

struct SparseArguments {
  OpenLists x;
  size_t rows;
  size_t blocks;
  size_t panel_stride, panel_width;
  SparseFetch fetch;
  size_t fetch_step;
  bool from_out;      // chains start at what `out` holds, not at the bias
  bool side_by_side;  // two rows at a time (RunsRowsSideBySide)
};

// One row's entries of a segment into V vectors of a panel that starts at `w`; the last vector has `last`
// columns.
template <size_t V, SparseFetch kFetch, typename Weight>
HWY_INLINE void SparseTile(const SparseArguments& a, const OpenSegment& segment, const Weight* HWY_RESTRICT w,
                           const float* start, size_t last, float* out, BlockFetch& fetch) {
  const uint32_t* HWY_RESTRICT index = a.x.index;
  const float* HWY_RESTRICT value = a.x.value;
  const size_t width = a.panel_width;
  SparseChains<V> row;
  row.Load(start, last);
  const auto add = [&](size_t i) HWY_ATTR {
    if constexpr (kFetch == SparseFetch::kEntries) {
      // Past the list's end this may name any address.
      constexpr size_t kDistance = 12;
      const Weight* later = w + size_t{index[i + kDistance]} * width;
#pragma GCC unroll 4
      for (size_t c = 0; c < V * kLanes; c += kNumbersPerLine<Weight>) __builtin_prefetch(later + c);
    }
    row.Add(value[i], w + size_t{index[i]} * width);
  };
  size_t i = segment.begin;
  // Four a turn: 128 rows by 128 of 2,048 numbers, 10 % open, take 6.7 instead of 7.1 cycles an entry (Zen
  // 4).
  for (; i + 4 <= segment.end; i += 4) {
    FetchShare<kFetch>(fetch, 4);
    add(i);
    add(i + 1);
    add(i + 2);
    add(i + 3);
  }
  for (; i < segment.end; ++i) {
    FetchShare<kFetch>(fetch, 1);
    add(i);
  }
  row.Store(out, last);
}

// The same of two rows, side by side as far as the shorter list goes.
template <size_t V, SparseFetch kFetch, typename Weight>
HWY_INLINE void SparseTilePair(const SparseArguments& a, const OpenSegment* segments,
                               const Weight* HWY_RESTRICT w, const float* const (&start)[2], size_t last,
                               float* const (&out)[2], BlockFetch& fetch) {
  const uint32_t* HWY_RESTRICT index = a.x.index;
  const float* HWY_RESTRICT value = a.x.value;
  const size_t width = a.panel_width;
  SparseChains<V> row[2];
  row[0].Load(start[0], last);
  row[1].Load(start[1], last);
  size_t i = segments[0].begin, j = segments[1].begin;
  const size_t i_end = segments[0].end, j_end = segments[1].end;
  for (const size_t both = i + HWY_MIN(i_end - i, j_end - j); i < both; ++i, ++j) {
    FetchShare<kFetch>(fetch, 2);
    row[0].Add(value[i], w + size_t{index[i]} * width);
    row[1].Add(value[j], w + size_t{index[j]} * width);
  }
  for (; i < i_end; ++i) row[0].Add(value[i], w + size_t{index[i]} * width);
  for (; j < j_end; ++j) row[1].Add(value[j], w + size_t{index[j]} * width);
  row[0].Store(out[0], last);
  row[1].Store(out[1], last);
}

// `columns` columns of one panel, more than V - 1 vectors of them; `w` points to the first.
template <size_t V, SparseFetch kFetch, typename Weight>
HWY_NOINLINE void SparseColumns(const SparseArguments& a, const Weight* w, const float* bias, size_t columns,
                                float* out, size_t out_stride) {
  const size_t last = columns - (V - 1) * kLanes;
  for (size_t b = 0; b < a.blocks; ++b) {
    const Weight* next =
        b + 1 < a.blocks ? w + ((b + 1) << a.x.log2_block) * a.panel_width : w + a.panel_stride;
    BlockFetch fetch = {reinterpret_cast<const char*>(next), a.fetch_step};
    const OpenSegment* const segments = a.x.segments + b * a.x.rows;
    const bool from_bias = b == 0 && !a.from_out;
    size_t r = 0;
    if constexpr (kRowsTogether<V> == 2 && kFetch != SparseFetch::kEntries) {
      for (; a.side_by_side && r + 2 <= a.rows; r += 2) {
        float* const rows[2] = {out + r * out_stride, out + (r + 1) * out_stride};
        const float* const starts[2] = {from_bias ? bias : rows[0], from_bias ? bias : rows[1]};
        SparseTilePair<V, kFetch>(a, segments + r, w, starts, last, rows, fetch);
      }
    }
    for (; r < a.rows; ++r) {
      float* const row = out + r * out_stride;
      SparseTile<V, kFetch>(a, segments[r], w, from_bias ? bias : row, last, row, fetch);
    }
  }
}

template <size_t V, typename Weight>
HWY_INLINE void SparseColumnsFetching(const SparseArguments& a, const Weight* w, const float* bias,
                                      size_t columns, float* out, size_t out_stride) {
  switch (a.fetch) {
    case SparseFetch::kNone:
      return SparseColumns<V, SparseFetch::kNone>(a, w, bias, columns, out, out_stride);
    case SparseFetch::kEntries:
      return SparseColumns<V, SparseFetch::kEntries>(a, w, bias, columns, out, out_stride);
    case SparseFetch::kBlock:
      return SparseColumns<V, SparseFetch::kBlock>(a, w, bias, columns, out, out_stride);
  }
}

template <typename Weight>
HWY_INLINE void SparsePanel(const SparseArguments& a, const Weight* panel, const float* bias, size_t columns,
                            float* out, size_t out_stride) {
  SparseArguments tile = a;
  for (size_t c = 0; c < columns; c += kSparseVectors * kLanes) {
    const size_t count = HWY_MIN(columns - c, kSparseVectors * kLanes);
    const float* tile_bias = bias != nullptr ? bias + c : nullptr;
    // The first tile fetches for the whole panel.
    if (c > 0 && tile.fetch == SparseFetch::kBlock) tile.fetch = SparseFetch::kNone;
    switch ((count + kLanes - 1) / kLanes) {
#define SPLINESERVE_TILE(V)                                                             \
  case V:                                                                               \
    if constexpr (V <= kSparseVectors)                                                  \
      SparseColumnsFetching<V>(tile, panel + c, tile_bias, count, out + c, out_stride); \
    break;
      SPLINESERVE_TILE(1)
      SPLINESERVE_TILE(2)
      SPLINESERVE_TILE(3)
      SPLINESERVE_TILE(4)
      SPLINESERVE_TILE(5)
      SPLINESERVE_TILE(6)
      SPLINESERVE_TILE(7)
      SPLINESERVE_TILE(8)
#undef SPLINESERVE_TILE
    }
  }
}

// From the bias, or where `from_out` from what `out` holds.
template <typename Weight>
void SparseProductOf(const OpenLists& x, size_t rows, const PackedView& w, const float* bias, bool from_out,
                     float* out, size_t out_stride) {
  SparseArguments a = {.x = x,
                       .rows = rows,
                       .blocks = OpenBlocks(w.inner, x.log2_block),
                       .panel_stride = w.panel_stride,
                       .panel_width = w.panel_width,
                       .fetch = rows <= 2 ? SparseFetch::kEntries : SparseFetch::kNone,
                       .fetch_step = 0,
                       .from_out = from_out,
                       .side_by_side = RunsRowsSideBySide()};
  size_t open = 0;
  for (size_t b = 0; b < a.blocks; ++b) {
    const OpenSegment* const segments = x.segments + b * x.rows;
    for (size_t r = 0; r < rows; ++r) open += segments[r].end - segments[r].begin;
  }
  // Worth it where most weights of a block are used and are not in the second-level cache already: 128 rows
  // of 2,048 numbers, 10 % open, times 512 columns, of 18 matrices in turn, make 57 GFLOP/s with it and 38
  // without (Emerald Rapids).
  constexpr size_t kCachedBytes = 512 * 1024;
  const size_t bytes = w.inner * w.outer * sizeof(Weight);
  if (rows > 2 && bytes > kCachedBytes && open > w.inner) {
    a.fetch = SparseFetch::kBlock;
    a.fetch_step = w.inner * w.panel_width * sizeof(Weight) / open + 1;
  }
  for (size_t p = 0; p < w.panels(); ++p) {
    const Weight* panel = static_cast<const Weight*>(w.data) + p * w.panel_stride;
    const size_t first = p * w.panel_width;
    const size_t columns = HWY_MIN(w.outer - first, w.panel_width);
    const float* panel_bias = bias != nullptr ? bias + first : nullptr;
    SparsePanel(a, panel, panel_bias, columns, out + first, out_stride);
  }
}

// simd_compact.cc compiles those of 16 bits.
#undef SPLINESERVE_COMPACT_SPARSE_PRODUCTS
#define SPLINESERVE_COMPACT_SPARSE_PRODUCTS(EXTERN, Weight)                                          \
  EXTERN template void SparseProductOf<Weight>(const OpenLists& x, size_t rows, const PackedView& w, \
                                               const float* bias, bool from_out, float* out,         \
                                               size_t out_stride);
SPLINESERVE_COMPACT_SPARSE_PRODUCTS(extern, hwy::bfloat16_t)
SPLINESERVE_COMPACT_SPARSE_PRODUCTS(extern, hwy::float16_t)

inline void SparseProduct(const OpenLists& x, size_t rows, const PackedView& w, const float* bias, float* out,
                          size_t out_stride) {
  switch (w.format) {
    case WeightFormat::kFloat32:
      return SparseProductOf<float>(x, rows, w, bias, /*from_out=*/false, out, out_stride);
    case WeightFormat::kBfloat16:
      return SparseProductOf<hwy::bfloat16_t>(x, rows, w, bias, /*from_out=*/false, out, out_stride);
    case WeightFormat::kFloat16:
      return SparseProductOf<hwy::float16_t>(x, rows, w, bias, /*from_out=*/false, out, out_stride);
  }
}

// Keys and values are float32.
inline void ContinueSparseProduct(const OpenLists& x, size_t rows, const PackedView& w, float* out,
                                  size_t out_stride) {
  SparseProductOf<float>(x, rows, w, nullptr, /*from_out=*/true, out, out_stride);
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
