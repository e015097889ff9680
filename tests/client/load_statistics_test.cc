#include "client/load_statistics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace splineserve::client {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Percentile, IsTheNearestRank) {
  std::vector<double> samples;
  for (int i = 1; i <= 200; ++i) samples.push_back(i);
  EXPECT_EQ(Percentile(samples, 50), 100);
  EXPECT_EQ(Percentile(samples, 99), 198);
  EXPECT_EQ(Percentile(samples, 100), 200);
  EXPECT_EQ(Percentile(samples, 0.1), 1);
  EXPECT_EQ(Percentile({7}, 50), 7);
}

TEST(Summarize, SortsFirst) {
  const LatencySummary summary = Summarize({3, 1, 2, 10});
  EXPECT_EQ(summary.mean, 4);
  EXPECT_EQ(summary.p50, 2);
  EXPECT_EQ(summary.p99, 10);
  EXPECT_EQ(summary.max, 10);
  EXPECT_EQ(Summarize({}).count, 0u);
}

CallRecord Answered(double latency_ms, size_t tokens) {
  CallRecord record;
  record.latency = absl::Milliseconds(latency_ms);
  record.queue = absl::Milliseconds(1);
  record.compute = absl::Milliseconds(2);
  record.tokens = tokens;
  record.batch_tokens = 8;
  return record;
}

TEST(LoadStatistics, SplitsLatencyAndCountsFailures) {
  LoadStatistics statistics;
  statistics.Add(Answered(5, 10));
  statistics.Add(Answered(7, 30));
  CallRecord failed;
  failed.status = absl::ResourceExhaustedError("queue is full");
  failed.latency = absl::Hours(1);
  statistics.Add(failed);
  const LoadStatistics::Report report = statistics.Finish(absl::Seconds(2));
  EXPECT_EQ(report.requests, 2u);
  EXPECT_EQ(report.failed, 1u);
  EXPECT_EQ(report.requests_per_second, 1);
  EXPECT_EQ(report.tokens_per_second, 20);
  EXPECT_EQ(report.latency.max, 7);
  EXPECT_EQ(report.elsewhere.mean, 3);
  EXPECT_EQ(report.first_token.count, 0u);

  EXPECT_THAT(ToText(report), HasSubstr("1 x RESOURCE_EXHAUSTED: queue is full"));
  EXPECT_THAT(ToText(report), Not(HasSubstr("first token")));
  const auto json = nlohmann::json::parse(ToJson(report));
  EXPECT_EQ(json["tokens_per_second"], 20);
  EXPECT_EQ(json["compute_ms"]["p99"], 2);
  EXPECT_EQ(json["failures"]["RESOURCE_EXHAUSTED: queue is full"], 1);
}

TEST(LoadStatistics, NothingAnswered) {
  const LoadStatistics::Report report = LoadStatistics().Finish(absl::ZeroDuration());
  EXPECT_EQ(report.requests_per_second, 0);
  EXPECT_THAT(ToText(report), Not(HasSubstr("latency")));
}

}  // namespace
}  // namespace splineserve::client
