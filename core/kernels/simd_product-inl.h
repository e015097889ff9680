// The product: an outer-product microkernel whose accumulators stay in registers while k walks upward, so
// that every output is one chain of fused multiply-adds. Its end either stores the numbers or gates them
// first. Included once for each target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_PRODUCT_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_PRODUCT_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_PRODUCT_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_gate_tile-inl.h"
#include "core/kernels/simd_open_list-inl.h"
#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// A tile of R rows by V vectors keeps R * V accumulators, V weights and one broadcast in registers.
inline constexpr size_t kTileRows = 6;

// Vectors in a tile of `rows` rows. The accumulators must hide the latency of the multiply-add (4 cycles, two
// a cycle: 8 of them) and fit the registers: 6 x 4 = 24 of 32 on AVX-512 and NEON, 6 x 2 = 12 of 16 on AVX2.
// Portable code calls std::fma number by number, and the compiler writes every tile out: one vector each.
constexpr size_t TileVectors([[maybe_unused]] size_t rows) {
#if HWY_TARGET == HWY_AVX2
  return rows == 1 ? 8 : rows <= 3 ? 4 : 2;
#elif HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  return 1;
#else
  return 4;
#endif
}

struct ProductArguments {
  const float* x;
  size_t x_stride;
  size_t inner;
  float scale;
  const GateSpec* gates;  // of a gated product
  float* out;
  size_t out_stride;
  size_t panel_width;
};

// What a tile brings into the second-level cache while it multiplies, its share of weights that are used
// later: from `ahead` and from `second` bytes further on, `step` bytes a k. Without it, weights that come
// from memory take 16 rows on Zen 4 from 0.98 of the peak to 0.86.
struct Fetch {
  const char* ahead;
  size_t second;
  size_t step;
  size_t share;  // from one tile's `ahead` to the next's
};

// What `tiles` tiles, which pass over panel `p` together, fetch, as much as it holds: what the model uses
// next where that is known and the tiles are few, else what lies behind the panel. That is the next panel,
// and behind the last one as a rule the matrix that is used next (WeightPacker). A prefetch cannot fault.
template <typename Weight>
HWY_INLINE Fetch FetchWith(size_t tiles, const PackedView& w, size_t p) {
  const size_t stride = w.panel_stride * sizeof(Weight), bytes = w.panel_width * sizeof(Weight);
  const char* const next = static_cast<const char*>(w.data) + (p + 1) * stride;
  if (tiles < 2) return {static_cast<const char*>(w.data), 0, 0, 0};
  // Few tiles have little time for it, and the processor fetches faster where two streams ask: 16 rows 145 to
  // 153 instead of 129 to 141 GFLOP/s on an Emerald Rapids. With many tiles one is enough, and two take 256
  // words of g2p 1.02 times as long.
  constexpr size_t kFewTiles = 4;
  if (tiles > kFewTiles) {
    const size_t step = (bytes + tiles - 1) / tiles;
    return {next, 64, step, step * w.inner};
  }
  const size_t step = (bytes + 2 * tiles - 1) / (2 * tiles);
  const char* const ahead = w.stretch == nullptr
                                ? next
                                : reinterpret_cast<const char*>(w.stretch->At(w.stretch->lead + p * stride));
  return {ahead, step * w.inner, step, 2 * step * w.inner};
}

// The part of one product that a tile computes: rows [row, row + R), columns [column, column + columns) of
// the panels given, which start at `w`. Weight: float, hwy::bfloat16_t or hwy::float16_t.
template <typename Weight>
struct TilePlace {
  const Weight* w;
  const float* bias;  // of the first column, or null
  size_t row;
  size_t column;
  size_t columns;
  Fetch fetch;
};

// kContinue: as kStore, from what `out` holds instead of the bias.
enum class TileEnd { kStore, kContinue, kGate, kGateMargin };

// One tile; columns is more than (V - 1) vectors and at most V.
template <size_t R, size_t V, TileEnd kEnd, typename Weight>
HWY_NOINLINE void ProductTile(const ProductArguments& a, const TilePlace<Weight>& place) {
  const FloatTag d;
  const size_t last = place.columns - (V - 1) * kLanes;  // columns in the last vector
  FloatVector acc[R][V];
#pragma GCC unroll 8
  for (size_t v = 0; v < V; ++v) {
    const size_t count = v + 1 < V ? kLanes : last;
    if constexpr (kEnd == TileEnd::kContinue) {
      const float* p = a.out + place.row * a.out_stride + place.column + v * kLanes;
#pragma GCC unroll 8
      for (size_t r = 0; r < R; ++r) acc[r][v] = LoadFirstOrAll(p + r * a.out_stride, count);
    } else {
      FloatVector start = hn::Zero(d);
      if (place.bias != nullptr) start = LoadFirstOrAll(place.bias + v * kLanes, count);
#pragma GCC unroll 8
      for (size_t r = 0; r < R; ++r) acc[r][v] = start;
    }
  }

  const float* row[R];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) row[r] = a.x + (place.row + r) * a.x_stride;
  const Weight* HWY_RESTRICT w = place.w;
  const Fetch fetch = place.fetch;
  const char* ahead = fetch.ahead;
  const size_t inner = a.inner;
  const size_t w_step = a.panel_width;
  for (size_t k = 0; k < inner; ++k, w += w_step) {
    // A tile narrower than the panel skips lines of it, which the processor does not foresee: on AVX2 at 4
    // rows and 512 by 512 weights this takes 0.64 of the peak to 0.80. May name memory past the panel; a
    // prefetch cannot fault.
    if constexpr (TileVectors(R) * kLanes < kMaxPanelWidth) __builtin_prefetch(w + 16 * w_step);
    __builtin_prefetch(ahead, 0, 2);
    __builtin_prefetch(ahead + fetch.second, 0, 2);
    ahead += fetch.step;
    FloatVector weight[V];
#pragma GCC unroll 8
    for (size_t v = 0; v < V; ++v) weight[v] = LoadWeights(w + v * kLanes);
#pragma GCC unroll 8
    for (size_t r = 0; r < R; ++r) {
      const FloatVector broadcast = hn::Set(d, row[r][k]);
#pragma GCC unroll 8
      for (size_t v = 0; v < V; ++v) acc[r][v] = Fma(broadcast, weight[v], acc[r][v]);
    }
  }

  const FloatVector scale = hn::Set(d, a.scale);
  float* const out = a.out + place.row * a.out_stride + place.column;
  if constexpr (kEnd == TileEnd::kGate || kEnd == TileEnd::kGateMargin) {
    constexpr bool kMargin = kEnd == TileEnd::kGateMargin;
    // Copies: what is stored could be part of the originals for all that the compiler knows.
    const GateSpec spec = *a.gates;
    const size_t row = place.row, column = place.column, columns = place.columns, stride = a.out_stride;
    const bool all = columns == V * kLanes && SeeAll(spec, row, R, column, columns);
#if HWY_TARGET == HWY_AVX3
    if constexpr (V == 4 && !kMargin) {
      if (all && spec.lists != nullptr && !spec.square && CompressesBytes())
        return ListTile<R>(acc, scale, spec, row, column);
    }
#endif
    if (all) {
      GateTile<R, V, kMargin, true>(acc, scale, spec, row, column, columns, out, stride);
    } else {
      GateTile<R, V, kMargin, false>(acc, scale, spec, row, column, columns, out, stride);
    }
  } else {
    const size_t columns = place.columns, stride = a.out_stride;
#pragma GCC unroll 8
    for (size_t r = 0; r < R; ++r) {
      FloatVector number[V];
#pragma GCC unroll 8
      for (size_t v = 0; v < V; ++v) number[v] = hn::Mul(scale, acc[r][v]);
      StoreTileRow<V>(number, columns, out + r * stride);
    }
  }
}

// R rows of one panel of `columns` columns, tile by tile; the last tile may be narrower.
template <size_t R, TileEnd kEnd, typename Weight>
HWY_INLINE void ProductRows(const ProductArguments& a, const TilePlace<Weight>& panel) {
  constexpr size_t kVectors = TileVectors(R);
  size_t c = 0;
  while (c < panel.columns) {
    const size_t left = panel.columns - c;
    const size_t vectors = HWY_MIN((left + kLanes - 1) / kLanes, kVectors);
    TilePlace<Weight> tile = panel;
    tile.w += c;
    if (tile.bias != nullptr) tile.bias += c;
    tile.column += c;
    tile.columns = HWY_MIN(left, vectors * kLanes);
    switch (vectors) {
#define SPLINESERVE_TILE(V)                                        \
  case V:                                                          \
    if constexpr (V <= kVectors) ProductTile<R, V, kEnd>(a, tile); \
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
    c += tile.columns;
  }
}

// All rows of one panel, in `tiles` even shares: 16 rows are 6 + 5 + 5, 7 are 4 + 3. A tile of one row would
// wait for the weights.
template <TileEnd kEnd, typename Weight>
HWY_INLINE void PanelTiles(const ProductArguments& a, size_t rows, size_t tiles, TilePlace<Weight> place) {
  const char* const ahead = place.fetch.ahead;
  for (size_t t = 0, r = 0; t < tiles; ++t) {
    const size_t count = (rows - r + (tiles - t) - 1) / (tiles - t);
    place.row = r;
    place.fetch.ahead = ahead + t * place.fetch.share;
    switch (count) {
      case 1:
        ProductRows<1, kEnd>(a, place);
        break;
      case 2:
        ProductRows<2, kEnd>(a, place);
        break;
      case 3:
        ProductRows<3, kEnd>(a, place);
        break;
      case 4:
        ProductRows<4, kEnd>(a, place);
        break;
      case 5:
        ProductRows<5, kEnd>(a, place);
        break;
      default:
        ProductRows<6, kEnd>(a, place);
        break;
    }
    r += count;
  }
}

// Weights of 16 bits are expanded once a panel from so many tiles on, which would each expand them again: 256
// words of g2p took 1.2 times as long as in float32 on an Emerald Rapids. Of longer panels the copy would not
// leave room in the second-level cache, and on the stack.
inline constexpr size_t kExpandTiles = 3;
inline constexpr size_t kExpandInner = 1024;

template <TileEnd kEnd, typename Weight>
HWY_NOINLINE void ExpandedPanelTiles(const ProductArguments& a, size_t rows, size_t tiles,
                                     const TilePlace<Weight>& place) {
  HWY_ALIGN float wide[kExpandInner * kMaxPanelWidth];
  const FloatTag d;
  for (size_t i = 0; i < a.inner * a.panel_width; i += kLanes)
    hn::Store(LoadWeights(place.w + i), d, wide + i);
  PanelTiles<kEnd>(a, rows, tiles,
                   TilePlace<float>{wide, place.bias, 0, place.column, place.columns, place.fetch});
}

template <TileEnd kEnd, typename Weight>
HWY_INLINE void ProductTiles(const ProductArguments& a, size_t rows, const PackedView& w, const float* bias) {
  const size_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (size_t p = 0; p < w.panels(); ++p) {
    TilePlace<Weight> place;
    place.w = static_cast<const Weight*>(w.data) + p * w.panel_stride;
    place.column = p * w.panel_width;
    place.columns = HWY_MIN(w.outer - place.column, w.panel_width);
    place.bias = bias != nullptr ? bias + place.column : nullptr;
    // The panel stays in the second-level cache while all rows pass over it.
    place.fetch = FetchWith<Weight>(tiles, w, p);
    if constexpr (sizeof(Weight) < sizeof(float)) {
      if (tiles >= kExpandTiles && w.inner <= kExpandInner) {
        ExpandedPanelTiles<kEnd>(a, rows, tiles, place);
        continue;
      }
    }
    PanelTiles<kEnd>(a, rows, tiles, place);
  }
}

template <typename Weight>
void ProductOf(const ProductArguments& a, size_t rows, const PackedView& w, const float* bias) {
  if (a.gates == nullptr) {
    ProductTiles<TileEnd::kStore, Weight>(a, rows, w, bias);
  } else if (a.gates->want_margin) {
    ProductTiles<TileEnd::kGateMargin, Weight>(a, rows, w, bias);
  } else {
    ProductTiles<TileEnd::kGate, Weight>(a, rows, w, bias);
  }
}

// simd_compact.cc compiles those of 16 bits.
#undef SPLINESERVE_COMPACT_PRODUCTS
#define SPLINESERVE_COMPACT_PRODUCTS(EXTERN, Weight)                                                  \
  EXTERN template void ProductOf<Weight>(const ProductArguments& a, size_t rows, const PackedView& w, \
                                         const float* bias);
SPLINESERVE_COMPACT_PRODUCTS(extern, hwy::bfloat16_t)
SPLINESERVE_COMPACT_PRODUCTS(extern, hwy::float16_t)

HWY_INLINE void ProductOfAny(const ProductArguments& a, size_t rows, const PackedView& w, const float* bias) {
  switch (w.format) {
    case WeightFormat::kFloat32:
      return ProductOf<float>(a, rows, w, bias);
    case WeightFormat::kBfloat16:
      return ProductOf<hwy::bfloat16_t>(a, rows, w, bias);
    case WeightFormat::kFloat16:
      return ProductOf<hwy::float16_t>(a, rows, w, bias);
  }
}

inline void Product(const float* x, size_t x_stride, size_t rows, const PackedView& w, const float* bias,
                    float scale, float* out, size_t out_stride) {
  ProductOfAny({x, x_stride, w.inner, scale, nullptr, out, out_stride, w.panel_width}, rows, w, bias);
}

inline void ContinueProduct(const float* x, size_t x_stride, size_t rows, const PackedView& w, float* out,
                            size_t out_stride) {
  ProductTiles<TileEnd::kContinue, float>(
      {x, x_stride, w.inner, 1.0f, nullptr, out, out_stride, w.panel_width}, rows, w, nullptr);
}

inline void GatedProduct(const float* x, size_t x_stride, size_t rows, const PackedView& w, const float* bias,
                         float scale, const GateSpec& gates, float* out, size_t out_stride) {
  ProductOfAny({x, x_stride, w.inner, scale, &gates, out, out_stride, w.panel_width}, rows, w, bias);
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
