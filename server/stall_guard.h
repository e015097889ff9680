// Ends a stream whose client has stopped reading.
#ifndef SPLINESERVE_SERVER_STALL_GUARD_H_
#define SPLINESERVE_SERVER_STALL_GUARD_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>

#include <memory>

#include "absl/time/time.h"

namespace splineserve {

// A write is done when the transport has room for it, which a client that does not read never makes: without
// a deadline its call would keep its place and its memory as long as it stays connected. The guard cancels
// the call when one write takes longer than `limit`; the write then fails. Watch and Relax take turns, as
// writes do; the destructor may run at any time.
class StallGuard {
 public:
  StallGuard(const grpc::CallbackServerContext& context, absl::Duration limit);
  ~StallGuard();
  StallGuard(const StallGuard&) = delete;
  StallGuard& operator=(const StallGuard&) = delete;

  void Watch();  // a write is about to start
  void Relax();  // it is done
  // Whether the guard has cancelled the call.
  bool stalled() const;
  absl::Duration limit() const { return limit_; }

 private:
  struct Watched;  // outlives the guard in alarms on their way

  const grpc::CallbackServerContext& context_;
  const absl::Duration limit_;
  const std::shared_ptr<Watched> watched_;
  std::unique_ptr<grpc::Alarm> alarm_;  // a new one each time: one that was cancelled has yet to say so
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_STALL_GUARD_H_
