// The reactor of a unary analysis: check, queue its turns, convert.
#ifndef SPLINESERVE_SERVER_ANALYSIS_CALL_H_
#define SPLINESERVE_SERVER_ANALYSIS_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/engine/analysis_queue.h"
#include "core/engine/byte_budget.h"
#include "server/call.h"

namespace splineserve {

// RESOURCE_EXHAUSTED if so many bytes do not fit beside those of other analyses.
inline absl::StatusOr<MemoryCharge> ChargeAnalysis(ByteBudget& budget, size_t bytes) {
  MemoryCharge charge = budget.TryCharge(bytes);
  if (charge != nullptr) return charge;
  return absl::ResourceExhaustedError(
      absl::StrCat("the byte budget of analyses is full: this request needs about ", bytes, " bytes, ",
                   budget.used(), " of ", budget.limit(), " are in use; ",
                   bytes > budget.limit() ? "ask for less" : "retry later or ask for less"));
}

// An analysis, checked and ready for its first turn. Analysis has
//   absl::StatusOr<bool> RunTurn(absl::FunctionRef<absl::Status()> check);  // true once it is done
//   Result TakeResult();                                                    // with a member `tokens`
template <typename Analysis>
struct BegunAnalysis {
  std::unique_ptr<Analysis> analysis;
  size_t bytes = 0;  // estimate of what it holds until its answer is sent
};

// Owns itself: deleted by gRPC's OnDone. gRPC keeps `context` and `response` until then.
template <typename Analysis, typename Response>
class AnalysisCall final : public grpc::ServerUnaryReactor {
 public:
  using Result = decltype(std::declval<Analysis&>().TakeResult());

  // `begin(model, request)` returns a BegunAnalysis or what is wrong with the request; `convert(model,
  // result, response)` runs on an analysis thread and sets all but the timing; its return value is the number
  // of token pieces in the response. Returns at once; the answer follows.
  template <typename Request, typename Begin>
  static grpc::ServerUnaryReactor* Start(
      const ServerParts& parts, ByteBudget& budget, const grpc::CallbackServerContext& context,
      std::string_view method, const Request& request, Response* response, Begin begin,
      std::function<int64_t(const LoadedModel&, const Result&, Response*)> convert) {
    auto* const call = new AnalysisCall(parts, context, method, response, std::move(convert));
    const absl::Status admitted = call->Admit(budget, request, begin);
    // Once its first turn is queued, the call may be over and deleted already.
    if (!admitted.ok()) call->Finish(call->state_.End(admitted));
    return call;
  }

 private:
  AnalysisCall(const ServerParts& parts, const grpc::CallbackServerContext& context, std::string_view method,
               Response* response,
               std::function<int64_t(const LoadedModel&, const Result&, Response*)> convert)
      : state_(parts, context, method), response_(response), convert_(std::move(convert)) {}

  template <typename Request, typename Begin>
  absl::Status Admit(ByteBudget& budget, const Request& request, Begin begin) {
    SPLINESERVE_RETURN_IF_ERROR(state_.FindModel(request.model()));
    SPLINESERVE_ASSIGN_OR_RETURN(BegunAnalysis<Analysis> begun, begin(state_.model(), request));
    SPLINESERVE_RETURN_IF_ERROR(state_.token()->Check());
    SPLINESERVE_ASSIGN_OR_RETURN(admission_, state_.parts().analyses.Admit());
    absl::StatusOr<MemoryCharge> charge = ChargeAnalysis(budget, begun.bytes);
    if (!charge.ok()) {
      admission_ = nullptr;
      return charge.status();
    }
    charge_ = *std::move(charge);
    analysis_ = std::move(begun.analysis);
    admitted_ = absl::Now();
    Continue();
    return absl::OkStatus();
  }

  void Continue() {
    state_.parts().analyses.Continue([this] { RunTurn(); });
  }

  void RunTurn() {
    const AnalysisQueue& queue = state_.parts().analyses;
    const auto check = [&] { return queue.Check(*state_.token()); };
    if (started_ == absl::InfinitePast()) started_ = absl::Now();
    const absl::Status before = check();
    absl::StatusOr<bool> done = false;
    try {
      if (before.ok()) {
        done = analysis_->RunTurn(check);
      } else {
        done = before;
      }
      if (done.ok() && *done) Convert();
    } catch (const std::bad_alloc&) {
      done = absl::ResourceExhaustedError("not enough memory for this analysis: ask for less");
    }
    if (done.ok() && !*done) return Continue();
    analysis_ = nullptr;
    admission_ = nullptr;  // before the client hears of it, who may then ask again
    Finish(state_.End(done.status()));
  }

  void Convert() {
    const Result result = analysis_->TakeResult();
    CallRecord& record = state_.record();
    record.pieces = convert_(*state_.model(), result, response_);
    record.timing =
        Timing{absl::ToInt64Microseconds(started_ - admitted_),
               absl::ToInt64Microseconds(absl::Now() - started_), static_cast<int64_t>(result.tokens)};
    ToProto(*record.timing, response_->mutable_timing());
  }

  void OnCancel() override { state_.OnCancel(); }
  void OnDone() override { delete this; }

  CallState state_;
  Response* const response_;
  const std::function<int64_t(const LoadedModel&, const Result&, Response*)> convert_;
  std::unique_ptr<Analysis> analysis_;
  AnalysisQueue::Admission admission_;
  MemoryCharge charge_;  // until gRPC has sent the response
  absl::Time admitted_, started_ = absl::InfinitePast();
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_ANALYSIS_CALL_H_
