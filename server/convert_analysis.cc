#include "server/convert_analysis.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "server/convert_request.h"
#include "server/convert_response.h"

namespace splineserve {
namespace {

// Layers as they come: whether they are all there, and in order, is core's to check.
absl::StatusOr<TokenPiece> ToTokenPiece(const v1::TokenPiece& piece, const std::string& where) {
  TokenPiece result;
  if (piece.id().size() > PieceId::kBytes) {
    return absl::InvalidArgumentError(absl::StrCat(where, ".id: expected none or ", PieceId::kBytes,
                                                   " bytes, found ", piece.id().size(), " bytes"));
  }
  result.id = piece.id();
  for (int l = 0; l < piece.layers_size(); ++l) {
    const v1::TokenPiece::Layer& layer = piece.layers(l);
    for (int g = 0; g < layer.groups_size(); ++g) {
      const v1::TokenPiece::Group& group = layer.groups(g);
      PieceGroup converted;
      converted.layer = layer.layer();
      SPLINESERVE_ASSIGN_OR_RETURN(
          converted.site, ToSite(group.site(), absl::StrCat(where, ".layers[", l, "].groups[", g, "].site")));
      converted.head = group.head();
      converted.width = group.width();
      converted.open = group.open();
      converted.bits.assign(group.bits().begin(), group.bits().end());
      result.groups.push_back(std::move(converted));
    }
  }
  return result;
}

absl::StatusOr<std::vector<TokenPiece>> ToTokenPieces(
    const google::protobuf::RepeatedPtrField<v1::TokenPiece>& pieces, const std::string& where) {
  std::vector<TokenPiece> result;
  result.reserve(static_cast<size_t>(pieces.size()));
  for (int i = 0; i < pieces.size(); ++i) {
    SPLINESERVE_ASSIGN_OR_RETURN(TokenPiece piece, ToTokenPiece(pieces[i], absl::StrCat(where, "[", i, "]")));
    result.push_back(std::move(piece));
  }
  return result;
}

v1::GateRef::Stack ToProto(PieceLayout::Stack stack) {
  return stack == PieceLayout::Stack::kEncoder ? v1::GateRef::ENCODER : v1::GateRef::DECODER;
}

void ToProto(const HammingDistance& distance, v1::HammingDistance* out) {
  out->set_differing(distance.differing);
  out->set_compared(distance.compared);
  out->set_unmatched(distance.unmatched);
}

void ToProto(const std::vector<GroupDistance>& groups,
             google::protobuf::RepeatedPtrField<v1::GroupDistance>* out) {
  for (const GroupDistance& group : groups) {
    v1::GroupDistance* const added = out->Add();
    added->set_layer(static_cast<uint32_t>(group.layer));
    added->set_site(ToProto(group.site));
    added->set_head(static_cast<uint32_t>(group.head));
    ToProto(group.distance, added->mutable_distance());
  }
}

void ToProto(const Verification& verification, v1::PieceVerification* out) {
  out->set_equal(verification.equal);
  ToProto(verification.gates, out->mutable_gates());
  out->set_differing(verification.differing);
  out->set_largest_difference(verification.largest);
  if (verification.equal) return;
  v1::PieceVerification::Number* const first = out->mutable_first();
  first->set_row(static_cast<uint32_t>(verification.row));
  first->set_col(static_cast<uint32_t>(verification.col));
  first->set_on_piece(verification.on_piece);
  first->set_own(verification.own);
}

void ToProto(const PairComparison& pair, v1::PairComparison* out) {
  const HammingDistance& total = pair.distance.total;
  out->set_first(static_cast<uint32_t>(pair.first));
  out->set_second(static_cast<uint32_t>(pair.second));
  ToProto(total, out->mutable_total());
  if (total.compared != 0) {
    out->set_share(static_cast<double>(total.differing) / static_cast<double>(total.compared));
  }
  ToProto(pair.distance.groups, out->mutable_groups());
  for (const HammingDistance& token : pair.distance.tokens) ToProto(token, out->add_tokens());
}

void ToProto(const StackComparison& stack, v1::StackComparison* out) {
  out->set_stack(ToProto(stack.stack));
  for (const size_t tokens : stack.tokens) out->add_tokens(static_cast<uint32_t>(tokens));
  for (const std::string& id : stack.sequence_ids) out->add_sequence_ids(id);
  for (const size_t input : stack.same_as) out->add_same_as(static_cast<uint32_t>(input));
  out->set_distinct_pieces(
      static_cast<uint32_t>(std::set<size_t>(stack.same_as.begin(), stack.same_as.end()).size()));
  for (const HammingDistance& distance : stack.distances) {
    out->add_differing(distance.differing);
    out->add_compared(distance.compared);
    out->add_unmatched(distance.unmatched);
  }
  for (const size_t tokens : stack.same_tokens) out->add_same_tokens(static_cast<uint32_t>(tokens));
  for (const PairComparison& pair : stack.pairs) ToProto(pair, out->add_pairs());
}

}  // namespace

absl::StatusOr<ModelInput> ToModelInput(const v1::ModelInput& input, const std::string& where) {
  ModelInput result;
  SPLINESERVE_ASSIGN_OR_RETURN(result.source, ToSequence(input.source(), absl::StrCat(where, ".source")));
  SPLINESERVE_ASSIGN_OR_RETURN(result.target, ToSequence(input.target(), absl::StrCat(where, ".target")));
  return result;
}

absl::StatusOr<EvaluateOnPieceRequest> FromProto(const v1::EvaluateOnPieceRequest& request) {
  EvaluateOnPieceRequest result;
  SPLINESERVE_ASSIGN_OR_RETURN(result.input, ToModelInput(request.input(), "input"));
  switch (request.gates_case()) {
    case v1::EvaluateOnPieceRequest::kGatesOf: {
      SPLINESERVE_ASSIGN_OR_RETURN(result.gates, ToModelInput(request.gates_of(), "gates_of"));
      break;
    }
    case v1::EvaluateOnPieceRequest::kGiven: {
      StackPieces given;
      SPLINESERVE_ASSIGN_OR_RETURN(given.encoder, ToTokenPieces(request.given().encoder(), "given.encoder"));
      SPLINESERVE_ASSIGN_OR_RETURN(given.decoder, ToTokenPieces(request.given().decoder(), "given.decoder"));
      result.gates = std::move(given);
      break;
    }
    case v1::EvaluateOnPieceRequest::GATES_NOT_SET:
      break;
  }
  SPLINESERVE_ASSIGN_OR_RETURN(result.output, ToOutputKind(request.output(), "output"));
  result.verify = request.verify();
  SPLINESERVE_ASSIGN_OR_RETURN(result.pieces, ToPieceOptions(request.pieces()));
  return result;
}

absl::StatusOr<CompareRequest> FromProto(const v1::CompareRequest& request) {
  CompareRequest result;
  for (int i = 0; i < request.inputs_size(); ++i) {
    SPLINESERVE_ASSIGN_OR_RETURN(ModelInput input,
                                 ToModelInput(request.inputs(i), absl::StrCat("inputs[", i, "]")));
    result.inputs.push_back(std::move(input));
  }
  return result;
}

void ToProto(const LoadedModel& model, const OnPieceResult& result, bool margins,
             v1::EvaluateOnPieceResponse* out) {
  *out->mutable_model() = ToServedModel(model);
  ToProto(result.result, margins, out->mutable_result());
  out->set_encoder_sequence_id(result.encoder_piece);
  out->set_decoder_sequence_id(result.decoder_piece);
  for (const StackDistance& stack : result.disagreement) {
    v1::StackDistance* const added = out->add_disagreement();
    added->set_stack(ToProto(stack.stack));
    ToProto(stack.distance.total, added->mutable_total());
    ToProto(stack.distance.groups, added->mutable_groups());
  }
  out->set_polynomial(model.spline_class() == SplineClass::kExact);
  out->set_degree_bound(model.degree_bound());
  if (result.verification.has_value()) ToProto(*result.verification, out->mutable_verification());
}

void ToProto(const LoadedModel& model, const ComparisonResult& result, v1::CompareResponse* out) {
  *out->mutable_model() = ToServedModel(model);
  for (const StackComparison& stack : result.stacks) ToProto(stack, out->add_stacks());
}

}  // namespace splineserve
