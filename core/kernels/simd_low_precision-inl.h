// Products of bfloat16 and 8-bit numbers with the instructions that every target has: the words are taken
// apart in registers. Where the processor has dot products of such numbers, native_dot.cc is used instead.
// Included once for each target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_LOW_PRECISION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_LOW_PRECISION_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_LOW_PRECISION_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_LOW_PRECISION_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_gate-inl.h"
#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// One vector of one row's chain over all words, bfloat16: the higher of two numbers first.
HWY_INLINE FloatVector BfloatChain(const uint32_t* x, const uint32_t* w, size_t words, size_t w_step) {
  const FloatTag d;
  const IntTag di;
  FloatVector acc = hn::Zero(d);
  const IntVector high = hn::Set(di, static_cast<int32_t>(0xFFFF0000u));
  for (size_t k = 0; k < words; ++k, w += w_step) {
    const IntVector weight = hn::Load(di, reinterpret_cast<const int32_t*>(w));
    const IntVector number = hn::Set(di, static_cast<int32_t>(x[k]));
    acc = Fma(hn::BitCast(d, hn::And(number, high)), hn::BitCast(d, hn::And(weight, high)), acc);
    acc = Fma(hn::BitCast(d, hn::ShiftLeft<16>(number)), hn::BitCast(d, hn::ShiftLeft<16>(weight)), acc);
  }
  return acc;
}

// The same for bytes, exactly: x unsigned, w signed.
HWY_INLINE IntVector ByteChain(const uint32_t* x, const uint32_t* w, size_t words, size_t w_step) {
  const IntTag di;
  IntVector acc = hn::Zero(di);
  for (size_t k = 0; k < words; ++k, w += w_step) {
    const IntVector weight = hn::Load(di, reinterpret_cast<const int32_t*>(w));
    const uint32_t number = x[k];
    const auto byte = [&](int i) { return hn::Set(di, static_cast<int32_t>((number >> (8 * i)) & 0xFF)); };
    acc = hn::Add(acc, hn::Mul(byte(0), hn::ShiftRight<24>(hn::ShiftLeft<24>(weight))));
    acc = hn::Add(acc, hn::Mul(byte(1), hn::ShiftRight<24>(hn::ShiftLeft<16>(weight))));
    acc = hn::Add(acc, hn::Mul(byte(2), hn::ShiftRight<24>(hn::ShiftLeft<8>(weight))));
    acc = hn::Add(acc, hn::Mul(byte(3), hn::ShiftRight<24>(weight)));
  }
  return acc;
}

inline void LowPrecisionProduct(const LowPrecisionRows& x, size_t rows, const LowPrecisionView& w,
                                const float* bias, float* out, size_t out_stride) {
  const FloatTag d;
  const IntTag di;
  for (size_t n = 0; n < w.outer; n += kLanes) {
    const size_t count = HWY_MIN(w.outer - n, kLanes);
    const uint32_t* words = w.words + n / w.panel_width * w.panel_stride + n % w.panel_width;
    const FloatVector shift = bias == nullptr ? hn::Zero(d) : LoadFirstOrAll(bias + n, count);
    for (size_t r = 0; r < rows; ++r) {
      const uint32_t* row = x.words + r * x.stride;
      FloatVector number;
      if (w.precision == Precision::kInt8) {
        HWY_ALIGN int32_t sums[kLanes] = {};
        for (size_t i = 0; i < count; ++i) sums[i] = w.sums[n + i];
        const IntVector acc = hn::Sub(ByteChain(row, words, w.inner_words, w.panel_width),
                                      hn::ShiftLeft<7>(hn::Load(di, sums)));
        const FloatVector scale = hn::Mul(hn::Set(d, x.scales[r]), LoadFirstOrAll(w.scales + n, count));
        number = Fma(hn::ConvertTo(d, acc), scale, shift);
      } else {
        number = hn::Add(BfloatChain(row, words, w.inner_words, w.panel_width), shift);
      }
      if (count == kLanes) {
        hn::StoreU(number, d, out + r * out_stride + n);
      } else {
        StoreFirst(number, out + r * out_stride + n, count);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
