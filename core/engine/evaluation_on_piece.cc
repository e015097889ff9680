#include "core/engine/evaluation_on_piece.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/model/head.h"
#include "core/spline/frozen_piece.h"

namespace splineserve {
namespace {

using Stack = PieceLayout::Stack;

absl::Status CheckClass(const LoadedModel& model) {
  if (model.spline_class() != SplineClass::kSmooth) return absl::OkStatus();
  const ModelConfig& config = model.config();
  std::string smooth;
  if (!AttentionHasGates(config)) {
    absl::StrAppend(&smooth, "attention_activation ", std::string(Name(config.attention_activation)));
  }
  if (!FeedForwardHasGates(config)) {
    absl::StrAppend(&smooth, smooth.empty() ? "" : " and ", "hidden_act ",
                    std::string(Name(config.hidden_act)));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("model ", model.name(),
                   ": expected a model of class EXACT or REGIONAL, whose gates are all that bends it, found "
                   "class SMOOTH, without gates to freeze at ",
                   smooth));
}

absl::Status CheckSameTokens(size_t input, size_t gates_of, const std::string& side) {
  if (input == gates_of) return absl::OkStatus();
  return InvalidField(absl::StrCat("gates_of.", side),
                      absl::StrCat("as many tokens as input.", side, ", ", input), absl::StrCat(gates_of));
}

absl::Status CheckGiven(const ModelConfig& config, const CheckedInput& input, StackPieces& given) {
  const size_t sources = input.source.length(), targets = input.target.length();
  if (sources != 0) {
    SPLINESERVE_RETURN_IF_ERROR(
        CheckGivenPieces(PieceLayout(config, Stack::kEncoder), sources, 0, "given.encoder", given.encoder));
  } else if (!given.encoder.empty()) {
    return InvalidField("given.encoder", "none, for no encoder runs", absl::StrCat(given.encoder.size()));
  }
  if (targets != 0) {
    SPLINESERVE_RETURN_IF_ERROR(CheckGivenPieces(PieceLayout(config, Stack::kDecoder), targets, sources,
                                                 "given.decoder", given.decoder));
  } else if (!given.decoder.empty()) {
    return InvalidField("given.decoder", "none, for no decoder runs", absl::StrCat(given.decoder.size()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CheckedOnPiece> CheckEvaluateOnPiece(const LoadedModel& model, EvaluateOnPieceRequest request,
                                                    const EngineOptions& limits) {
  SPLINESERVE_RETURN_IF_ERROR(CheckClass(model));
  const ModelConfig& config = model.config();
  CheckedOnPiece checked;
  SPLINESERVE_ASSIGN_OR_RETURN(checked.input,
                               CheckModelInput(model, std::move(request.input), "input", limits));
  size_t tokens = checked.input.tokens();
  if (ModelInput* const gates_of = std::get_if<ModelInput>(&request.gates)) {
    SPLINESERVE_ASSIGN_OR_RETURN(checked.gates_of,
                                 CheckModelInput(model, std::move(*gates_of), "gates_of", limits));
    SPLINESERVE_RETURN_IF_ERROR(
        CheckSameTokens(checked.input.source.length(), checked.gates_of->source.length(), "source"));
    SPLINESERVE_RETURN_IF_ERROR(
        CheckSameTokens(checked.input.target.length(), checked.gates_of->target.length(), "target"));
    tokens *= 2;
  }
  if (tokens > limits.max_tokens_per_request) {
    return InvalidField(
        "input",
        absl::StrCat("at most ", limits.max_tokens_per_request, " tokens in all, the server's limit"),
        absl::StrCat(tokens));
  }
  if (StackPieces* const given = std::get_if<StackPieces>(&request.gates)) {
    SPLINESERVE_RETURN_IF_ERROR(CheckGiven(config, checked.input, *given));
    checked.given = std::move(*given);
  }
  SPLINESERVE_ASSIGN_OR_RETURN(checked.head,
                               WantsHead(request.output, HasHead(config, checked.input),
                                         config.head.kind == HeadKind::kNone
                                             ? "the model has no head"
                                             : "the head of an encoder_decoder belongs to its decoder"));
  SPLINESERVE_RETURN_IF_ERROR(CheckPieces(
      request.pieces, checked.input.decodes() ? config.num_decoder_layers : config.num_encoder_layers));
  checked.pieces = std::move(request.pieces);
  checked.verify = request.verify;
  // The frozen piece, the input's own and what the frozen evaluation records; an answer with BITS once more.
  const SingleEvaluationBytes bytes = BytesOf(config, checked.input);
  checked.bytes = bytes.rows + bytes.input +
                  (checked.gates_of ? BytesOf(config, *checked.gates_of).input : 0) +
                  (3 + (checked.pieces.detail == PieceDetail::kBits ? 2 : 0)) * bytes.pieces;
  return checked;
}

EvaluationOnPiece::EvaluationOnPiece(std::shared_ptr<const LoadedModel> model, CheckedOnPiece work,
                                     const KernelSet& kernels)
    : model_(std::move(model)),
      work_(std::move(work)),
      kernels_(kernels),
      has_piece_(work_.given.has_value()) {}

absl::StatusOr<SingleEvaluation> EvaluationOnPiece::Evaluate(const CheckedInput& input,
                                                             const std::string& where,
                                                             const StackPieces* frozen,
                                                             absl::FunctionRef<absl::Status()> check) {
  result_.tokens += input.tokens();
  return EvaluateAlone(*model_, input, work_.head, frozen, where, kernels_, check);
}

absl::StatusOr<bool> EvaluationOnPiece::RunTurn(absl::FunctionRef<absl::Status()> check) {
  if (!has_piece_) {
    const bool other = work_.gates_of.has_value();
    SPLINESERVE_ASSIGN_OR_RETURN(SingleEvaluation evaluation,
                                 Evaluate(other ? *work_.gates_of : work_.input, other ? "gates_of" : "input",
                                          /*frozen=*/nullptr, check));
    piece_ = other ? std::move(evaluation.pieces) : evaluation.pieces;
    if (!other) own_ = std::move(evaluation);
    has_piece_ = true;
    return false;
  }
  if (!is_frozen_) {
    SPLINESERVE_ASSIGN_OR_RETURN(SingleEvaluation evaluation,
                                 Evaluate(work_.input, "input", &piece(), check));
    Describe(std::move(evaluation));
    is_frozen_ = true;
    if (!work_.verify) return true;
    if (!own_.has_value()) return false;
  } else {
    SPLINESERVE_ASSIGN_OR_RETURN(own_, Evaluate(work_.input, "input", /*frozen=*/nullptr, check));
  }
  Verify();
  return true;
}

void EvaluationOnPiece::Describe(SingleEvaluation frozen) {
  const std::vector<TokenPiece>& last = work_.input.decodes() ? frozen.pieces.decoder : frozen.pieces.encoder;
  result_.result.output = std::move(frozen.output);
  if (work_.pieces.detail != PieceDetail::kNone) {
    for (const TokenPiece& token : last) result_.result.pieces.push_back(Described(token, work_.pieces));
    result_.result.sequence_id = SequenceId(last);
  }
  result_.encoder_piece = SequenceId(piece().encoder);
  result_.decoder_piece = SequenceId(piece().decoder);
  if (work_.input.source.length() != 0) {
    result_.disagreement.push_back(
        {Stack::kEncoder, DistanceBetween(piece().encoder, frozen.pieces.encoder)});
  }
  if (work_.input.decodes()) {
    result_.disagreement.push_back(
        {Stack::kDecoder, DistanceBetween(piece().decoder, frozen.pieces.decoder)});
  }
}

void EvaluationOnPiece::Verify() {
  Verification verification;
  verification.gates = DistanceBetween(piece().encoder, own_->pieces.encoder).total;
  verification.gates += DistanceBetween(piece().decoder, own_->pieces.decoder).total;
  const Matrix &on_piece = result_.result.output, &own = own_->output;
  for (size_t i = 0; i < own.values.size(); ++i) {
    if (on_piece.values[i] == own.values[i]) continue;  // both are finite
    if (verification.differing++ == 0) {
      verification.row = i / own.cols;
      verification.col = i % own.cols;
      verification.on_piece = on_piece.values[i];
      verification.own = own.values[i];
    }
    verification.largest =
        std::max(verification.largest, std::abs(double{on_piece.values[i]} - double{own.values[i]}));
  }
  verification.equal = verification.differing == 0;
  result_.verification = verification;
}

}  // namespace splineserve
