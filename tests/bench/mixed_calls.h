// The mixture of requests as calls to a server.
#ifndef SPLINESERVE_TESTS_BENCH_MIXED_CALLS_H_
#define SPLINESERVE_TESTS_BENCH_MIXED_CALLS_H_

#include <string>

#include "absl/status/status.h"
#include "client/client.h"
#include "tests/engine/request_mixture.h"

namespace splineserve {

// Thread-safe.
class MixedCalls {
 public:
  explicit MixedCalls(const std::string& server);

  // Sends the request, does as its caller would, and returns how it ended. Whoever cancels, hurries or is
  // late does so by a deadline of some hundred microseconds.
  absl::Status Call(const testing::MixedRequest& request) const;

 private:
  const client::Client patient_, hurried_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_TESTS_BENCH_MIXED_CALLS_H_
