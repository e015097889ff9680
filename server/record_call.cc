#include "server/record_call.h"

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/spline/monitor_file.h"
#include "server/convert_request.h"
#include "server/monitoring.h"

namespace splineserve {
namespace {

using Stack = PieceRecorder::Stack;

absl::StatusOr<MonitorKind> ToKind(int value) {
  switch (value) {
    case v1::MonitorKind::UNSPECIFIED:
    case v1::MonitorKind::BITS:
      return MonitorKind::kBits;
    case v1::MonitorKind::HASHED:
      return MonitorKind::kHashed;
  }
  return absl::InvalidArgumentError(absl::StrCat("kind: expected BITS or HASHED, found ", value));
}

absl::Status Differs(const char* what) {
  return absl::FailedPreconditionError(
      absl::StrCat(what, ": expected that of the monitor to go on from, or nothing, found another"));
}

// Whether a monitor can take more of what `wanted`, as the request has it, describes.
absl::Status CheckContinues(const MonitorDescription& old, const MonitorDescription& wanted,
                            const v1::RecordPatternsRequest& request) {
  if (old.digest != wanted.digest) {
    return absl::FailedPreconditionError(absl::StrCat("monitor: expected one of this model, whose digest is ",
                                                      wanted.digest, ", found one of the model with digest ",
                                                      old.digest));
  }
  if (old.precision != wanted.precision) {
    return absl::FailedPreconditionError(
        absl::StrCat("monitor: expected one in ", PrecisionName(wanted.precision),
                     ", in which the model is served, found one in ", PrecisionName(old.precision)));
  }
  if (old.selection.stack != wanted.selection.stack) return Differs("inputs, sources and targets: the stack");
  if (request.has_selection() && old.selection != wanted.selection) return Differs("selection");
  if (request.kind() != v1::MonitorKind::UNSPECIFIED && old.kind != wanted.kind) return Differs("kind");
  if (request.has_gamma() && old.gamma != wanted.gamma) {
    return absl::FailedPreconditionError(
        absl::StrCat("gamma: expected ", old.gamma, ", that of the monitor to go on from, or nothing, found ",
                     wanted.gamma));
  }
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* RecordCall::Start(const ServerParts& parts,
                                            const grpc::CallbackServerContext& context,
                                            const v1::RecordPatternsRequest& request,
                                            v1::RecordPatternsResponse* response) {
  auto* const call = new RecordCall(parts, context, request, response);
  const absl::Status admitted = call->Admit();
  if (!admitted.ok()) {
    call->FinishWith(admitted);
  } else {
    parts.analyses.Continue([call] {
      const absl::Status submitted = call->Submit();
      if (!submitted.ok()) call->FinishWith(submitted);
    });
  }
  return call;
}

absl::Status RecordCall::Admit() {
  SPLINESERVE_RETURN_IF_ERROR(state_.FindModel(request_.model()));
  SPLINESERVE_ASSIGN_OR_RETURN(admission_, state_.parts().analyses.Admit());
  return absl::OkStatus();
}

absl::StatusOr<MonitorBuilder> RecordCall::Begin(Stack stack) const {
  const LoadedModel& model = *state_.model();
  MonitorDescription wanted{.digest = model.digest(), .precision = model.precision()};
  SPLINESERVE_ASSIGN_OR_RETURN(wanted.selection, FromProto(request_.selection(), stack));
  SPLINESERVE_ASSIGN_OR_RETURN(wanted.kind, ToKind(request_.kind()));
  wanted.gamma = request_.gamma();
  wanted.classes = ClassesOf(model.config(), stack);
  if (request_.monitor().empty()) {
    SPLINESERVE_RETURN_IF_ERROR(CheckFits(wanted, model.config()));
    return MonitorBuilder::Create(std::move(wanted));
  }
  const std::string& bytes = request_.monitor();
  SPLINESERVE_ASSIGN_OR_RETURN(
      const PatternMonitor monitor,
      ParseMonitor({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "monitor"));
  SPLINESERVE_RETURN_IF_ERROR(CheckContinues(monitor.description(), wanted, request_));
  SPLINESERVE_RETURN_IF_ERROR(CheckFits(monitor.description(), model.config()));
  return MonitorBuilder(monitor);
}

absl::Status RecordCall::CheckLabels(size_t sequences, uint32_t classes) const {
  const size_t labels = static_cast<size_t>(request_.labels_size());
  if (request_.only_correct() && labels == 0) {
    return absl::InvalidArgumentError("labels: expected one for each sequence with only_correct, found none");
  }
  if (labels != 0 && labels != sequences) {
    return absl::InvalidArgumentError(
        absl::StrCat("labels: expected one for each of ", sequences, " sequences, or none, found ", labels));
  }
  for (size_t i = 0; i < labels; ++i) {
    const uint32_t label = request_.labels(static_cast<int>(i));
    if (label < classes) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("labels[", i, "]: expected a class in [0, ", classes, "), found ", label));
  }
  return absl::OkStatus();
}

absl::Status RecordCall::Submit() {
  SPLINESERVE_RETURN_IF_ERROR(state_.parts().analyses.Check(*state_.token()));
  SPLINESERVE_ASSIGN_OR_RETURN(auto traffic, FromProto(request_));
  return std::visit(
      [this](auto& evaluation) -> absl::Status {
        constexpr bool kEncode = std::is_same_v<std::decay_t<decltype(evaluation)>, EncodeRequest>;
        const ServerParts& parts = state_.parts();
        const Stack stack = Monitoring::StackOf(evaluation);
        const size_t layers = LayersOf(state_.model()->config(), stack);
        size_t sequences = 0;
        if constexpr (kEncode) sequences = evaluation.inputs.size();
        if constexpr (!kEncode) sequences = evaluation.targets.size();
        if (layers > 0) {  // else the engine says which call the model takes
          SPLINESERVE_ASSIGN_OR_RETURN(MonitorBuilder builder, Begin(stack));
          SPLINESERVE_RETURN_IF_ERROR(CheckLabels(sequences, builder.description().classes));
          evaluation.pieces = Widen({}, builder.description().selection, layers);
          builder_ = std::move(builder);
        }
        const auto done = [this](absl::StatusOr<EvaluationResult> result) {
          auto shared = std::make_shared<absl::StatusOr<EvaluationResult>>(std::move(result));
          state_.parts().analyses.Continue([this, shared] { FinishWith(Add(*shared)); });
        };
        if constexpr (kEncode) {
          return parts.engine.Encode(state_.model(), std::move(evaluation), state_.token(), done);
        } else {
          return parts.engine.Decode(state_.model(), std::move(evaluation), state_.token(), done);
        }
      },
      traffic);
}

absl::Status RecordCall::Add(const absl::StatusOr<EvaluationResult>& result) {
  SPLINESERVE_RETURN_IF_ERROR(result.status());
  SPLINESERVE_RETURN_IF_ERROR(state_.parts().analyses.Check(*state_.token()));
  const MonitorDescription description = builder_->description();
  uint32_t added = 0, known = 0, left_out = 0;
  for (size_t i = 0; i < result->results.size(); ++i) {
    const SequenceResult& sequence = result->results[i];
    const uint32_t answer = LabelOf(sequence, description.classes);
    const uint32_t label = request_.labels().empty() ? answer : request_.labels(static_cast<int>(i));
    if (request_.only_correct() && label != answer) {
      ++left_out;
      continue;
    }
    SPLINESERVE_ASSIGN_OR_RETURN(const bool is_new,
                                 builder_->Add(label, PatternOf(description.selection, sequence.pieces)));
    ++(is_new ? added : known);
  }
  const PatternMonitor monitor = (*std::move(builder_)).Build();
  *response_->mutable_model() = ToServedModel(*state_.model());
  response_->set_monitor(SerializeMonitor(monitor));
  *response_->mutable_info() = ToMonitorInfo(monitor);
  response_->set_added(added);
  response_->set_known(known);
  response_->set_left_out(left_out);
  ToProto(result->timing, response_->mutable_timing());
  state_.record().timing = result->timing;
  state_.record().sequences = static_cast<int64_t>(result->results.size());
  charge_ = result->charge;
  return absl::OkStatus();
}

}  // namespace splineserve
