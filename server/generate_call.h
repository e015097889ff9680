// The reactor of Generate: the engine's events, in order, to the client's stream.
#ifndef SPLINESERVE_SERVER_GENERATE_CALL_H_
#define SPLINESERVE_SERVER_GENERATE_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>

#include "server/call.h"

namespace splineserve {

// Owns itself: deleted by gRPC's OnDone.
//
// Events wait in a queue while an earlier one is written. The engine must not wait for a slow client, so the
// queue is bounded: a client that lets more than kMaxQueuedBytes wait loses its stream with
// RESOURCE_EXHAUSTED.
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
  v1::GenerateResponse Convert(const GenerateEvent& event);
  // Ends the stream with `status` after what is queued. At most once.
  void End(absl::Status status);
  // Starts the next write, or finishes. Takes the held lock of mutex_ and gives it up; afterwards the call
  // may be deleted: whatever decides that it ends must be set under the same lock.
  void Advance(std::unique_lock<std::mutex> lock);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { state_.OnCancel(); }
  void OnDone() override { delete this; }

  CallState state_;
  bool margins_ = false;
  bool first_ = true;  // used by the engine's executor only

  std::mutex mutex_;
  std::deque<v1::GenerateResponse> queue_;
  size_t queued_bytes_ = 0;
  v1::GenerateResponse current_;  // being written
  bool writing_ = false;
  bool finished_ = false;
  std::optional<grpc::Status> end_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_GENERATE_CALL_H_
