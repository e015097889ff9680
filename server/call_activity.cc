#include "server/call_activity.h"

#include <algorithm>

#include "absl/time/clock.h"

namespace splineserve {

void CallActivity::Started() {
  absl::MutexLock lock(&mutex_);
  ++running_;
  ++started_;
}

void CallActivity::Ended() {
  absl::MutexLock lock(&mutex_);
  --running_;
}

bool CallActivity::WaitUntilQuiet(absl::Duration quiet, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  absl::MutexLock lock(&mutex_);
  while (true) {
    const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return running_ == 0; };
    if (!mutex_.AwaitWithDeadline(absl::Condition(&idle), deadline)) return false;
    const absl::Time end = absl::Now() + quiet;
    const int64_t seen = started_;
    const auto another = [this, seen]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return started_ != seen; };
    if (!mutex_.AwaitWithDeadline(absl::Condition(&another), std::min(end, deadline))) return end <= deadline;
  }
}

}  // namespace splineserve
