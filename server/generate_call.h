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
// behind the event whose turn is next loses its stream with RESOURCE_EXHAUSTED when another one comes. One
// event may be larger than that: what it may come to was charged at admission, and stays charged until the
// call is done. Only what is sent counts, not what a monitor alone wants.
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
  // Instead of a write: the stream ends with `status` once the engine has let go of it.
  void Fail(absl::Status status);
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
  PieceOptions asked_;  // what the client wants of pieces

  // Used by Convert only.
  bool first_ = true;
  std::optional<GenerationMonitoring> monitoring_;

  std::mutex mutex_;              // guards what follows
  v1::GenerateResponse current_;  // being written: gRPC's until OnWriteDone
  bool writing_ = false;          // an event is being converted or written: the call cannot be over
  struct Queued {
    GenerateEvent event;
    size_t bytes = 0;
  };
  std::deque<Queued> queue_;
  size_t waiting_bytes_ = 0;  // of all but the first
  MemoryCharge charge_;
  std::optional<absl::Status> end_;  // no more events come
  absl::Status failure_;             // why no more are wanted; OK: they are
  bool finished_ = false;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_GENERATE_CALL_H_
