#include "core/engine/sequence_checker.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve {
namespace {

std::string Count(size_t n) { return absl::StrCat(n, " tokens"); }

std::string Form(const Sequence& sequence) {
  if (std::holds_alternative<Text>(sequence)) return "text";
  if (std::holds_alternative<TokenIds>(sequence)) return "tokens";
  if (std::holds_alternative<Matrix>(sequence)) return "vectors";
  return "nothing";
}

absl::StatusOr<std::vector<int32_t>> Ids(Sequence sequence, InputSide side, const std::string& where) {
  if (TokenIds* const tokens = std::get_if<TokenIds>(&sequence)) return std::move(tokens->ids);
  if (const Text* const text = std::get_if<Text>(&sequence)) {
    if (!side.vocabulary.has_value()) {
      return InvalidField(absl::StrCat(where, ".text"), "tokens.ids, for the model has no vocabulary",
                          "text");
    }
    absl::StatusOr<std::vector<int32_t>> ids = side.vocabulary->Encode(text->text);
    if (!ids.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ".text: ", ids.status().message()));
    }
    return ids;
  }
  return InvalidField(where, side.vocabulary.has_value() ? "text or tokens" : "tokens", Form(sequence));
}

absl::Status CheckVectors(const Matrix& vectors, size_t size, const std::string& where) {
  if (vectors.cols != size && vectors.rows != 0) {
    return InvalidField(absl::StrCat(where, ".vectors.cols"), absl::StrCat(size, ", the model's input size"),
                        absl::StrCat(vectors.cols));
  }
  // By division: rows * cols may overflow.
  if (vectors.rows != 0 &&
      (vectors.values.size() % vectors.rows != 0 || vectors.values.size() / vectors.rows != size)) {
    return InvalidField(absl::StrCat(where, ".vectors.values"),
                        absl::StrCat("rows x cols = ", vectors.rows, " x ", size),
                        absl::StrCat(vectors.values.size(), " numbers"));
  }
  for (size_t i = 0; i < vectors.values.size(); ++i) {
    if (!std::isfinite(vectors.values[i])) {
      return InvalidField(absl::StrCat(where, ".vectors.values[", i, "]"), "a finite number",
                          absl::StrCat(vectors.values[i]));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status InvalidField(const std::string& where, const std::string& expected, const std::string& found) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": expected ", expected, ", found ", found));
}

SequenceInput CheckedSequence::input() const {
  if (!ids.empty()) return {ids, {}};
  return {{}, {vectors.values.data(), vectors.rows, vectors.cols}};
}

InputSide EncoderSide(const LoadedModel& model) { return {model.config().input, model.vocabulary()}; }
InputSide DecoderSide(const LoadedModel& model) {
  return {model.config().decoder_input(), model.decoder_vocabulary()};
}

absl::StatusOr<CheckedSequence> SequenceChecker::Check(Sequence sequence, InputSide side,
                                                       const std::string& where) const {
  CheckedSequence checked;
  if (side.input.kind == InputKind::kVectors) {
    Matrix* const vectors = std::get_if<Matrix>(&sequence);
    if (vectors == nullptr) {
      return InvalidField(where, absl::StrCat("vectors of ", side.input.size, " numbers, as the model takes"),
                          Form(sequence));
    }
    SPLINESERVE_RETURN_IF_ERROR(CheckVectors(*vectors, side.input.size, where));
    checked.vectors = std::move(*vectors);
  } else {
    SPLINESERVE_ASSIGN_OR_RETURN(checked.ids, Ids(std::move(sequence), side, where));
    SPLINESERVE_RETURN_IF_ERROR(CheckIds(checked.ids, side.input.size, absl::StrCat(where, ".tokens.ids")));
  }
  SPLINESERVE_RETURN_IF_ERROR(CheckLength(checked.length(), where));
  return checked;
}

absl::Status SequenceChecker::CheckLength(size_t length, const std::string& where) const {
  if (length == 0) return InvalidField(where, "at least one token", "an empty sequence");
  const size_t positions = model_.config().max_positions;
  if (positions != 0 && length > positions) {
    return InvalidField(where, absl::StrCat("at most ", positions, " tokens, the model's max_positions"),
                        Count(length));
  }
  if (length > limits_.max_tokens_per_sequence) {
    return InvalidField(
        where, absl::StrCat("at most ", limits_.max_tokens_per_sequence, " tokens, the server's limit"),
        Count(length));
  }
  return absl::OkStatus();
}

absl::Status SequenceChecker::CheckIds(const std::vector<int32_t>& ids, size_t vocabulary_size,
                                       const std::string& where) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || static_cast<size_t>(ids[i]) >= vocabulary_size) {
      return InvalidField(absl::StrCat(where, "[", i, "]"),
                          absl::StrCat("an id in [0, ", vocabulary_size, ")"), absl::StrCat(ids[i]));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPieces(const PieceOptions& pieces, size_t layers) {
  if (pieces.margins && pieces.detail == PieceDetail::kNone) {
    return InvalidField("pieces.margins", "pieces.detail ID, COUNTS or BITS with margins", "NONE");
  }
  for (size_t i = 0; i < pieces.layers.size(); ++i) {
    if (pieces.layers[i] >= layers) {
      return InvalidField(absl::StrCat("pieces.layers[", i, "]"),
                          absl::StrCat("a layer in [0, ", layers, ")"), absl::StrCat(pieces.layers[i]));
    }
  }
  // Lists longer than what they choose from name something twice, and are copied for every sequence.
  if (pieces.layers.size() > layers) {
    return InvalidField("pieces.layers", absl::StrCat("at most ", layers, ", the layers of the stack"),
                        absl::StrCat(pieces.layers.size()));
  }
  constexpr size_t kSites = 3;
  if (pieces.sites.size() > kSites) {
    return InvalidField("pieces.sites", absl::StrCat("at most ", kSites), absl::StrCat(pieces.sites.size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> WantsHead(OutputKind output, bool has_head, const std::string& without) {
  switch (output) {
    case OutputKind::kDefault:
      return has_head;
    case OutputKind::kHidden:
      return false;
    case OutputKind::kHead:
      if (!has_head) return InvalidField("output", absl::StrCat("HIDDEN, for ", without), "HEAD");
      return true;
  }
  return false;
}

}  // namespace splineserve
