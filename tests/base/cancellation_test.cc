#include "core/base/cancellation.h"

#include <gtest/gtest.h>

#include "tests/testing/manual_clock.h"

namespace splineserve {
namespace {

TEST(CancellationTokenTest, IsOkUntilCancelled) {
  CancellationToken token;
  EXPECT_TRUE(token.Check().ok());
  token.Cancel();
  EXPECT_EQ(token.Check().code(), absl::StatusCode::kCancelled);
}

TEST(CancellationTokenTest, ExpiresExactlyAtItsDeadline) {
  ManualClock clock;
  const CancellationToken token(clock.Now() + absl::Seconds(2), clock);
  clock.Advance(absl::Seconds(2) - absl::Nanoseconds(1));
  EXPECT_TRUE(token.Check().ok());
  clock.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(token.Check().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(CancellationTokenTest, CancellationIsReportedBeforeTheDeadline) {
  ManualClock clock;
  CancellationToken token(clock.Now(), clock);
  token.Cancel();
  EXPECT_EQ(token.Check().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace splineserve
