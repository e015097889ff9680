// Maps that treat every number on its own. Bound by memory, so plain one-vector loops. Included once for each
// target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_ELEMENTWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_ELEMENTWISE_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_ELEMENTWISE_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_ELEMENTWISE_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// Whole vectors, or the few numbers at the end of an array: an elementwise map takes either, so that its body
// is written once.
struct WholeVector {
  HWY_INLINE FloatVector Load(const float* p) const { return hn::LoadU(FloatTag(), p); }
  HWY_INLINE void Store(FloatVector v, float* p) const { hn::StoreU(v, FloatTag(), p); }
};
struct PartOfVector {
  size_t count;
  HWY_INLINE FloatVector Load(const float* p) const { return LoadFirst(p, count); }
  HWY_INLINE void Store(FloatVector v, float* p) const { StoreFirst(v, p, count); }
};

// Calls map(offset, access) over [0, n).
template <class Map>
HWY_INLINE void ForEachVector(size_t n, const Map& map) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) map(i, WholeVector());
  if (i < n) map(i, PartOfVector{n - i});
}

inline bool Add(const float* a, const float* b, size_t n, float* out) {
  // 0 * x is NaN for x that is not finite.
  FloatVector overflow = hn::Zero(FloatTag());
  ForEachVector(n, [=, &overflow](size_t i, auto access) HWY_ATTR {
    const FloatVector sum = hn::Add(access.Load(a + i), access.Load(b + i));
    overflow = hn::MulAdd(sum, hn::Zero(FloatTag()), overflow);
    access.Store(sum, out + i);
  });
  return hn::GetLane(hn::SumOfLanes(FloatTag(), overflow)) == 0;
}

inline void ScaleShift(const float* x, const float* weight, const float* bias, size_t n, float* out) {
  ForEachVector(n, [=](size_t i, auto access) HWY_ATTR {
    const FloatVector shift = bias != nullptr ? access.Load(bias + i) : hn::Zero(FloatTag());
    access.Store(Fma(access.Load(x + i), access.Load(weight + i), shift), out + i);
  });
}

template <typename Weight>
HWY_INLINE void ExpandOf(const void* x, WeightFormat format, size_t n, float* out) {
  const Weight* const numbers = static_cast<const Weight*>(x);
  const hn::Rebind<Weight, FloatTag> d;
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(hn::PromoteTo(FloatTag(), hn::LoadU(d, numbers + i)), FloatTag(), out + i);
  }
  for (; i < n; ++i) out[i] = NumberAt(format, x, i);
}

inline void Expand(const void* x, WeightFormat format, size_t n, float* out) {
  switch (format) {
    case WeightFormat::kFloat32:
      std::memcpy(out, x, n * sizeof(float));
      break;
    case WeightFormat::kBfloat16:
      ExpandOf<hwy::bfloat16_t>(x, format, n, out);
      break;
    case WeightFormat::kFloat16:
      ExpandOf<hwy::float16_t>(x, format, n, out);
      break;
  }
}

inline void ScaleAdd(const float* x, float scale, const float* bias, size_t n, float* out) {
  const FloatVector factor = hn::Set(FloatTag(), scale);
  ForEachVector(n, [=](size_t i, auto access) HWY_ATTR {
    const FloatVector shift = bias != nullptr ? access.Load(bias + i) : hn::Zero(FloatTag());
    access.Store(Fma(access.Load(x + i), factor, shift), out + i);
  });
}

inline void Divide(float* x, float divisor, size_t n) {
  // The inverse of a power of two is exact, so that the product is the quotient, rounded once.
  const float inverse = 1 / divisor;
  uint32_t bits;
  std::memcpy(&bits, &inverse, sizeof(bits));
  const uint32_t exponent = bits >> 23 & 0xFF;
  if ((bits & 0x7FFFFF) == 0 && exponent != 0 && exponent != 0xFF && divisor * inverse == 1) {
    const FloatVector factor = hn::Set(FloatTag(), inverse);
    ForEachVector(
        n, [=](size_t i, auto access) HWY_ATTR { access.Store(hn::Mul(access.Load(x + i), factor), x + i); });
    return;
  }
  const FloatVector d = hn::Set(FloatTag(), divisor);
  ForEachVector(n,
                [=](size_t i, auto access) HWY_ATTR { access.Store(hn::Div(access.Load(x + i), d), x + i); });
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
