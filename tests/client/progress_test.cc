#include "client/progress.h"

#include <sstream>

#include "gtest/gtest.h"

namespace splineserve::client {
namespace {

TEST(ProgressLine, WithAndWithoutTotal) {
  EXPECT_EQ(ProgressLine(675, 1500, absl::Seconds(2)),
            "[#########           ]  45 %   675 of 1500   338/s   ETA 3 s");
  EXPECT_EQ(ProgressLine(1500, 1500, absl::Seconds(5)),
            "[####################] 100 %   1500 of 1500   300/s");
  EXPECT_EQ(ProgressLine(0, 10, absl::ZeroDuration()), "[                    ]   0 %   0 of 10");
  EXPECT_EQ(ProgressLine(0, 0, absl::ZeroDuration()), "[####################] 100 %   0 of 0");
  EXPECT_EQ(ProgressLine(7, std::nullopt, absl::Seconds(2)), "7 done   3.5/s");
}

TEST(Progress, DrawsNothingUnlessEnabled) {
  std::ostringstream stream;
  {
    Progress progress(stream, /*enabled=*/false, 3);
    progress.Advance();
    progress.Interrupt([&] { stream << "x"; });
  }
  EXPECT_EQ(stream.str(), "x");
}

TEST(Progress, DrawsAtMostTenTimesASecondAndTakesItselfAwayForOutput) {
  std::ostringstream stream;
  absl::Time now = absl::UnixEpoch();
  Progress progress(stream, /*enabled=*/true, 1000, [&] { return now; });
  for (int i = 0; i < 500; ++i) {
    now += absl::Milliseconds(1);
    progress.Advance();
  }
  size_t draws = 0;
  for (char c : stream.str()) draws += c == '[' ? 1 : 0;
  draws -= 5;  // each "\x1b[K" has a bracket of its own, too
  EXPECT_EQ(draws, 5u) << stream.str();
  stream.str("");
  progress.Interrupt([&] { stream << "line\n"; });
  EXPECT_EQ(stream.str().rfind("\r\x1b[Kline\n\r\x1b[K[", 0), 0u) << stream.str();
  progress.Finish();
  EXPECT_EQ(stream.str().back(), '\n');
  const size_t length = stream.str().size();
  progress.Finish();
  EXPECT_EQ(stream.str().size(), length);
}

}  // namespace
}  // namespace splineserve::client
