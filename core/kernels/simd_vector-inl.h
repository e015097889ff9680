// What every kernel file needs of a SIMD target: the vector type, the fused multiply-add, and memory accesses
// that stop at the last element. Included once for each target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_VECTOR_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_VECTOR_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_VECTOR_INL_H_
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/kernels/kernel_set.h"
#include "hwy/highway.h"

// Whether loads and stores under a mask are instructions that ignore what the mask leaves out. Elsewhere
// Highway would touch the whole vector, so the end of an array goes through the stack.
// (HWY_MEM_OPS_MIGHT_FAULT is too careful for us: it is 1 on AVX2 for the sake of alignment checks, which no
// Linux process enables.)
#undef SPLINESERVE_MASKED_ACCESS
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
#define SPLINESERVE_MASKED_ACCESS 1
#else
#define SPLINESERVE_MASKED_ACCESS 0
#endif

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that a lane block of a panel is a whole number of vectors.
using FloatTag = hn::CappedTag<float, kLaneBlock>;
using FloatVector = hn::Vec<FloatTag>;
using FloatMask = hn::Mask<FloatTag>;
using IntTag = hn::RebindToSigned<FloatTag>;
using IntVector = hn::Vec<IntTag>;
// A constant: none of the compiled targets has vectors whose size is known only at run time.
inline constexpr size_t kLanes = hn::MaxLanes(FloatTag());
static_assert(kLaneBlock % kLanes == 0, "a panel's columns are whole vectors");

inline constexpr bool kHardwareFma = HWY_NATIVE_FMA != 0;

// A mask's lanes as bits, lane 0 lowest.
HWY_INLINE uint64_t BitsOf(FloatMask mask) {
  // Highway wants eight bytes to write to; the compiler keeps the mask in a register. Not so if the bytes are
  // put together one by one: gated 64-long chains then make 142 instead of 146 GFLOP/s on an Emerald Rapids.
  uint8_t bytes[8] = {};
  hn::StoreMaskBits(FloatTag(), mask, bytes);
  if constexpr (kLanes <= 8) return bytes[0];
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return bits;
}

// The same of several masks, the first one's lanes lowest.
template <size_t V>
HWY_INLINE uint64_t BitsOf(const FloatMask (&masks)[V]) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (V == 4) {
    return _cvtmask64_u64(_mm512_kunpackd(_mm512_kunpackw(masks[3].raw, masks[2].raw),
                                          _mm512_kunpackw(masks[1].raw, masks[0].raw)));
  }
#endif
  uint64_t bits = 0;
#pragma GCC unroll 8
  for (size_t v = 0; v < V; ++v) bits |= BitsOf(masks[v]) << (v * kLanes);
  return bits;
}

// fma(a, b, c) lane by lane, with one rounding.
HWY_INLINE FloatVector Fma(FloatVector a, FloatVector b, FloatVector c) {
#if HWY_NATIVE_FMA
  return hn::MulAdd(a, b, c);
#else
  // hn::MulAdd would round the product first, and nearly every sum would differ.
  const FloatTag d;
  HWY_ALIGN float lanes_a[kLanes], lanes_b[kLanes], lanes_c[kLanes];
  hn::Store(a, d, lanes_a);
  hn::Store(b, d, lanes_b);
  hn::Store(c, d, lanes_c);
  for (size_t i = 0; i < kLanes; ++i) lanes_c[i] = std::fma(lanes_a[i], lanes_b[i], lanes_c[i]);
  return hn::Load(d, lanes_c);
#endif
}

// The weights of kLanes columns, of any format, as float32: every bfloat16 and float16 is one, subnormal
// numbers too (the processors' conversions flush none). Aligned as a panel's columns are.
HWY_INLINE FloatVector LoadWeights(const float* p) { return hn::Load(FloatTag(), p); }
template <typename Weight>
HWY_INLINE FloatVector LoadWeights(const Weight* p) {
  return hn::PromoteTo(FloatTag(), hn::Load(hn::Rebind<Weight, FloatTag>(), p));
}

// The first `count` lanes, count < kLanes, zeros in the others. Touches no memory past them.
HWY_INLINE FloatVector LoadFirst(const float* p, size_t count) {
  const FloatTag d;
#if !SPLINESERVE_MASKED_ACCESS
  HWY_ALIGN float lanes[kLanes] = {};
  std::memcpy(lanes, p, count * sizeof(float));
  return hn::Load(d, lanes);
#else
  return hn::MaskedLoad(hn::FirstN(d, count), d, p);
#endif
}

// Any count up to kLanes.
HWY_INLINE FloatVector LoadFirstOrAll(const float* p, size_t count) {
  return count == kLanes ? hn::LoadU(FloatTag(), p) : LoadFirst(p, count);
}

HWY_INLINE void StoreFirst(FloatVector v, float* p, size_t count) {
  const FloatTag d;
#if !SPLINESERVE_MASKED_ACCESS
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, d, lanes);
  std::memcpy(p, lanes, count * sizeof(float));
#else
  hn::BlendedStore(v, hn::FirstN(d, count), d, p);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
