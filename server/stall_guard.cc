#include "server/stall_guard.h"

#include <cstdint>
#include <mutex>
#include <utility>

#include "absl/time/clock.h"

namespace splineserve {

struct StallGuard::Watched {
  // Held while the call is cancelled, so that it is not deleted meanwhile. Recursive: gRPC may tell the call
  // of its end, and delete it, before TryCancel returns.
  std::recursive_mutex mutex;
  bool writing = false;
  uint64_t write = 0;  // number of the last one
  bool stalled = false;
};

StallGuard::StallGuard(const grpc::CallbackServerContext& context, absl::Duration limit)
    : context_(context), limit_(limit), watched_(std::make_shared<Watched>()) {}

StallGuard::~StallGuard() { Relax(); }

void StallGuard::Watch() {
  uint64_t write = 0;
  {
    const std::lock_guard lock(watched_->mutex);
    watched_->writing = true;
    write = ++watched_->write;
  }
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(absl::ToChronoTime(absl::Now() + limit_),
              [watched = watched_, context = &context_, write](bool fired) {
                const std::lock_guard lock(watched->mutex);
                if (!fired || !watched->writing || watched->write != write) return;
                watched->stalled = true;
                context->TryCancel();
              });
}

void StallGuard::Relax() {
  {
    const std::lock_guard lock(watched_->mutex);
    watched_->writing = false;
  }
  alarm_ = nullptr;
}

bool StallGuard::stalled() const {
  const std::lock_guard lock(watched_->mutex);
  return watched_->stalled;
}

}  // namespace splineserve
