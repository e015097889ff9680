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
#include "core/kernels/simd_vector-inl.h"
#include "core/kernels/token_blocks.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// Tokens that are stored together: as many as a line holds of one head, or half or a quarter of them.
inline constexpr size_t kTokensTogether = 4;

// The keys of kTokensTogether tokens of one head; number k of them goes to lines + k * kLaneBlock.
HWY_INLINE void StoreKeys(const float* const (&keys)[kTokensTogether], size_t head_dim, float* lines) {
  size_t k = 0;
#if HWY_TARGET != HWY_SCALAR
  // Four numbers of four tokens are transposed in registers: stored one by one, they are sixteen stores.
  const hn::FixedTag<float, 4> d;
  for (; k + 4 <= head_dim; k += 4) {
    const auto a = hn::LoadU(d, keys[0] + k), b = hn::LoadU(d, keys[1] + k);
    const auto c = hn::LoadU(d, keys[2] + k), e = hn::LoadU(d, keys[3] + k);
    const auto ab_lower = hn::InterleaveLower(d, a, b), ab_upper = hn::InterleaveUpper(d, a, b);
    const auto ce_lower = hn::InterleaveLower(d, c, e), ce_upper = hn::InterleaveUpper(d, c, e);
    float* const line = lines + k * kLaneBlock;
    hn::Store(hn::ConcatLowerLower(d, ce_lower, ab_lower), d, line);
    hn::Store(hn::ConcatUpperUpper(d, ce_lower, ab_lower), d, line + kLaneBlock);
    hn::Store(hn::ConcatLowerLower(d, ce_upper, ab_upper), d, line + 2 * kLaneBlock);
    hn::Store(hn::ConcatUpperUpper(d, ce_upper, ab_upper), d, line + 3 * kLaneBlock);
  }
#endif
  for (; k < head_dim; ++k) {
    for (size_t t = 0; t < kTokensTogether; ++t) lines[k * kLaneBlock + t] = keys[t][k];
  }
}

HWY_INLINE void StoreValue(const float* value, size_t head_dim, float* to) {
  const FloatTag d;
  size_t n = 0;
  for (; n + kLanes <= head_dim; n += kLanes) hn::Store(hn::LoadU(d, value + n), d, to + n);
  for (; n < head_dim; ++n) to[n] = value[n];
}

inline void StoreTokens(const TokenRows& rows, size_t tokens, const TokenBlocks& layout, float* blocks) {
  for (size_t head = 0; head < layout.heads; ++head) {
    const size_t column = head * layout.head_dim;
    for (size_t first = 0; first < tokens; first += kTokensTogether) {
      const float* keys[kTokensTogether];
      for (size_t t = 0; t < kTokensTogether; ++t) {
        keys[t] = rows.keys + HWY_MIN(first + t, tokens - 1) * rows.key_stride + column;
      }
      StoreKeys(keys, layout.head_dim, blocks + layout.KeyAt(first, head));
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
