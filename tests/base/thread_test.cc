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

}  // namespace
}  // namespace splineserve
