#include "core/engine/piece_comparison.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve {
namespace {

using Stack = PieceLayout::Stack;

absl::Status CheckClass(const LoadedModel& model) {
  const ModelConfig& config = model.config();
  if (AttentionHasGates(config) || FeedForwardHasGates(config)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "model ", model.name(), ": expected a model with gates (relu or relu2), found class SMOOTH with none: ",
      "attention_activation ", std::string(Name(config.attention_activation)), ", hidden_act ",
      std::string(Name(config.hidden_act))));
}

const std::vector<TokenPiece>& Of(const StackPieces& pieces, Stack stack) {
  return stack == Stack::kEncoder ? pieces.encoder : pieces.decoder;
}

}  // namespace

absl::StatusOr<CheckedComparison> CheckCompare(const LoadedModel& model, CompareRequest request,
                                               const EngineOptions& limits) {
  SPLINESERVE_RETURN_IF_ERROR(CheckClass(model));
  const size_t count = request.inputs.size();
  if (count < 2 || count > kMaxComparedInputs) {
    return InvalidField("inputs", absl::StrCat("2 to ", kMaxComparedInputs), absl::StrCat(count));
  }
  CheckedComparison checked;
  size_t tokens = 0, rows = 0;
  for (size_t i = 0; i < count; ++i) {
    const std::string where = absl::StrCat("inputs[", i, "]");
    SPLINESERVE_ASSIGN_OR_RETURN(CheckedInput input,
                                 CheckModelInput(model, std::move(request.inputs[i]), where, limits));
    tokens += input.tokens();
    if (tokens > limits.max_tokens_per_request) {
      return InvalidField(
          "inputs",
          absl::StrCat("at most ", limits.max_tokens_per_request, " tokens in all, the server's limit"),
          absl::StrCat("more by ", where));
    }
    if (i > 0 && input.decodes() != checked.inputs[0].decodes()) {
      return InvalidField(absl::StrCat(where, ".target"),
                          input.decodes() ? "nothing, as in inputs[0]" : "a sequence, as in inputs[0]",
                          input.decodes() ? "a sequence" : "nothing");
    }
    const SingleEvaluationBytes bytes = BytesOf(model.config(), input);
    rows = std::max(rows, bytes.rows);
    checked.bytes += bytes.input + bytes.pieces;
    checked.inputs.push_back(std::move(input));
  }
  // Once in the result, once in the message.
  const size_t pairs = count <= kMaxInputsInAllPairs ? count * (count - 1) / 2 : count - 1;
  const size_t groups = (model.config().num_encoder_layers + model.config().num_decoder_layers) *
                        (2 * model.config().num_attention_heads + 1);
  checked.bytes += rows + 4 * sizeof(HammingDistance) * count * count +
                   pairs * (2 * sizeof(GroupDistance) * groups + 2 * sizeof(HammingDistance) * tokens);
  return checked;
}

absl::StatusOr<bool> PieceComparison::RunTurn(absl::FunctionRef<absl::Status()> check) {
  SPLINESERVE_RETURN_IF_ERROR(check());
  if (const size_t i = pieces_.size(); i < work_.inputs.size()) {
    const CheckedInput& input = work_.inputs[i];
    result_.tokens += input.tokens();
    SPLINESERVE_ASSIGN_OR_RETURN(SingleEvaluation evaluation,
                                 EvaluateAlone(*model_, input, /*head=*/false, /*frozen=*/nullptr,
                                               absl::StrCat("inputs[", i, "]"), kernels_, check));
    pieces_.push_back(std::move(evaluation.pieces));
    return false;
  }
  if (next_row_ == 0) Begin();
  CompareRow(next_row_++);
  return next_row_ == work_.inputs.size();
}

// Everything about single inputs.
void PieceComparison::Begin() {
  const size_t count = work_.inputs.size();
  for (const Stack stack : {Stack::kEncoder, Stack::kDecoder}) {
    if (Of(pieces_[0], stack).empty()) continue;
    StackComparison comparison;
    comparison.stack = stack;
    comparison.distances.resize(count * count);
    comparison.same_tokens.resize(count * count);
    for (size_t i = 0; i < count; ++i) {
      comparison.tokens.push_back(Of(pieces_[i], stack).size());
      comparison.sequence_ids.push_back(SequenceId(Of(pieces_[i], stack)));
      comparison.same_as.push_back(i);
    }
    result_.stacks.push_back(std::move(comparison));
  }
}

// Input `first` with itself and with those after it.
void PieceComparison::CompareRow(size_t first) {
  const size_t count = work_.inputs.size();
  const bool all_pairs = count <= kMaxInputsInAllPairs;
  for (StackComparison& stack : result_.stacks) {
    for (size_t second = first; second < count; ++second) {
      PieceDistance distance =
          DistanceBetween(Of(pieces_[first], stack.stack), Of(pieces_[second], stack.stack));
      for (const size_t place : {first * count + second, second * count + first}) {
        stack.distances[place] = distance.total;
        stack.same_tokens[place] = distance.same_tokens;
      }
      if (second == first) continue;
      // No gate unmatched, but other numbers of tokens: only where tokens have no gates.
      const bool same = distance.total.same() && stack.tokens[first] == stack.tokens[second];
      if (same && stack.same_as[second] == second) stack.same_as[second] = first;
      if (all_pairs || first == 0) stack.pairs.push_back({first, second, std::move(distance)});
    }
  }
}

}  // namespace splineserve
