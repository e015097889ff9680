#include "server/convert_request.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve {
namespace {

absl::StatusOr<Matrix> ToMatrix(const v1::Matrix& matrix, const std::string& where) {
  SPLINESERVE_RETURN_IF_ERROR(CheckNumbers(matrix, where));
  return Matrix{matrix.rows(), matrix.cols(), {matrix.values().begin(), matrix.values().end()}};
}

// Enums are open in proto3: any number may arrive.
absl::StatusOr<PieceDetail> ToDetail(int value) {
  switch (value) {
    case v1::PieceOptions::UNSPECIFIED:
    case v1::PieceOptions::NONE:
      return PieceDetail::kNone;
    case v1::PieceOptions::ID:
      return PieceDetail::kId;
    case v1::PieceOptions::COUNTS:
      return PieceDetail::kCounts;
    case v1::PieceOptions::BITS:
      return PieceDetail::kBits;
  }
  return InvalidField("pieces.detail", "NONE, ID, COUNTS or BITS", absl::StrCat(value));
}

void SetStrategy(const v1::GenerateRequest& request, GenerateRequest& result) {
  switch (request.strategy_case()) {
    case v1::GenerateRequest::kBeam: {
      const v1::GenerateRequest::Beam& beam = request.beam();
      result.strategy = GenerationStrategy::kBeam;
      if (beam.width() != 0) result.beam_width = beam.width();
      if (beam.num_hypotheses() != 0) result.num_hypotheses = beam.num_hypotheses();
      if (beam.has_length_penalty()) result.length_penalty = beam.length_penalty();
      return;
    }
    case v1::GenerateRequest::kSample: {
      const v1::GenerateRequest::Sample& sample = request.sample();
      result.strategy = GenerationStrategy::kSample;
      if (sample.has_temperature()) result.temperature = sample.temperature();
      result.top_k = sample.top_k();
      result.seed = sample.seed();
      return;
    }
    case v1::GenerateRequest::kGreedy:
    case v1::GenerateRequest::STRATEGY_NOT_SET:
      result.strategy = GenerationStrategy::kGreedy;
      return;
  }
}

absl::StatusOr<std::vector<Sequence>> ToSequences(
    const google::protobuf::RepeatedPtrField<v1::Sequence>& sequences, const char* field) {
  std::vector<Sequence> result;
  result.reserve(sequences.size());
  for (int i = 0; i < sequences.size(); ++i) {
    SPLINESERVE_ASSIGN_OR_RETURN(Sequence sequence,
                                 ToSequence(sequences[i], absl::StrCat(field, "[", i, "]")));
    result.push_back(std::move(sequence));
  }
  return result;
}

}  // namespace

absl::StatusOr<Sequence> ToSequence(const v1::Sequence& sequence, const std::string& where) {
  switch (sequence.form_case()) {
    case v1::Sequence::kText:
      return Text{sequence.text()};
    case v1::Sequence::kTokens:
      return TokenIds{{sequence.tokens().ids().begin(), sequence.tokens().ids().end()}};
    case v1::Sequence::kVectors: {
      SPLINESERVE_ASSIGN_OR_RETURN(Matrix matrix,
                                   ToMatrix(sequence.vectors(), absl::StrCat(where, ".vectors")));
      return matrix;
    }
    case v1::Sequence::FORM_NOT_SET:
      return Sequence{};  // the engine's refusal says which forms the model takes
  }
  return absl::InternalError(absl::StrCat(where, ": a form that is not known here"));
}

absl::StatusOr<OutputKind> ToOutputKind(int value, const std::string& where) {
  switch (value) {
    case v1::OutputKind::UNSPECIFIED:
      return OutputKind::kDefault;
    case v1::OutputKind::HIDDEN:
      return OutputKind::kHidden;
    case v1::OutputKind::HEAD:
      return OutputKind::kHead;
  }
  return InvalidField(where, "HIDDEN or HEAD", absl::StrCat(value));
}

absl::StatusOr<Site> ToSite(int value, const std::string& where) {
  switch (value) {
    case v1::Site::SELF_ATTENTION:
      return Site::kSelfAttention;
    case v1::Site::CROSS_ATTENTION:
      return Site::kCrossAttention;
    case v1::Site::FEED_FORWARD:
      return Site::kFeedForward;
  }
  return InvalidField(where, "SELF_ATTENTION, CROSS_ATTENTION or FEED_FORWARD",
                      value == 0 ? "UNSPECIFIED" : absl::StrCat(value));
}

absl::StatusOr<PieceOptions> ToPieceOptions(const v1::PieceOptions& pieces) {
  PieceOptions options;
  SPLINESERVE_ASSIGN_OR_RETURN(options.detail, ToDetail(pieces.detail()));
  options.layers.assign(pieces.layers().begin(), pieces.layers().end());
  for (int i = 0; i < pieces.sites_size(); ++i) {
    SPLINESERVE_ASSIGN_OR_RETURN(const Site site,
                                 ToSite(pieces.sites(i), absl::StrCat("pieces.sites[", i, "]")));
    options.sites.push_back(site);
  }
  options.margins = pieces.margins();
  return options;
}

absl::StatusOr<EncodeRequest> FromProto(const v1::EncodeRequest& request) {
  EncodeRequest result;
  SPLINESERVE_ASSIGN_OR_RETURN(result.inputs, ToSequences(request.inputs(), "inputs"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.output, ToOutputKind(request.output(), "output"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.pieces, ToPieceOptions(request.pieces()));
  result.smoothing_error = request.smoothing_error();
  if (request.has_float64()) result.float64_gates = request.float64().max_gates();
  return result;
}

absl::StatusOr<DecodeRequest> FromProto(const v1::DecodeRequest& request) {
  DecodeRequest result;
  SPLINESERVE_ASSIGN_OR_RETURN(result.sources, ToSequences(request.sources(), "sources"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.targets, ToSequences(request.targets(), "targets"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.output, ToOutputKind(request.output(), "output"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.pieces, ToPieceOptions(request.pieces()));
  result.smoothing_error = request.smoothing_error();
  if (request.has_float64()) result.float64_gates = request.float64().max_gates();
  return result;
}

absl::StatusOr<GenerateRequest> FromProto(const v1::GenerateRequest& request) {
  GenerateRequest result;
  SPLINESERVE_ASSIGN_OR_RETURN(result.source, ToSequence(request.source(), "source"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.prompt, ToSequence(request.prompt(), "prompt"));
  SetStrategy(request, result);
  result.max_new_tokens = request.max_new_tokens();
  result.stop_ids.assign(request.stop_ids().begin(), request.stop_ids().end());
  SPLINESERVE_ASSIGN_OR_RETURN(result.pieces, ToPieceOptions(request.pieces()));
  return result;
}

absl::StatusOr<std::variant<EncodeRequest, DecodeRequest>> FromProto(
    const v1::RecordPatternsRequest& request) {
  SPLINESERVE_ASSIGN_OR_RETURN(std::vector<Sequence> inputs, ToSequences(request.inputs(), "inputs"));
  if (request.targets().empty() && request.sources().empty())
    return EncodeRequest{.inputs = std::move(inputs)};
  if (!inputs.empty()) {
    return InvalidField("inputs", "nothing beside sources and targets",
                        absl::StrCat(inputs.size(), " sequences"));
  }
  DecodeRequest result;
  SPLINESERVE_ASSIGN_OR_RETURN(result.sources, ToSequences(request.sources(), "sources"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.targets, ToSequences(request.targets(), "targets"));
  return result;
}

absl::StatusOr<PatternSelection> FromProto(const v1::MonitorSelection& selection,
                                           PieceRecorder::Stack stack) {
  PatternSelection result{.stack = stack};
  result.layers.assign(selection.layers().begin(), selection.layers().end());
  for (int i = 0; i < selection.sites_size(); ++i) {
    SPLINESERVE_ASSIGN_OR_RETURN(const Site site,
                                 ToSite(selection.sites(i), absl::StrCat("selection.sites[", i, "]")));
    result.sites.push_back(site);
  }
  result.units.assign(selection.units().begin(), selection.units().end());
  result.Normalize();
  return result;
}

}  // namespace splineserve
