// The reactor of Encode and Decode: check, submit, convert.
#ifndef SPLINESERVE_SERVER_EVALUATION_CALL_H_
#define SPLINESERVE_SERVER_EVALUATION_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/engine/float64_report.h"
#include "core/engine/smoothing_report.h"
#include "server/call.h"
#include "server/convert_request.h"
#include "server/monitoring.h"

namespace splineserve {

// Owns itself: deleted by gRPC's OnDone. gRPC keeps `context` and `response` until then.
template <typename Response>
class EvaluationCall final : public grpc::ServerUnaryReactor {
 public:
  // `submit(model, engine request, token, done)` is Engine::Encode or Decode. Returns at once; the answer
  // follows.
  template <typename Request, typename Submit>
  static grpc::ServerUnaryReactor* Start(const ServerParts& parts, const grpc::CallbackServerContext& context,
                                         std::string_view method, const Request& request, Response* response,
                                         Submit submit) {
    auto* const call = new EvaluationCall(parts, context, method, response);
    const absl::Status admitted = call->Admit(request, submit);
    // Once admitted, the call may be over and deleted already.
    if (!admitted.ok()) call->Finish(call->state_.End(admitted));
    return call;
  }

 private:
  EvaluationCall(const ServerParts& parts, const grpc::CallbackServerContext& context,
                 std::string_view method, Response* response)
      : state_(parts, context, method), response_(response) {}

  template <typename Request, typename Submit>
  absl::Status Admit(const Request& request, Submit submit) {
    SPLINESERVE_RETURN_IF_ERROR(state_.FindModel(request.model()));
    SPLINESERVE_ASSIGN_OR_RETURN(auto engine_request, FromProto(request));
    margins_ = engine_request.pieces.margins;
    SPLINESERVE_ASSIGN_OR_RETURN(
        monitoring_, Monitoring::Prepare(state_.parts().monitors, *state_.model(), request, engine_request));
    if (engine_request.smoothing_error || engine_request.float64_gates) {
      SPLINESERVE_ASSIGN_OR_RETURN(admission_, state_.parts().analyses.Admit());
      analyse_ = [this, request = engine_request](EvaluationResult& result) {
        return Analyse(request, result);
      };
    }
    return submit(state_.model(), std::move(engine_request), state_.token(),
                  [this](absl::StatusOr<EvaluationResult> result) { Answer(std::move(result)); });
  }

  // From the engine's executor: conversion and serialisation of a large result would hold up all other
  // requests, and analyses even more.
  void Answer(absl::StatusOr<EvaluationResult> result) {
    auto shared = std::make_shared<absl::StatusOr<EvaluationResult>>(std::move(result));
    if (!analyse_ || !shared->ok()) {
      state_.parts().workers.Post([this, shared] { Finish(Convert(*shared)); });
      return;
    }
    state_.parts().analyses.Continue([this, shared, evaluated = absl::Now()] {
      const absl::Time start = absl::Now();
      absl::Status status;
      try {
        status = analyse_(**shared);
      } catch (const std::bad_alloc&) {
        status = absl::ResourceExhaustedError("not enough memory to analyse this request: ask for less");
      }
      if (status.ok()) {
        (*shared)->timing.queue_us += absl::ToInt64Microseconds(start - evaluated);
        (*shared)->timing.compute_us += absl::ToInt64Microseconds(absl::Now() - start);
      } else {
        *shared = status;
      }
      admission_ = nullptr;
      Finish(Convert(*shared));
    });
  }

  // Smoothing errors and float64, up to seconds of work (kMaxSmoothingWork, kMaxFloat64Work) for those who
  // ask for them.
  template <typename Request>
  absl::Status Analyse(const Request& request, EvaluationResult& result) const {
    const EngineOptions& limits = state_.parts().engine.options();
    const auto check = [this] { return state_.parts().analyses.Check(*state_.token()); };
    if (request.smoothing_error) {
      SPLINESERVE_ASSIGN_OR_RETURN(std::vector<SmoothingError> errors,
                                   MeasureSmoothing(*state_.model(), request, limits, check));
      for (size_t i = 0; i < errors.size(); ++i) result.results[i].smoothing_error = std::move(errors[i]);
    }
    if (request.float64_gates) {
      SPLINESERVE_ASSIGN_OR_RETURN(std::vector<Float64Result> exact,
                                   MeasureFloat64(*state_.model(), request, limits, check));
      for (size_t i = 0; i < exact.size(); ++i) {
        const std::vector<float>& served = result.results[i].output.values;
        for (size_t k = 0; k < served.size() && k < exact[i].output.size(); ++k) {
          exact[i].max_difference = std::max(exact[i].max_difference,
                                             std::abs(static_cast<double>(served[k]) - exact[i].output[k]));
        }
        result.results[i].float64 = std::move(exact[i]);
      }
    }
    return absl::OkStatus();
  }

  grpc::Status Convert(absl::StatusOr<EvaluationResult>& result) {
    try {
      return ConvertAll(result);
    } catch (const std::bad_alloc&) {
      return state_.End(absl::ResourceExhaustedError("not enough memory for this answer: ask for less"));
    }
  }

  grpc::Status ConvertAll(absl::StatusOr<EvaluationResult>& result) {
    if (!result.ok()) return state_.End(result.status());
    std::vector<v1::MonitorVerdict> verdicts;
    if (monitoring_) verdicts = monitoring_->Judge(result->results);
    ToProto(*state_.model(), *result, margins_, response_);
    for (size_t i = 0; i < verdicts.size(); ++i) {
      *response_->mutable_results(static_cast<int>(i))->mutable_monitor() = std::move(verdicts[i]);
    }
    CallRecord& record = state_.record();
    record.timing = result->timing;
    record.sequences = static_cast<int64_t>(result->results.size());
    for (const SequenceResult& sequence : result->results)
      record.pieces += static_cast<int64_t>(sequence.pieces.size());
    charge_ = result->charge;
    return state_.End(absl::OkStatus());
  }

  void OnCancel() override { state_.OnCancel(); }
  void OnDone() override { delete this; }

  CallState state_;
  Response* const response_;
  bool margins_ = false;
  std::optional<Monitoring> monitoring_;
  std::function<absl::Status(EvaluationResult&)> analyse_;  // if it is asked for
  AnalysisQueue::Admission admission_;
  MemoryCharge charge_;  // until gRPC has sent the response
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_EVALUATION_CALL_H_
