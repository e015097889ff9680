#include "server/stall_watch.h"

#include <chrono>

#include "core/base/status_macros.h"
#include "core/base/thread.h"

namespace splineserve {

namespace {

// Steady: a server's clock that is set forward must not look like a stall of every client.
int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

StallWatch::Call::Call(StallWatch& watch, const grpc::CallbackServerContext& context)
    : watch_(watch), context_(context) {
  const std::lock_guard lock(watch_.mutex_);
  place_ = watch_.calls_.insert(watch_.calls_.end(), this);
}

StallWatch::Call::~Call() {
  const std::lock_guard lock(watch_.mutex_);
  watch_.calls_.erase(place_);
}

void StallWatch::Call::WriteBegins() { since_ = Now(); }

absl::StatusOr<std::unique_ptr<StallWatch>> StallWatch::Create(absl::Duration limit) {
  std::unique_ptr<StallWatch> watch(new StallWatch(limit));
  SPLINESERVE_ASSIGN_OR_RETURN(watch->thread_, StartThread([w = watch.get()] { w->Run(); }));
  return watch;
}

StallWatch::~StallWatch() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void StallWatch::Run() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, absl::ToChronoNanoseconds(limit_ / 4), [this] { return closed_; }))
    CancelStalled();
}

void StallWatch::CancelStalled() {
  const int64_t latest = Now() - absl::ToInt64Nanoseconds(limit_);
  for (auto it = calls_.begin(); it != calls_.end();) {
    Call& call = **it;
    const int64_t since = call.since_;
    if (since == 0 || since > latest || call.stalled_) {
      ++it;
      continue;
    }
    call.stalled_ = true;
    call.context_.TryCancel();
    it = calls_.begin();  // the call may be gone
  }
}

}  // namespace splineserve
