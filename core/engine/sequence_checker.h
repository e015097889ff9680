// Checks of the parts that requests are made of: one sequence, what to say about its pieces. Every failure is
// INVALID_ARGUMENT: where (the field's path), what was expected, what was found.
#ifndef SPLINESERVE_CORE_ENGINE_SEQUENCE_CHECKER_H_
#define SPLINESERVE_CORE_ENGINE_SEQUENCE_CHECKER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/engine.h"
#include "core/engine/loaded_model.h"
#include "core/engine/request.h"
#include "core/format/model_config.h"
#include "core/format/vocabulary.h"
#include "core/model/evaluation.h"

namespace splineserve {

// "where: expected ..., found ...".
absl::Status InvalidField(const std::string& where, const std::string& expected, const std::string& found);

// A sequence that the model can take: text has become ids, ids are in the vocabulary, vectors are finite.
struct CheckedSequence {
  std::vector<int32_t> ids;  // token inputs
  Matrix vectors;            // vector inputs
  size_t length() const { return ids.empty() ? vectors.rows : ids.size(); }
  SequenceInput input() const;  // a view of this
  size_t bytes() const { return ids.size() * sizeof(int32_t) + vectors.values.size() * sizeof(float); }
};

// One input stream of a model: the encoder's or the decoder's.
struct InputSide {
  const InputConfig& input;
  const std::optional<Vocabulary>& vocabulary;
};
InputSide EncoderSide(const LoadedModel& model);
InputSide DecoderSide(const LoadedModel& model);

// Holds references: must not outlive the model and the limits.
class SequenceChecker {
 public:
  SequenceChecker(const LoadedModel& model, const EngineOptions& limits) : model_(model), limits_(limits) {}

  absl::StatusOr<CheckedSequence> Check(Sequence sequence, InputSide side, const std::string& where) const;
  absl::Status CheckLength(size_t length, const std::string& where) const;
  static absl::Status CheckIds(const std::vector<int32_t>& ids, size_t vocabulary_size,
                               const std::string& where);

 private:
  const LoadedModel& model_;
  const EngineOptions& limits_;
};

// The request's field `pieces`, for a stack of so many layers.
absl::Status CheckPieces(const PieceOptions& pieces, size_t layers);

// Whether the request's field `output` asks for the head; refused where there is none, with `without` as the
// reason.
absl::StatusOr<bool> WantsHead(OutputKind output, bool has_head, const std::string& without);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_SEQUENCE_CHECKER_H_
