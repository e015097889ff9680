#include "core/base/cancellation.h"

#include "absl/time/clock.h"

namespace splineserve {
namespace {

class RealClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace

const Clock& Clock::Real() {
  static const RealClock* const clock = new RealClock;
  return *clock;
}

absl::Status CancellationToken::Check() const {
  if (cancelled_.load(std::memory_order_relaxed))
    return absl::CancelledError("the caller cancelled the request");
  if (deadline_ != absl::InfiniteFuture() && !expired_.load(std::memory_order_relaxed) &&
      clock_.Now() >= deadline_) {
    expired_.store(true, std::memory_order_relaxed);
  }
  if (expired_.load(std::memory_order_relaxed)) {
    return absl::DeadlineExceededError("the request's deadline passed before its work was done");
  }
  return absl::OkStatus();
}

}  // namespace splineserve
