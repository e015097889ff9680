// Threads compute in the default floating-point environment, whatever their maker's.
#include "core/base/thread.h"

#include <cfenv>

#include "core/base/float_environment.h"
#include "gtest/gtest.h"

namespace splineserve {
namespace {

TEST(ThreadTest, RoundsToTheNearest) {
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  int mode = -1;
  absl::StatusOr<std::thread> thread = StartThread([&] { mode = std::fegetround(); });
  std::fesetround(FE_TONEAREST);
  ASSERT_TRUE(thread.ok()) << thread.status();
  thread->join();
  EXPECT_EQ(mode, FE_TONEAREST);
}

TEST(DefaultFloatEnvironmentTest, SetsBackWhatWasThere) {
  ASSERT_EQ(std::fesetround(FE_DOWNWARD), 0);
  int inside = -1;
  {
    const DefaultFloatEnvironment environment;
    inside = std::fegetround();
  }
  const int outside = std::fegetround();
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(inside, FE_TONEAREST);
  EXPECT_EQ(outside, FE_DOWNWARD);
}

#if defined(__x86_64__)
// Whatever is not the default: zeros for subnormal numbers, read or written, rounding, a trap (underflow's).
TEST(DefaultFloatEnvironmentTest, KnowsWhatIsSet) {
  EXPECT_TRUE(DefaultFloatEnvironment::IsSet());
  const uint32_t before = _mm_getcsr();
  for (const uint32_t bit : {1u << 15, 1u << 6, 1u << 13, 1u << 14, 1u << 11}) {
    _mm_setcsr(before ^ bit);
    const bool set_outside = DefaultFloatEnvironment::IsSet();
    uint32_t inside;
    {
      const DefaultFloatEnvironment environment;
      inside = _mm_getcsr();
    }
    const uint32_t outside = _mm_getcsr();
    _mm_setcsr(before);
    EXPECT_FALSE(set_outside) << bit;
    EXPECT_EQ(inside & bit, before & bit) << bit;
    EXPECT_EQ(outside & bit, ~before & bit) << bit;
  }
  volatile float third = 1.0f;  // notes that it is inexact
  third = third / 3.0f;
  EXPECT_TRUE(DefaultFloatEnvironment::IsSet());
  uint16_t x87;
  asm volatile("fnstcw %0" : "=m"(x87));
  const auto upward = static_cast<uint16_t>(x87 | 0x800);
  asm volatile("fldcw %0" : : "m"(upward));
  const bool set_upward = DefaultFloatEnvironment::IsSet();
  asm volatile("fldcw %0" : : "m"(x87));
  EXPECT_FALSE(set_upward);
}

TEST(DefaultFloatEnvironmentTest, SetsBackWhatIsChangedInside) {
  {
    const DefaultFloatEnvironment environment;
    std::fesetround(FE_UPWARD);
  }
  const int outside = std::fegetround();
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(outside, FE_TONEAREST);
}
#endif

}  // namespace
}  // namespace splineserve
