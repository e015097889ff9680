// Ends calls whose clients have stopped reading.
#ifndef SPLINESERVE_SERVER_STALL_WATCH_H_
#define SPLINESERVE_SERVER_STALL_WATCH_H_

#include <grpcpp/server_context.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace splineserve {

// A message is sent when the transport has room for it, which a client that does not read never makes:
// without a deadline its call would keep its place and its memory as long as it stays connected. One thread
// looks at all writes, four times in `limit`, and cancels the calls of those that have lasted longer.
// Thread-safe.
class StallWatch {
 public:
  // RESOURCE_EXHAUSTED if the thread cannot be started.
  static absl::StatusOr<std::unique_ptr<StallWatch>> Create(absl::Duration limit);
  ~StallWatch();

  absl::Duration limit() const { return limit_; }

  // The writes of one call, one at a time. Its owner is the call's reactor: `context` lives until gRPC is
  // done with that, and the reactor's end waits for a cancellation on its way. Cost: a lock at both ends, an
  // atomic store a write.
  class Call {
   public:
    Call(StallWatch& watch, const grpc::CallbackServerContext& context);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    void WriteBegins();
    void WriteDone() { since_ = 0; }
    // Whether the call has been cancelled.
    bool stalled() const { return stalled_; }

   private:
    friend class StallWatch;
    StallWatch& watch_;
    const grpc::CallbackServerContext& context_;
    std::list<Call*>::iterator place_;
    std::atomic<int64_t> since_{0};  // nanoseconds of the steady clock; 0 between writes
    std::atomic<bool> stalled_{false};
  };

 private:
  explicit StallWatch(absl::Duration limit) : limit_(limit) {}
  void Run();
  void CancelStalled();

  const absl::Duration limit_;
  // Held while a call is cancelled, so that it is not deleted meanwhile. Recursive: gRPC may tell a reactor
  // of its end, which deletes the Call, before TryCancel returns.
  std::recursive_mutex mutex_;
  std::condition_variable_any changed_;
  std::list<Call*> calls_;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_STALL_WATCH_H_
