// The reactor of Generate: the engine's events, in order, to the client's stream.
#ifndef SPLINESERVE_SERVER_GENERATE_CALL_H_
#define SPLINESERVE_SERVER_GENERATE_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>

#include "server/call.h"
#include "server/generation_monitoring.h"

namespace splineserve {

// Owns itself: deleted by gRPC's OnDone.
//
// Events wait in a queue while an earlier one is converted, by the response workers, and written. The engine
// must not wait for a slow client, so the queue is bounded: a client that lets more than kMaxQueuedBytes wait
// loses its stream with RESOURCE_EXHAUSTED. One event may be larger when nothing else waits: what it may
// come to was charged at admission, and stays charged until the call is done.
class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  static constexpr size_t kMaxQueuedBytes = size_t{8} << 20;

  static GenerateCall* Start(const ServerParts& parts, const grpc::CallbackServerContext& context,
                             const v1::GenerateRequest& request);

 private:
  GenerateCall(const ServerParts& parts, const grpc::CallbackServerContext& context)
      : state_(parts, context, "Generate") {}

  absl::Status Admit(const v1::GenerateRequest& request);
  // The engine's sink. False: no more events are wanted, and none will come.
  bool OnEvent(absl::StatusOr<GenerateEvent> event);
  // The message of an event, which it counts and takes from it what only a monitor wanted. Only by whoever
  // set writing_.
  v1::GenerateResponse Convert(GenerateEvent& event);
  // On a response worker: converts and writes the first event of the queue.
  void WriteNext();
  // Ends the stream with `status` after what is queued. At most once.
  void End(absl::Status status);
  // Has the next event written, or finishes. Takes the held lock of mutex_ and gives it up; afterwards the
  // call may be deleted: whatever decides that it ends must be set under the same lock.
  void Advance(std::unique_lock<std::mutex> lock);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { state_.OnCancel(); }
  void OnDone() override { delete this; }

  CallState state_;
  bool margins_ = false;

  // Used by Convert only.
  bool first_ = true;
  std::optional<GenerationMonitoring> monitoring_;

  std::mutex mutex_;              // guards what follows
  v1::GenerateResponse current_;  // being written: gRPC's until OnWriteDone
  bool writing_ = false;          // an event is being converted or written: the call cannot be over
  std::deque<GenerateEvent> queue_;
  size_t queued_bytes_ = 0;
  MemoryCharge charge_;
  std::optional<absl::Status> end_;  // no more events come
  bool finished_ = false;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_GENERATE_CALL_H_
