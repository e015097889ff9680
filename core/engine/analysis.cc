#include "core/engine/analysis.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/engine/chunk.h"
#include "core/model/head.h"

namespace splineserve {
namespace {

std::string Word(std::string_view word) { return std::string(word); }

// What makes the model's map another than polynomial on its pieces.
std::string Reason(const ModelConfig& config) {
  if (!AttentionHasGates(config))
    return absl::StrCat("attention_activation ", Word(Name(config.attention_activation)));
  if (!FeedForwardHasGates(config)) return absl::StrCat("hidden_act ", Word(Name(config.hidden_act)));
  return absl::StrCat("norm ", Word(Name(config.norm)));
}

}  // namespace

absl::Status RequireExact(const LoadedModel& model, std::string_view call) {
  if (model.spline_class() == SplineClass::kExact) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      Word(call), ": expected a model of class EXACT, which is one polynomial on each piece, found ",
      model.name(), " of class ", Word(Name(model.spline_class())), " because of its ",
      Reason(model.config())));
}

absl::StatusOr<OutputChoice> CheckOutputs(const LoadedModel& model, const CheckedInput& input,
                                          const OutputSelection& selection) {
  const ModelConfig& config = model.config();
  const bool decoder = input.decodes();
  const bool has_head = HasHead(config, input);
  if (selection.output == OutputKind::kHead && !has_head) {
    return InvalidField("outputs.output", "HIDDEN, for there is no head here", "HEAD");
  }
  OutputChoice choice;
  choice.head = has_head && selection.output != OutputKind::kHidden;
  const size_t tokens = decoder ? input.target.length() : input.source.length();
  const size_t rows = choice.head ? HeadRows(config, tokens) : tokens;
  const size_t cols = choice.head ? config.head.size : config.hidden_size;
  for (size_t i = 0; i < selection.indices.size(); ++i) {
    const OutputIndex& index = selection.indices[i];
    if (index.row >= rows || index.col >= cols) {
      return InvalidField(absl::StrCat("outputs.indices[", i, "]"),
                          absl::StrCat("a row in [0, ", rows, ") and a col in [0, ", cols, ")"),
                          absl::StrCat("row ", index.row, ", col ", index.col));
    }
  }
  choice.indices = selection.indices;
  const size_t count = choice.indices.empty() ? rows * cols : choice.indices.size();
  if (count > kMaxOutputs) {
    return InvalidField("outputs.indices", absl::StrCat("at most ", kMaxOutputs, " outputs"),
                        choice.indices.empty() ? absl::StrCat("none, which means all ", rows, " * ", cols)
                                               : absl::StrCat(count));
  }
  if (choice.indices.empty()) {
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < cols; ++c) choice.indices.push_back({r, c});
    }
  }
  return choice;
}

absl::Status CheckAnalysisSize(const LoadedModel& model, const CheckedInput& input, size_t points,
                               const std::string& where) {
  const size_t gates = GateLayout(model.config(), {input.source.length(), input.target.length()}).gates();
  if (gates > kMaxGateNumbers / points) {
    return InvalidField(
        where, absl::StrCat("so few tokens that there are at most ", kMaxGateNumbers / points, " gates"),
        absl::StrCat(gates));
  }
  const double work =
      WorkOf(model.config(), input.source.length(), input.target.length(), true).multiply_adds *
      static_cast<double>(points);
  if (work <= kMaxAnalysisWork) return absl::OkStatus();
  return InvalidField(where,
                      absl::StrFormat("so few tokens that %d evaluations take at most %.0f multiply-adds",
                                      points, kMaxAnalysisWork),
                      absl::StrFormat("about %.3g", work));
}

size_t AnalysisBytes(const ModelConfig& config, const CheckedInput& input, size_t points) {
  const size_t gates = GateLayout(config, {input.source.length(), input.target.length()}).gates();
  const size_t row = 6 * config.hidden_size + 3 * config.attention_size() + 2 * config.intermediate_size;
  // Arguments, errors, series and what is made of them; rows at two stages with errors.
  return sizeof(double) * points * (5 * gates + 4 * input.tokens() * row);
}

ContinuousInput ToContinuous(const ModelWeights64& weights, const CheckedInput& input) {
  ContinuousInput rows;
  if (input.source.length() != 0) {
    rows.source = ContinuousRows(*weights.encoder, weights.config.input, input.source.input());
  }
  if (input.target.length() != 0) {
    rows.target = ContinuousRows(*weights.decoder, weights.config.decoder_input(), input.target.input());
  }
  return rows;
}

}  // namespace splineserve
