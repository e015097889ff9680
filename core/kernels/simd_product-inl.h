// The product: an outer-product microkernel whose accumulators stay in registers while k walks upward, so
// that every output is one chain of fused multiply-adds. Included once for each target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_PRODUCT_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_PRODUCT_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_PRODUCT_INL_H_
#endif

#include <cstddef>

#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_vector-inl.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// A tile of R rows by V vectors keeps R * V accumulators, V weights and one broadcast in registers.
inline constexpr size_t kTileRows = 6;

// Vectors in a tile of `rows` rows. The accumulators must hide the latency of the multiply-add (4 cycles, two
// a cycle: 8 of them) and fit the registers: 6 x 4 = 24 of 32 on AVX-512 and NEON, 6 x 2 = 12 of 16 on AVX2.
constexpr size_t TileVectors([[maybe_unused]] size_t rows) {
#if HWY_TARGET == HWY_AVX2
  return rows == 1 ? 8 : rows <= 3 ? 4 : 2;
#else
  return 4;
#endif
}

struct ProductArguments {
  const float* x;
  size_t x_stride;
  size_t inner;
  float scale;
  float* out;
  size_t out_stride;
};

// out[0..R)[0..columns) of one tile; columns is more than (V - 1) vectors and at most V. `w` is the first
// column of the tile in its panel, w_step floats from one k to the next; `bias` is null or that of the first
// column.
template <size_t R, size_t V>
HWY_NOINLINE void ProductTile(const ProductArguments& a, const float* HWY_RESTRICT w, size_t w_step,
                              const float* bias, size_t columns, const float* HWY_RESTRICT x,
                              float* HWY_RESTRICT out) {
  const FloatTag d;
  const size_t last = columns - (V - 1) * kLanes;  // columns in the last vector
  FloatVector acc[R][V];
#pragma GCC unroll 8
  for (size_t v = 0; v < V; ++v) {
    FloatVector start = hn::Zero(d);
    if (bias != nullptr) {
      const float* p = bias + v * kLanes;
      start = v + 1 < V || last == kLanes ? hn::LoadU(d, p) : LoadFirst(p, last);
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < R; ++r) acc[r][v] = start;
  }

  const float* row[R];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) row[r] = x + r * a.x_stride;
  for (size_t k = 0; k < a.inner; ++k, w += w_step) {
    // A tile narrower than the panel skips lines of it, which the processor does not foresee: on AVX2 at 4
    // rows and 512 by 512 weights this takes 0.64 of the peak to 0.80. May name memory past the panel; a
    // prefetch cannot fault.
    if constexpr (TileVectors(R) * kLanes < kMaxPanelWidth) hwy::Prefetch(w + 16 * w_step);
    FloatVector weight[V];
#pragma GCC unroll 8
    for (size_t v = 0; v < V; ++v) weight[v] = hn::Load(d, w + v * kLanes);
#pragma GCC unroll 8
    for (size_t r = 0; r < R; ++r) {
      const FloatVector broadcast = hn::Set(d, row[r][k]);
#pragma GCC unroll 8
      for (size_t v = 0; v < V; ++v) acc[r][v] = Fma(broadcast, weight[v], acc[r][v]);
    }
  }

  const FloatVector scale = hn::Set(d, a.scale);
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) {
    float* p = out + r * a.out_stride;
#pragma GCC unroll 8
    for (size_t v = 0; v + 1 < V; ++v) hn::StoreU(hn::Mul(scale, acc[r][v]), d, p + v * kLanes);
    const FloatVector end = hn::Mul(scale, acc[r][V - 1]);
    if (last == kLanes) {
      hn::StoreU(end, d, p + (V - 1) * kLanes);
    } else {
      StoreFirst(end, p + (V - 1) * kLanes, last);
    }
  }
}

// R rows of one panel of `columns` columns, tile by tile; the last tile may be narrower.
template <size_t R>
HWY_INLINE void ProductRows(const ProductArguments& a, const float* panel, size_t panel_width,
                            const float* bias, size_t columns, const float* x, float* out) {
  constexpr size_t kVectors = TileVectors(R);
  size_t c = 0;
  while (c < columns) {
    const size_t left = columns - c;
    const float* w = panel + c;
    const float* tile_bias = bias != nullptr ? bias + c : nullptr;
    const size_t vectors = HWY_MIN((left + kLanes - 1) / kLanes, kVectors);
    const size_t taken = HWY_MIN(left, vectors * kLanes);
    switch (vectors) {
#define SPLINESERVE_TILE(V)                                                                          \
  case V:                                                                                            \
    if constexpr (V <= kVectors) ProductTile<R, V>(a, w, panel_width, tile_bias, taken, x, out + c); \
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
    c += taken;
  }
}

inline void Product(const float* x, size_t x_stride, size_t rows, const PackedView& w, const float* bias,
                    float scale, float* out, size_t out_stride) {
  const ProductArguments a = {x, x_stride, w.inner, scale, out, out_stride};
  // Even shares: 16 rows are 6 + 5 + 5, 7 are 4 + 3. A tile of one row would wait for the weights.
  const size_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (size_t p = 0; p < w.panels(); ++p) {
    const float* panel = w.data + p * w.panel_stride;
    const size_t first = p * w.panel_width;
    const size_t columns = HWY_MIN(w.outer - first, w.panel_width);
    const float* panel_bias = bias != nullptr ? bias + first : nullptr;
    // The panel stays in the second-level cache while all rows pass over it.
    for (size_t t = 0, r = 0; t < tiles; ++t) {
      const size_t count = (rows - r + (tiles - t) - 1) / (tiles - t);
      const float* tile_x = x + r * x_stride;
      float* tile_out = out + r * out_stride + first;
      switch (count) {
        case 1:
          ProductRows<1>(a, panel, w.panel_width, panel_bias, columns, tile_x, tile_out);
          break;
        case 2:
          ProductRows<2>(a, panel, w.panel_width, panel_bias, columns, tile_x, tile_out);
          break;
        case 3:
          ProductRows<3>(a, panel, w.panel_width, panel_bias, columns, tile_x, tile_out);
          break;
        case 4:
          ProductRows<4>(a, panel, w.panel_width, panel_bias, columns, tile_x, tile_out);
          break;
        case 5:
          ProductRows<5>(a, panel, w.panel_width, panel_bias, columns, tile_x, tile_out);
          break;
        default:
          ProductRows<6>(a, panel, w.panel_width, panel_bias, columns, tile_x, tile_out);
          break;
      }
      r += count;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
