#include "server/trace_call.h"

#include <algorithm>
#include <new>
#include <utility>

#include "core/base/status_macros.h"
#include "server/analysis_call.h"
#include "server/convert_spline.h"

namespace splineserve {
namespace {

// Long enough that a turn's own cost does not matter, short enough that others' first pieces come soon.
constexpr absl::Duration kTurn = absl::Milliseconds(30);

}  // namespace

TraceCall* TraceCall::Start(const ServerParts& parts, ByteBudget& budget,
                            const grpc::CallbackServerContext& context, const v1::TraceRequest& request) {
  auto* const call = new TraceCall(parts, context);
  const absl::Status admitted = call->Admit(budget, request);
  // Once admitted, the call may be over and deleted already.
  if (!admitted.ok()) {
    call->admission_ = nullptr;  // as in Turn
    call->Finish(call->state_.End(admitted));
  }
  return call;
}

absl::Status TraceCall::Admit(ByteBudget& budget, const v1::TraceRequest& request) {
  SPLINESERVE_RETURN_IF_ERROR(state_.FindModel(request.model()));
  SPLINESERVE_ASSIGN_OR_RETURN(TraceRequest converted, FromProto(request));
  SPLINESERVE_ASSIGN_OR_RETURN(
      trace_, CheckTrace(*state_.model(), std::move(converted), state_.parts().facts.limits));
  SPLINESERVE_ASSIGN_OR_RETURN(basis_, CheckBasis(request.basis(), trace_.degree));
  state_.record().sequences = 1;
  tokens_ = trace_.from.tokens();
  SPLINESERVE_ASSIGN_OR_RETURN(admission_, state_.parts().analyses.Admit());
  SPLINESERVE_ASSIGN_OR_RETURN(charge_, ChargeAnalysis(budget, trace_.bytes));
  admitted_ = absl::Now();
  state_.parts().analyses.Continue([this] { Turn(); });
  return absl::OkStatus();
}

void TraceCall::Turn() {
  message_.Clear();
  absl::StatusOr<bool> more;
  try {
    more = Advance();
  } catch (const std::bad_alloc&) {
    more = absl::ResourceExhaustedError("not enough memory for this trace: expected less work at a time");
  }
  if (more.ok() && *more) {
    state_.WriteBegins();
    StartWrite(&message_);
    return;
  }
  state_.record().timing = TimingSoFar();
  analysis_ = nullptr;
  charge_ = nullptr;
  admission_ = nullptr;  // before the client hears of it, who may then ask again
  Finish(state_.End(more.status()));
}

absl::StatusOr<bool> TraceCall::Advance() {
  const AnalysisQueue& queue = state_.parts().analyses;
  SPLINESERVE_RETURN_IF_ERROR(queue.Check(*state_.token()));
  if (summarized_) return false;
  const absl::Time start = absl::Now();
  if (analysis_ == nullptr) {
    started_ = start;
    SPLINESERVE_ASSIGN_OR_RETURN(analysis_, TraceAnalysis::Create(state_.model(), std::move(trace_)));
    FillHeader();
  } else if (!analysis_->done()) {
    const auto more_time = [&] { return absl::Now() - start < kTurn; };
    const auto check = [&] { return queue.Check(*state_.token()); };
    SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<TracePiece> pieces, analysis_->Next(more_time, check));
    v1::TracePieces* const out = message_.mutable_pieces();
    for (const TracePiece& piece : pieces) ToProto(piece, analysis_->layout(), basis_, out->add_pieces());
    state_.record().pieces += static_cast<int64_t>(pieces.size());
  } else {
    FillSummary();
  }
  return true;
}

Timing TraceCall::TimingSoFar() const {
  const absl::Time now = absl::Now(), started = std::min(started_, now);
  return {absl::ToInt64Microseconds(started - admitted_), absl::ToInt64Microseconds(now - started),
          static_cast<int64_t>(tokens_)};
}

void TraceCall::FillHeader() {
  v1::TraceHeader* const header = message_.mutable_header();
  *header->mutable_model() = ToServedModel(*state_.model());
  for (const OutputIndex& index : analysis_->outputs().indices) {
    v1::OutputSelection::Index* const added = header->add_outputs();
    added->set_row(static_cast<uint32_t>(index.row));
    added->set_col(static_cast<uint32_t>(index.col));
  }
  header->set_basis(basis_);
  header->set_degree_bound(analysis_->layout().degree());
  header->set_gates(analysis_->layout().gates());
}

void TraceCall::FillSummary() {
  summarized_ = true;
  v1::TraceSummary* const summary = message_.mutable_summary();
  ToProto(analysis_->Summary(), summary);
  ToProto(TimingSoFar(), summary->mutable_timing());
}

void TraceCall::OnWriteDone(bool ok) {
  state_.WriteDone();
  if (!ok) state_.token()->Cancel();  // the client is gone, or might as well be
  state_.parts().analyses.Continue([this] { Turn(); });
}

}  // namespace splineserve
