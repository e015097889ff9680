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

// Vectors of one tile: a whole panel where the registers allow it.
inline constexpr size_t kSparseVectors = HWY_MIN(kMaxPanelWidth / kLanes, 16);

// One row's entries [begin, end) into V vectors of a panel of kWidth columns that starts at `w`; columns is
// more than (V - 1) vectors. kAhead brings the weights of later entries into the cache, for lists that are
// walked once.
template <size_t V, size_t kWidth, bool kAhead, typename Weight>
HWY_INLINE void SparseTile(const uint32_t* HWY_RESTRICT index, const float* HWY_RESTRICT value, size_t begin,
                           size_t end, const Weight* HWY_RESTRICT w, const float* start, size_t columns,
                           float* out) {
  const FloatTag d;
  const size_t last = columns - (V - 1) * kLanes;
  FloatVector acc[V];
#pragma GCC unroll 16
  for (size_t v = 0; v < V; ++v) {
    acc[v] = hn::Zero(d);
    if (start != nullptr) {
      acc[v] = v + 1 < V || last == kLanes ? hn::LoadU(d, start + v * kLanes)
                                           : LoadFirst(start + v * kLanes, last);
    }
  }
  for (size_t i = begin; i < end; ++i) {
    if constexpr (kAhead) {
      // Past the list's end this may name any address: a prefetch cannot fault.
      constexpr size_t kDistance = 12;
      const Weight* later = w + size_t{index[i + kDistance]} * kWidth;
#pragma GCC unroll 4
      for (size_t c = 0; c < V * kLanes; c += kNumbersPerLine<Weight>) __builtin_prefetch(later + c);
    }
    const Weight* weight = w + size_t{index[i]} * kWidth;
    const FloatVector broadcast = hn::Set(d, value[i]);
#pragma GCC unroll 16
    for (size_t v = 0; v < V; ++v) acc[v] = Fma(broadcast, LoadWeights(weight + v * kLanes), acc[v]);
  }
#pragma GCC unroll 16
  for (size_t v = 0; v + 1 < V; ++v) hn::StoreU(acc[v], d, out + v * kLanes);
  if (last == kLanes) {
    hn::StoreU(acc[V - 1], d, out + (V - 1) * kLanes);
  } else {
    StoreFirst(acc[V - 1], out + (V - 1) * kLanes, last);
  }
}

struct SparseArguments {
  OpenLists x;
  size_t rows;
  size_t blocks;  // of a row's list
  size_t blocks_a_pass;
  size_t panel_stride;
  // Whether to bring the next pass's weights into the second-level cache: the processor does not foresee
  // which rows of a panel come next. 4096 by 1024 weights, 32 rows, 10 % open: 0.44 of the dense time
  // without.
  bool fetch_ahead;
  bool from_out;  // chains start at what `out` holds, not at the bias
};

// Columns [column, column + columns) of one panel of kWidth columns; `w` points to the first of them.
template <size_t V, size_t kWidth, typename Weight>
HWY_NOINLINE void SparseColumns(const SparseArguments& a, const Weight* w, const float* bias, size_t columns,
                                float* out, size_t out_stride) {
  for (size_t b = 0; b < a.blocks; b += a.blocks_a_pass) {
    const size_t b_end = HWY_MIN(a.blocks, b + a.blocks_a_pass);
    // May run past the last panel; a prefetch cannot fault.
    const Weight* next = b_end < a.blocks ? w + b_end * kOpenBlock * kWidth : w + a.panel_stride;
    const size_t next_numbers = (b_end - b) * kOpenBlock * kWidth;
    for (size_t r = 0; r < a.rows; ++r) {
      if (a.fetch_ahead) {
        const size_t fetch_end = next_numbers * (r + 1) / a.rows;
        for (size_t i = next_numbers * r / a.rows; i < fetch_end; i += kNumbersPerLine<Weight>) {
          __builtin_prefetch(next + i, 0, 2);
        }
      }
      const uint32_t* index = a.x.index + r * a.x.stride;
      const float* value = a.x.value + r * a.x.stride;
      const uint32_t* starts = a.x.starts + r * a.x.starts_stride;
      float* row = out + r * out_stride;
      const float* start = b == 0 && !a.from_out ? bias : row;
      if (a.rows <= 2) {
        SparseTile<V, kWidth, true>(index, value, starts[b], starts[b_end], w, start, columns, row);
      } else {
        SparseTile<V, kWidth, false>(index, value, starts[b], starts[b_end], w, start, columns, row);
      }
    }
  }
}

template <size_t kWidth, typename Weight>
HWY_INLINE void SparsePanel(const SparseArguments& a, const Weight* panel, const float* bias, size_t columns,
                            float* out, size_t out_stride) {
  for (size_t c = 0; c < columns; c += kSparseVectors * kLanes) {
    const size_t count = HWY_MIN(columns - c, kSparseVectors * kLanes);
    const float* tile_bias = bias != nullptr ? bias + c : nullptr;
    switch ((count + kLanes - 1) / kLanes) {
#define SPLINESERVE_TILE(V)                                                          \
  case V:                                                                            \
    if constexpr (V <= kSparseVectors && V * kLanes <= kWidth)                       \
      SparseColumns<V, kWidth>(a, panel + c, tile_bias, count, out + c, out_stride); \
    break;
      SPLINESERVE_TILE(1)
      SPLINESERVE_TILE(2)
      SPLINESERVE_TILE(3)
      SPLINESERVE_TILE(4)
      SPLINESERVE_TILE(5)
      SPLINESERVE_TILE(6)
      SPLINESERVE_TILE(7)
      SPLINESERVE_TILE(8)
      SPLINESERVE_TILE(9)
      SPLINESERVE_TILE(10)
      SPLINESERVE_TILE(11)
      SPLINESERVE_TILE(12)
      SPLINESERVE_TILE(13)
      SPLINESERVE_TILE(14)
      SPLINESERVE_TILE(15)
      SPLINESERVE_TILE(16)
#undef SPLINESERVE_TILE
    }
  }
}

// From the bias, or where `from_out` from what `out` holds.
template <typename Weight>
void SparseProductOf(const OpenLists& x, size_t rows, const PackedView& w, const float* bias, bool from_out,
                     float* out, size_t out_stride) {
  SparseArguments a = {x, rows, OpenBlocks(w.inner), 1, w.panel_stride, false, from_out};
  size_t open = 0;
  for (size_t r = 0; r < rows; ++r) open += x.starts[r * x.starts_stride + a.blocks];
  // How much of a panel to pass all rows over before going on. 128 k of 64 columns fill the first-level
  // cache, where every second unit is open this makes 1.27 of the dense peak, the whole panel only 0.90; the
  // sparser the lists, the more does loading and storing the accumulators weigh, and at 10 % open 256
  // make 4.7 against 3.9 and 4.0, at 3 % the whole panel 11.1 against 8.6 for 128.
  const double density = static_cast<double>(open) / static_cast<double>(HWY_MAX(rows * w.inner, 1));
  a.blocks_a_pass = rows <= 2 || density < 0.04 ? a.blocks : density > 0.25 ? 1 : density > 0.07 ? 2 : 4;
  // Worth it where most of those weights are used and they are not in that cache already.
  constexpr size_t kCachedBytes = 512 * 1024;
  a.fetch_ahead =
      w.inner * w.outer * sizeof(Weight) > kCachedBytes && density * static_cast<double>(rows) > 1;
  for (size_t p = 0; p < w.panels(); ++p) {
    const Weight* panel = static_cast<const Weight*>(w.data) + p * w.panel_stride;
    const size_t first = p * w.panel_width;
    const size_t columns = HWY_MIN(w.outer - first, w.panel_width);
    const float* panel_bias = bias != nullptr ? bias + first : nullptr;
    switch (w.panel_width) {
      case 16:
        SparsePanel<16>(a, panel, panel_bias, columns, out + first, out_stride);
        break;
      case 32:
        SparsePanel<32>(a, panel, panel_bias, columns, out + first, out_stride);
        break;
      case 48:
        SparsePanel<48>(a, panel, panel_bias, columns, out + first, out_stride);
        break;
      default:
        SparsePanel<64>(a, panel, panel_bias, columns, out + first, out_stride);
        break;
    }
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
