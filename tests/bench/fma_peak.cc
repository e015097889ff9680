#include "tests/bench/fma_peak.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/bench/fma_peak.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve::bench {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

int64_t FmaPeak(int64_t steps) {
  const hn::ScalableTag<float> d;
  // 12 chains hide 4 cycles of latency at 2 a cycle with room to spare, and fit 16 registers.
  constexpr int kChains = 12;
  // Different starts, so that the compiler cannot merge the chains.
  auto a0 = hn::Set(d, 0.0f);
  auto a1 = hn::Set(d, 1.0f);
  auto a2 = hn::Set(d, 2.0f);
  auto a3 = hn::Set(d, 3.0f);
  auto a4 = hn::Set(d, 4.0f);
  auto a5 = hn::Set(d, 5.0f);
  auto a6 = hn::Set(d, 6.0f);
  auto a7 = hn::Set(d, 7.0f);
  auto a8 = hn::Set(d, 8.0f);
  auto a9 = hn::Set(d, 9.0f);
  auto a10 = hn::Set(d, 10.0f);
  auto a11 = hn::Set(d, 11.0f);
  const auto m = hn::Set(d, 0.5f), c = hn::Set(d, 0.25f);
  for (int64_t i = 0; i < steps; ++i) {
    a0 = hn::MulAdd(a0, m, c);
    a1 = hn::MulAdd(a1, m, c);
    a2 = hn::MulAdd(a2, m, c);
    a3 = hn::MulAdd(a3, m, c);
    a4 = hn::MulAdd(a4, m, c);
    a5 = hn::MulAdd(a5, m, c);
    a6 = hn::MulAdd(a6, m, c);
    a7 = hn::MulAdd(a7, m, c);
    a8 = hn::MulAdd(a8, m, c);
    a9 = hn::MulAdd(a9, m, c);
    a10 = hn::MulAdd(a10, m, c);
    a11 = hn::MulAdd(a11, m, c);
  }
  const auto s0 = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
  const auto s1 = hn::Add(hn::Add(a4, a5), hn::Add(a6, a7));
  const auto s2 = hn::Add(hn::Add(a8, a9), hn::Add(a10, a11));
  volatile float sink = hn::GetLane(hn::Add(s0, hn::Add(s1, s2)));
  (void)sink;
  return steps * kChains * static_cast<int64_t>(hn::Lanes(d)) * 2;
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve::bench
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splineserve::bench {
HWY_EXPORT(FmaPeak);
int64_t RunFmaPeak(int64_t steps) { return HWY_DYNAMIC_DISPATCH(FmaPeak)(steps); }
}  // namespace splineserve::bench
#endif
