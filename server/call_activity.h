// How many calls the server is answering, so that it can stop in a lull.
#ifndef SPLINESERVE_SERVER_CALL_ACTIVITY_H_
#define SPLINESERVE_SERVER_CALL_ACTIVITY_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
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
  absl::Mutex mutex_;
  int64_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t started_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_CALL_ACTIVITY_H_
