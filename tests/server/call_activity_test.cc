#include "server/call_activity.h"

#include <gtest/gtest.h>

#include <thread>

namespace splineserve {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60), kShort = absl::Milliseconds(2);

TEST(CallActivity, IsQuietWithoutCalls) {
  CallActivity activity;
  EXPECT_TRUE(activity.WaitUntilQuiet(kShort, kLong));
  activity.Started();
  activity.Ended();
  EXPECT_TRUE(activity.WaitUntilQuiet(kShort, kLong));
}

TEST(CallActivity, ARunningCallIsNotQuiet) {
  CallActivity activity;
  activity.Started();
  EXPECT_FALSE(activity.WaitUntilQuiet(absl::ZeroDuration(), kShort));
}

TEST(CallActivity, WaitsForTheLastCall) {
  CallActivity activity;
  activity.Started();
  activity.Started();
  std::thread ends([&] {
    activity.Ended();
    activity.Ended();
  });
  EXPECT_TRUE(activity.WaitUntilQuiet(kShort, kLong));
  ends.join();
}

TEST(CallActivity, ALimitBeforeTheEndOfTheLullIsNotQuiet) {
  CallActivity activity;
  EXPECT_FALSE(activity.WaitUntilQuiet(kLong, kShort));
}

}  // namespace
}  // namespace splineserve
