// What stops a request early: its caller left, or its deadline passed.
#ifndef SPLINESERVE_CORE_BASE_CANCELLATION_H_
#define SPLINESERVE_CORE_BASE_CANCELLATION_H_

#include <atomic>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace splineserve {

// Time as the engine sees it; tests pass a clock that they move by hand.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
  // The system's clock; lives forever.
  static const Clock& Real();
};

// Shared by the one who serves a request and the one who computes it. Thread-safe.
class CancellationToken {
 public:
  // `deadline` may be absl::InfiniteFuture(). `clock` must outlive the token.
  explicit CancellationToken(absl::Time deadline = absl::InfiniteFuture(), const Clock& clock = Clock::Real())
      : deadline_(deadline), clock_(clock) {}

  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }

  // OK, or CANCELLED after Cancel(), or DEADLINE_EXCEEDED once the deadline has passed; never OK again after
  // that, even if the clock is set back: work that was stopped for it must not be taken as done. Costs one
  // clock read at most: meant to be asked between layers, not between rows.
  absl::Status Check() const;

  absl::Time deadline() const { return deadline_; }

 private:
  const absl::Time deadline_;
  const Clock& clock_;
  std::atomic<bool> cancelled_{false};
  mutable std::atomic<bool> expired_{false};
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_CANCELLATION_H_
