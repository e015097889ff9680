// What a load test measured.
#ifndef SPLINESERVE_CLIENT_LOAD_STATISTICS_H_
#define SPLINESERVE_CLIENT_LOAD_STATISTICS_H_

#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace splineserve::client {

// The smallest sample that at least `percent` (0..100] of all samples do not exceed (nearest rank). `sorted`
// must be ascending and not empty.
double Percentile(const std::vector<double>& sorted, double percent);

// Milliseconds.
struct LatencySummary {
  size_t count = 0;  // all else is 0 if this is
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};
LatencySummary Summarize(std::vector<double> samples_ms);

// One finished call. Durations of a failed one are not counted.
struct CallRecord {
  absl::Status status;
  absl::Duration latency;  // as the client saw it
  absl::Duration first_token =
      absl::InfiniteDuration();   // generate: until the first token; infinite if none came alone
  absl::Duration queue, compute;  // as the server reported them
  size_t tokens = 0;
  size_t batch_tokens = 0;
};

// Collects from several threads. Thread-safe.
class LoadStatistics {
 public:
  void Add(const CallRecord& record);

  struct Report {
    double seconds = 0;
    size_t requests = 0;  // answered
    size_t failed = 0;
    double requests_per_second = 0, tokens_per_second = 0, mean_batch_tokens = 0;
    LatencySummary latency, first_token, queue, compute, elsewhere;  // elsewhere: latency - queue - compute
    std::map<std::string, size_t> failures;  // "CODE: message" of failed calls, counted
  };
  Report Finish(absl::Duration elapsed) const;

 private:
  mutable std::mutex mutex_;
  std::vector<double> latency_, first_token_, queue_, compute_, elsewhere_;
  size_t tokens_ = 0, batch_tokens_ = 0, failed_ = 0;
  std::map<std::string, size_t> failures_;
};

// As a table, and as one JSON object with the same numbers.
std::string ToText(const LoadStatistics::Report& report);
std::string ToJson(const LoadStatistics::Report& report);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_LOAD_STATISTICS_H_
