#include "server/call_activity.h"

#include <algorithm>
#include <chrono>

namespace splineserve {

void CallActivity::Started() {
  std::lock_guard lock(mutex_);
  ++running_;
  ++started_;
  changed_.notify_all();
}

void CallActivity::Ended() {
  std::lock_guard lock(mutex_);
  --running_;
  changed_.notify_all();
}

bool CallActivity::WaitUntilQuiet(absl::Duration quiet, absl::Duration limit) {
  using std::chrono::steady_clock;
  const steady_clock::time_point deadline = steady_clock::now() + absl::ToChronoMilliseconds(limit);
  std::unique_lock lock(mutex_);
  while (true) {
    if (!changed_.wait_until(lock, deadline, [this] { return running_ == 0; })) return false;
    const steady_clock::time_point end = steady_clock::now() + absl::ToChronoMilliseconds(quiet);
    const int64_t seen = started_;
    if (!changed_.wait_until(lock, std::min(end, deadline), [this, seen] { return started_ != seen; })) {
      return end <= deadline;
    }
  }
}

}  // namespace splineserve
