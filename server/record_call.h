// The reactor of RecordPatterns: a turn of the analyses that reads the monitor to go on from and submits the
// traffic, the engine's evaluation, and a turn that adds its patterns.
#ifndef SPLINESERVE_SERVER_RECORD_CALL_H_
#define SPLINESERVE_SERVER_RECORD_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <optional>

#include "core/spline/monitor.h"
#include "server/call.h"
#include "splineserve/v1/monitor.pb.h"

namespace splineserve {

// Owns itself: deleted by gRPC's OnDone. gRPC keeps `context`, `request` and `response` until then.
class RecordCall final : public grpc::ServerUnaryReactor {
 public:
  static grpc::ServerUnaryReactor* Start(const ServerParts& parts, const grpc::CallbackServerContext& context,
                                         const v1::RecordPatternsRequest& request,
                                         v1::RecordPatternsResponse* response);

 private:
  RecordCall(const ServerParts& parts, const grpc::CallbackServerContext& context,
             const v1::RecordPatternsRequest& request, v1::RecordPatternsResponse* response)
      : state_(parts, context, "RecordPatterns"), request_(request), response_(response) {}

  absl::Status Admit();
  // First turn. Once the traffic is submitted, the call may be over and deleted.
  absl::Status Submit();
  // Second turn.
  absl::Status Add(const absl::StatusOr<EvaluationResult>& result);

  absl::StatusOr<MonitorBuilder> Begin(PieceRecorder::Stack stack) const;
  absl::Status CheckLabels(size_t sequences, uint32_t classes) const;
  void FinishWith(const absl::Status& status) { Finish(state_.End(status)); }

  void OnCancel() override { state_.OnCancel(); }
  void OnDone() override { delete this; }

  CallState state_;
  const v1::RecordPatternsRequest& request_;
  v1::RecordPatternsResponse* const response_;
  AnalysisQueue::Admission admission_;
  std::optional<MonitorBuilder> builder_;
  MemoryCharge charge_;  // until gRPC has sent the response
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_RECORD_CALL_H_
