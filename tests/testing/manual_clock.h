// A clock that stands still until a test moves it.
#ifndef SPLINESERVE_TESTS_TESTING_MANUAL_CLOCK_H_
#define SPLINESERVE_TESTS_TESTING_MANUAL_CLOCK_H_

#include <mutex>

#include "absl/time/time.h"
#include "core/base/cancellation.h"

namespace splineserve {

// Thread-safe.
class ManualClock : public Clock {
 public:
  absl::Time Now() const override {
    std::lock_guard lock(mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    std::lock_guard lock(mutex_);
    now_ += by;
  }

 private:
  mutable std::mutex mutex_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
};

}  // namespace splineserve

#endif  // SPLINESERVE_TESTS_TESTING_MANUAL_CLOCK_H_
