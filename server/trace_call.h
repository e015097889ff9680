// The reactor of Trace: turns of the analysis, and writes of what they found, one after the other.
#ifndef SPLINESERVE_SERVER_TRACE_CALL_H_
#define SPLINESERVE_SERVER_TRACE_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <memory>

#include "core/engine/byte_budget.h"
#include "core/engine/trace_analysis.h"
#include "server/call.h"
#include "splineserve/v1/spline.pb.h"

namespace splineserve {

// Owns itself: deleted by gRPC's OnDone. A turn computes for kTurn, or one piece if that takes longer, and
// hands its message to gRPC; the next turn is queued when gRPC has sent it. So nothing piles up before a slow
// client, and one that stops reading loses its trace after --stall-timeout. Nothing here needs a lock: there
// is a turn or a write, never both.
class TraceCall final : public grpc::ServerWriteReactor<v1::TraceResponse> {
 public:
  static TraceCall* Start(const ServerParts& parts, ByteBudget& budget,
                          const grpc::CallbackServerContext& context, const v1::TraceRequest& request);

 private:
  TraceCall(const ServerParts& parts, const grpc::CallbackServerContext& context)
      : state_(parts, context, "Trace") {}

  absl::Status Admit(ByteBudget& budget, const v1::TraceRequest& request);
  // On an analysis thread: computes and starts a write, or finishes.
  void Turn();
  // The next message; without one, the trace has been told.
  absl::StatusOr<bool> Advance();
  Timing TimingSoFar() const;
  void FillHeader();
  void FillSummary();

  void OnWriteDone(bool ok) override;
  void OnCancel() override { state_.OnCancel(); }
  void OnDone() override { delete this; }

  CallState state_;
  AnalysisQueue::Admission admission_;
  MemoryCharge charge_;
  CheckedTrace trace_;  // until analysis_ has it
  v1::PolynomialBasis::Value basis_ = v1::PolynomialBasis::CHEBYSHEV;
  std::unique_ptr<TraceAnalysis> analysis_;
  bool summarized_ = false;
  absl::Time admitted_;
  absl::Time started_ = absl::InfiniteFuture();  // the first turn
  size_t tokens_ = 0;
  v1::TraceResponse message_;  // gRPC's until OnWriteDone
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_TRACE_CALL_H_
