// What every call shares: the parts of the server that it uses, its cancellation, and its record in the
// telemetry.
#ifndef SPLINESERVE_SERVER_CALL_H_
#define SPLINESERVE_SERVER_CALL_H_

#include <grpcpp/server_context.h>

#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/cancellation.h"
#include "core/engine/analysis_queue.h"
#include "core/engine/engine.h"
#include "server/call_activity.h"
#include "server/convert_response.h"
#include "server/model_registry.h"
#include "server/monitor_registry.h"
#include "server/response_workers.h"
#include "server/stall_watch.h"
#include "server/status_mapping.h"
#include "server/telemetry.h"

namespace splineserve {

// The parts of a running server, which outlive every call.
struct ServerParts {
  const ModelRegistry& registry;
  Engine& engine;
  Telemetry& telemetry;
  CallActivity& activity;
  ResponseWorkers& workers;
  AnalysisQueue& analyses;
  ServingFacts facts;
  const MonitorRegistry& monitors;
  StallWatch& stalls;
};

inline absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture()
                                                                  : absl::FromChrono(deadline);
}

// One call from arrival to end. Not thread-safe but for token(): a call's reactor orders its uses.
class CallState {
 public:
  CallState(const ServerParts& parts, const grpc::CallbackServerContext& context, std::string_view method)
      : parts_(parts),
        start_(absl::Now()),
        token_(std::make_shared<CancellationToken>(DeadlineOf(context))),
        writes_(parts.stalls, context) {
    record_.method = method;
    parts_.activity.Started();
    parts_.telemetry.CallStarted(method);
  }
  ~CallState() {
    record_.duration = absl::Now() - start_;
    if (writes_.stalled()) {
      record_.status = absl::CancelledError(absl::StrCat(
          "the client took more than ", absl::FormatDuration(parts_.stalls.limit()), " to read a message"));
    }
    parts_.telemetry.CallEnded(record_);
    parts_.activity.Ended();
  }
  CallState(const CallState&) = delete;
  CallState& operator=(const CallState&) = delete;

  const ServerParts& parts() const { return parts_; }
  CallRecord& record() { return record_; }
  const std::shared_ptr<CancellationToken>& token() const { return token_; }
  const std::shared_ptr<const LoadedModel>& model() const { return model_; }

  // Finds the model and keeps it for the call.
  absl::Status FindModel(const v1::ModelRef& ref) {
    absl::StatusOr<std::shared_ptr<const LoadedModel>> found =
        parts_.registry.Find(ref.name(), ref.version());
    if (!found.ok()) return found.status();
    model_ = *std::move(found);
    record_.model = absl::StrCat(model_->name(), "/", model_->version());
    return absl::OkStatus();
  }

  // Around each write of a stream: a client that takes too long to read one loses its call.
  void WriteBegins() { writes_.WriteBegins(); }
  void WriteDone() { writes_.WriteDone(); }

  // The status to finish the call with, noted for the record. The last write begins.
  grpc::Status End(absl::Status status) {
    record_.status = std::move(status);
    writes_.WriteBegins();
    return ToGrpcStatus(record_.status);
  }

  // gRPC reports a passed deadline as a cancellation: leave it to the token to call it by its name.
  void OnCancel() {
    if (absl::Now() < token_->deadline()) token_->Cancel();
  }

 private:
  const ServerParts& parts_;
  const absl::Time start_;
  const std::shared_ptr<CancellationToken> token_;
  std::shared_ptr<const LoadedModel> model_;
  CallRecord record_;
  StallWatch::Call writes_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_CALL_H_
