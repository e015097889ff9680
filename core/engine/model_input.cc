#include "core/engine/model_input.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve {
namespace {

bool IsSet(const Sequence& sequence) { return !std::holds_alternative<std::monostate>(sequence); }

// `embeddings`: what vectors are for a model over tokens.
absl::StatusOr<CheckedSequence> CheckForm(const SequenceChecker& checker, Sequence sequence, InputSide side,
                                          const std::string& where, const InputConfig& embeddings) {
  const bool embedded = side.input.kind == InputKind::kTokens && std::holds_alternative<Matrix>(sequence);
  if (embedded) return checker.Check(std::move(sequence), {embeddings, side.vocabulary}, where);
  return checker.Check(std::move(sequence), side, where);
}

}  // namespace

absl::StatusOr<CheckedInput> CheckModelInput(const LoadedModel& model, ModelInput input,
                                             const std::string& where, const EngineOptions& limits) {
  const ModelConfig& config = model.config();
  const SequenceChecker checker(model, limits);
  const std::string source = absl::StrCat(where, ".source"), target = absl::StrCat(where, ".target");
  const InputConfig embeddings{InputKind::kVectors, config.hidden_size, 1};
  CheckedInput checked;
  if (config.has_encoder()) {
    SPLINESERVE_ASSIGN_OR_RETURN(
        checked.source, CheckForm(checker, std::move(input.source), EncoderSide(model), source, embeddings));
  } else if (IsSet(input.source)) {
    return InvalidField(source, "nothing, for the model is a decoder without encoder (use target)",
                        "a sequence");
  }
  // An encoder_decoder without a target stands for its encoder alone.
  if (config.has_decoder() && (IsSet(input.target) || !config.has_encoder())) {
    SPLINESERVE_ASSIGN_OR_RETURN(
        checked.target, CheckForm(checker, std::move(input.target), DecoderSide(model), target, embeddings));
  } else if (IsSet(input.target)) {
    return InvalidField(target, "nothing, for the model is an encoder (use source)", "a sequence");
  }
  return checked;
}

bool HasHead(const ModelConfig& config, const CheckedInput& input) {
  return config.head.kind == HeadKind::kLinear && config.has_decoder() == input.decodes();
}

}  // namespace splineserve
