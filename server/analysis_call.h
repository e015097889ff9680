// The reactor of an analysis that answers once: check, have it queued, convert.
#ifndef SPLINESERVE_SERVER_ANALYSIS_CALL_H_
#define SPLINESERVE_SERVER_ANALYSIS_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <new>
#include <string_view>
#include <utility>

#include "core/base/status_macros.h"
#include "server/call.h"

namespace splineserve {

// Owns itself: deleted by gRPC's OnDone. gRPC keeps `context`, the request and `response` until then.
template <typename Response>
class AnalysisCall final : public grpc::ServerUnaryReactor {
 public:
  // Computes and fills the response but for `model` and `timing`; asks `check` now and then, for OK to go on.
  using Work = std::function<absl::Status(absl::FunctionRef<absl::Status()> check, Response* response)>;

  // `prepare(state)` checks the request, on gRPC's thread, and returns a StatusOr<Work>.
  template <typename Request, typename Prepare>
  static grpc::ServerUnaryReactor* Start(const ServerParts& parts, const grpc::CallbackServerContext& context,
                                         std::string_view method, const Request& request, Response* response,
                                         const Prepare& prepare) {
    auto* const call = new AnalysisCall(parts, context, method, response);
    const absl::Status admitted = call->Admit(request, prepare);
    // Once admitted, the call may be over and deleted already.
    if (!admitted.ok()) call->Finish(call->state_.End(admitted));
    return call;
  }

 private:
  AnalysisCall(const ServerParts& parts, const grpc::CallbackServerContext& context, std::string_view method,
               Response* response)
      : state_(parts, context, method), response_(response) {}

  template <typename Request, typename Prepare>
  absl::Status Admit(const Request& request, const Prepare& prepare) {
    SPLINESERVE_RETURN_IF_ERROR(state_.FindModel(request.model()));
    SPLINESERVE_ASSIGN_OR_RETURN(work_, prepare(state_));
    state_.record().sequences = 1;
    SPLINESERVE_ASSIGN_OR_RETURN(admission_, state_.parts().analyses.Admit());
    admitted_ = absl::Now();
    state_.parts().analyses.Continue([this] { Finish(state_.End(Run())); });
    return absl::OkStatus();
  }

  absl::Status Run() {
    const auto check = [this] { return state_.parts().analyses.Check(*state_.token()); };
    SPLINESERVE_RETURN_IF_ERROR(check());
    Timing timing;
    const absl::Time start = absl::Now();
    timing.queue_us = absl::ToInt64Microseconds(start - admitted_);
    *response_->mutable_model() = ToServedModel(*state_.model());
    absl::Status status;
    try {
      status = work_(check, response_);
    } catch (const std::bad_alloc&) {
      status = absl::ResourceExhaustedError("not enough memory for this analysis: expected a smaller one");
    }
    timing.compute_us = absl::ToInt64Microseconds(absl::Now() - start);
    ToProto(timing, response_->mutable_timing());
    state_.record().timing = timing;
    return status;
  }

  void OnCancel() override { state_.OnCancel(); }
  void OnDone() override { delete this; }

  CallState state_;
  Response* const response_;
  Work work_;
  AnalysisQueue::Admission admission_;
  absl::Time admitted_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_ANALYSIS_CALL_H_
