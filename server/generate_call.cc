#include "server/generate_call.h"

#include <new>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"
#include "server/convert_request.h"

namespace splineserve {
namespace {

// What of an event is to be sent, in memory and near enough for a bound. `asked`: of pieces, which may hold
// more for a monitor.
class EventSize {
 public:
  explicit EventSize(const PieceOptions& asked) : asked_(asked) {}

  size_t operator()(const GenerateEvent& event) const {
    size_t bytes = sizeof(event);
    for (const TokenPiece& piece : event.prompt_pieces) bytes += OfPiece(piece);
    if (event.token.has_value()) bytes += OfToken(*event.token);
    for (const Hypothesis& hypothesis : event.hypotheses) {
      bytes += sizeof(hypothesis) + hypothesis.text.size();
      for (const GeneratedToken& token : hypothesis.tokens) bytes += OfToken(token);
      if (hypothesis.end_piece.has_value()) bytes += OfPiece(*hypothesis.end_piece);
    }
    return bytes;
  }

 private:
  size_t OfPiece(const TokenPiece& piece) const {
    if (asked_.detail == PieceDetail::kNone) return 0;
    size_t bytes = sizeof(piece);
    for (const PieceGroup& group : piece.groups) {
      if (!Lists(asked_, group)) continue;
      bytes += sizeof(group) + (asked_.detail == PieceDetail::kBits ? group.bits.size() : 0);
    }
    return bytes;
  }
  size_t OfToken(const GeneratedToken& token) const {
    return sizeof(token) + token.text.size() + (token.piece.has_value() ? OfPiece(*token.piece) : 0);
  }

  const PieceOptions& asked_;
};

}  // namespace

GenerateCall* GenerateCall::Start(const ServerParts& parts, const grpc::CallbackServerContext& context,
                                  const v1::GenerateRequest& request) {
  auto* const call = new GenerateCall(parts, context);
  const absl::Status admitted = call->Admit(request);
  // Once admitted, the call may be over and deleted already.
  if (!admitted.ok()) call->End(admitted);
  return call;
}

absl::Status GenerateCall::Admit(const v1::GenerateRequest& request) {
  SPLINESERVE_RETURN_IF_ERROR(state_.FindModel(request.model()));
  SPLINESERVE_ASSIGN_OR_RETURN(GenerateRequest engine_request, FromProto(request));
  margins_ = engine_request.pieces.margins;
  asked_ = engine_request.pieces;
  SPLINESERVE_ASSIGN_OR_RETURN(
      std::optional<Monitoring> monitoring,
      Monitoring::Prepare(state_.parts().monitors, *state_.model(), request, engine_request));
  if (monitoring) monitoring_.emplace(*std::move(monitoring));
  state_.record().sequences = 1;
  return state_.parts().engine.Generate(
      state_.model(), std::move(engine_request), state_.token(),
      [this](absl::StatusOr<GenerateEvent> event) { return OnEvent(std::move(event)); });
}

bool GenerateCall::OnEvent(absl::StatusOr<GenerateEvent> event) {
  if (!event.ok()) {
    End(event.status());
    return false;
  }
  const size_t bytes = EventSize(asked_)(*event);
  std::unique_lock lock(mutex_);
  absl::Status refused = failure_;
  if (refused.ok() && waiting_bytes_ > kMaxQueuedBytes) {
    refused = absl::ResourceExhaustedError(absl::StrCat("the client reads too slowly: expected at most ",
                                                        kMaxQueuedBytes, " bytes of unread events"));
  }
  if (!refused.ok()) {
    lock.unlock();
    End(refused);
    return false;
  }
  charge_ = event->charge;
  if (!queue_.empty()) waiting_bytes_ += bytes;
  const bool more = !event->final;
  if (event->final) end_ = absl::OkStatus();
  queue_.push_back({*std::move(event), bytes});
  Advance(std::move(lock));
  return more;
}

v1::GenerateResponse GenerateCall::Convert(GenerateEvent& event) {
  std::vector<v1::MonitorVerdict> verdicts;
  if (monitoring_) verdicts = monitoring_->Judge(event);
  v1::GenerateResponse message;
  ToProto(event, margins_, &message);
  for (size_t i = 0; i < verdicts.size(); ++i) {
    *message.mutable_result()->mutable_hypotheses(static_cast<int>(i))->mutable_monitor() =
        std::move(verdicts[i]);
  }
  if (first_ || event.final) *message.mutable_model() = ToServedModel(*state_.model());
  first_ = false;
  CallRecord& record = state_.record();
  record.pieces += static_cast<int64_t>(event.prompt_pieces.size());
  if (event.final) {
    record.timing = event.timing;
    record.tokens = 0;
    for (const Hypothesis& hypothesis : event.hypotheses)
      record.tokens += static_cast<int64_t>(hypothesis.tokens.size());
  } else {
    record.tokens += event.token.has_value() ? 1 : 0;
  }
  if (event.token.has_value() && event.token->piece.has_value()) ++record.pieces;
  return message;
}

void GenerateCall::End(absl::Status status) {
  std::unique_lock lock(mutex_);
  end_ = std::move(status);
  Advance(std::move(lock));
}

void GenerateCall::Advance(std::unique_lock<std::mutex> lock) {
  if (writing_) return;
  if (!queue_.empty()) {
    writing_ = true;
    lock.unlock();
    state_.parts().workers.Post([this] { WriteNext(); });
  } else if (end_.has_value() && !finished_) {
    finished_ = true;
    grpc::Status status = state_.End(failure_.ok() ? *end_ : failure_);
    lock.unlock();  // first: gRPC may delete the call from another thread as soon as it is finished
    Finish(std::move(status));
  }
}

void GenerateCall::WriteNext() {
  GenerateEvent event;
  {
    const std::lock_guard lock(mutex_);
    event = std::move(queue_.front().event);
    queue_.pop_front();
    if (!queue_.empty()) waiting_bytes_ -= queue_.front().bytes;
  }
  v1::GenerateResponse message;
  try {
    message = Convert(event);
  } catch (const std::bad_alloc&) {
    Fail(absl::ResourceExhaustedError("not enough memory for this answer: ask for less"));
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    current_ = std::move(message);
  }
  state_.WriteBegins();
  StartWrite(&current_);
}

void GenerateCall::Fail(absl::Status status) {
  std::unique_lock lock(mutex_);
  writing_ = false;
  queue_.clear();
  waiting_bytes_ = 0;
  failure_ = std::move(status);
  state_.token()->Cancel();  // the engine's last event still has to come
  Advance(std::move(lock));
}

void GenerateCall::OnWriteDone(bool ok) {
  state_.WriteDone();
  if (!ok) {
    // A write fails for a passed deadline, too: the token calls it by its name.
    const absl::Status why = state_.token()->Check();
    Fail(why.ok() ? absl::CancelledError("the client is gone") : why);
    return;
  }
  std::unique_lock lock(mutex_);
  writing_ = false;
  Advance(std::move(lock));
}

}  // namespace splineserve
