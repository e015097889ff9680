// Stores keys and values of a short sequence in blocks of tokens (token_blocks.h). Included once for each
// target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_TOKEN_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_TOKEN_BLOCKS_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_TOKEN_BLOCKS_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_TOKEN_BLOCKS_INL_H_
#endif

#include <cstddef>

#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_transpose-inl.h"
#include "core/kernels/simd_vector-inl.h"
#include "core/kernels/token_blocks.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

HWY_INLINE void StoreValue(const float* value, size_t head_dim, float* to) {
  const FloatTag d;
  size_t n = 0;
  for (; n + kLanes <= head_dim; n += kLanes) hn::Store(hn::LoadU(d, value + n), d, to + n);
  for (; n < head_dim; ++n) to[n] = value[n];
}

inline void StoreTokens(const TokenRows& rows, size_t tokens, const TokenBlocks& layout, float* blocks) {
  for (size_t head = 0; head < layout.heads; ++head) {
    const size_t column = head * layout.head_dim;
    for (size_t first = 0; first < tokens; first += kRowsTransposed) {
      const float* keys[kRowsTransposed];
      for (size_t t = 0; t < kRowsTransposed; ++t) {
        keys[t] = rows.keys + HWY_MIN(first + t, tokens - 1) * rows.key_stride + column;
      }
      TransposeRows(keys, layout.head_dim, blocks + layout.KeyAt(first, head), kLaneBlock);
    }
    for (size_t t = 0; t < tokens; ++t) {
      StoreValue(rows.values + t * rows.value_stride + column, layout.head_dim,
                 blocks + layout.ValueAt(t, head));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
