// How many calls the server is answering, so that it can stop in a lull.
#ifndef SPLINESERVE_SERVER_CALL_ACTIVITY_H_
#define SPLINESERVE_SERVER_CALL_ACTIVITY_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "absl/time/time.h"

namespace splineserve {

// Thread-safe.
class CallActivity {
 public:
  void Started();
  void Ended();

  // Blocks until no call has run for `quiet`, or `limit` has passed; returns whether it was quiet.
  bool WaitUntilQuiet(absl::Duration quiet, absl::Duration limit);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t running_ = 0;  // Guarded by mutex_, as started_ is.
  int64_t started_ = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_CALL_ACTIVITY_H_
