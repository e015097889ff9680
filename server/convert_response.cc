#include "server/convert_response.h"

#include <algorithm>
#include <vector>

#include "core/spline/piece.h"

namespace splineserve {
namespace {

v1::Hypothesis::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEndOfSequence:
      return v1::Hypothesis::END_OF_SEQUENCE;
    case FinishReason::kStopId:
      return v1::Hypothesis::STOP_ID;
    case FinishReason::kLength:
      return v1::Hypothesis::LENGTH;
  }
  return v1::Hypothesis::UNSPECIFIED;
}

void ToProto(const PieceGroup& group, bool margins, v1::TokenPiece::Group* out) {
  out->set_site(ToProto(group.site));
  out->set_head(static_cast<uint32_t>(group.head));
  out->set_width(group.width);
  out->set_open(group.open);
  out->set_bits(group.bits.data(), group.bits.size());
  if (margins) out->set_margin(group.margin);
}

void ToProto(const GeneratedToken& token, bool margins, v1::GeneratedToken* out) {
  out->set_id(token.id);
  out->set_text(token.text);
  out->set_log_probability(token.log_probability);
  if (token.piece.has_value()) ToProto(*token.piece, margins, out->mutable_piece());
}

void ToProto(const Hypothesis& hypothesis, bool margins, v1::Hypothesis* out) {
  for (const GeneratedToken& token : hypothesis.tokens) ToProto(token, margins, out->add_tokens());
  out->set_text(hypothesis.text);
  out->set_score(hypothesis.score);
  out->set_finish_reason(ToProto(hypothesis.finish_reason));
  out->set_sequence_id(hypothesis.sequence_id);
  if (hypothesis.end_piece.has_value()) ToProto(*hypothesis.end_piece, margins, out->mutable_end_piece());
}

void ToProto(const Float64Result& result, v1::Float64Result* out) {
  v1::Matrix64* const output = out->mutable_output();
  output->set_rows(static_cast<uint32_t>(result.rows));
  output->set_cols(static_cast<uint32_t>(result.cols));
  output->mutable_values()->Add(result.output.begin(), result.output.end());
  out->set_bounded(result.bounded);
  out->set_max_error_bound(result.max_error_bound);
  out->set_max_difference(result.max_difference);
  out->set_uncertain_gates(result.uncertain_gates);
  out->set_gates(result.gates);
  for (const UncertainGate& gate : result.uncertain) {
    v1::UncertainGate* const added = out->add_uncertain();
    ToProto(gate.gate, added->mutable_gate());
    added->set_argument(gate.argument);
    added->set_bound(gate.bound);
  }
}

}  // namespace

v1::Site::Value ToProto(Site site) {
  switch (site) {
    case Site::kSelfAttention:
      return v1::Site::SELF_ATTENTION;
    case Site::kCrossAttention:
      return v1::Site::CROSS_ATTENTION;
    case Site::kFeedForward:
      return v1::Site::FEED_FORWARD;
  }
  return v1::Site::UNSPECIFIED;
}

void ToProto(const GateId& gate, v1::GateRef* out) {
  out->set_stack(gate.decoder ? v1::GateRef::DECODER : v1::GateRef::ENCODER);
  out->set_layer(static_cast<uint32_t>(gate.layer));
  out->set_site(ToProto(gate.site));
  out->set_token(static_cast<uint32_t>(gate.token));
  out->set_head(static_cast<uint32_t>(gate.head));
  out->set_index(static_cast<uint32_t>(gate.index));
}

v1::ServedModel ToServedModel(const LoadedModel& model) {
  v1::ServedModel out;
  out.set_name(model.name());
  out.set_version(static_cast<uint32_t>(model.version()));
  out.set_digest(model.digest());
  out.set_precision(PrecisionName(model.precision()));
  if (model.smoothing().has_value()) ToProto(*model.smoothing(), out.mutable_smoothing());
  return out;
}

void ToProto(const SequenceResult& result, bool margins, v1::SequenceResult* out) {
  v1::Matrix* const output = out->mutable_output();
  output->set_rows(static_cast<uint32_t>(result.output.rows));
  output->set_cols(static_cast<uint32_t>(result.output.cols));
  output->mutable_values()->Add(result.output.values.begin(), result.output.values.end());
  for (const TokenPiece& piece : result.pieces) ToProto(piece, margins, out->add_pieces());
  out->set_sequence_id(result.sequence_id);
  if (result.float64.has_value()) ToProto(*result.float64, out->mutable_float64());
  if (result.smoothing_error.has_value()) ToProto(*result.smoothing_error, out->mutable_smoothing_error());
}

void ToProto(const Smoothing& smoothing, v1::Smoothing* out) {
  out->set_spline(smoothing.spline);
  out->set_beta(smoothing.beta);
}

void ToProto(const SmoothingError& error, v1::SmoothingError* out) {
  const auto largest = [](const std::vector<double>& rows) {
    return rows.empty() ? 0 : *std::max_element(rows.begin(), rows.end());
  };
  out->set_max_measured(largest(error.measured));
  out->set_max_proven(largest(error.proven));
  out->set_max_proven_at_gates(largest(error.proven_at_gates));
  out->set_largest_output(error.largest_output);
  out->mutable_measured()->Add(error.measured.begin(), error.measured.end());
  out->mutable_proven()->Add(error.proven.begin(), error.proven.end());
  out->mutable_proven_at_gates()->Add(error.proven_at_gates.begin(), error.proven_at_gates.end());
}

void ToProto(const TokenPiece& piece, bool margins, v1::TokenPiece* out) {
  out->set_id(piece.id.data(), piece.id.size());
  v1::TokenPiece::Layer* layer = nullptr;
  for (const PieceGroup& group : piece.groups) {  // in order of layers
    if (layer == nullptr || layer->layer() != group.layer) {
      layer = out->add_layers();
      layer->set_layer(static_cast<uint32_t>(group.layer));
    }
    ToProto(group, margins, layer->add_groups());
  }
  if (margins) out->set_margin(piece.margin);
}

void ToProto(const Timing& timing, v1::Timing* out) {
  out->set_queue_us(timing.queue_us);
  out->set_compute_us(timing.compute_us);
  out->set_batch_tokens(timing.batch_tokens);
}

void ToProto(const GenerateEvent& event, bool margins, v1::GenerateResponse* out) {
  for (const TokenPiece& piece : event.prompt_pieces) ToProto(piece, margins, out->add_prompt_pieces());
  if (event.final) {
    v1::GenerationResult* const result = out->mutable_result();
    for (const Hypothesis& hypothesis : event.hypotheses)
      ToProto(hypothesis, margins, result->add_hypotheses());
    ToProto(event.timing, result->mutable_timing());
  } else if (event.token.has_value()) {
    ToProto(*event.token, margins, out->mutable_token());
  }
}

}  // namespace splineserve
