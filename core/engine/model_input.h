// One input of an analysis: all that one evaluation of a model takes.
#ifndef SPLINESERVE_CORE_ENGINE_MODEL_INPUT_H_
#define SPLINESERVE_CORE_ENGINE_MODEL_INPUT_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "core/engine/engine.h"
#include "core/engine/loaded_model.h"
#include "core/engine/request.h"
#include "core/engine/sequence_checker.h"

namespace splineserve {

// A sequence for each stack that runs; unset where none does. An encoder_decoder without target stands for
// its encoder alone.
struct ModelInput {
  Sequence source;  // of an encoder or an encoder_decoder
  Sequence target;  // of a decoder or an encoder_decoder, teacher-forced
};

struct CheckedInput {
  CheckedSequence source, target;  // length 0: the stack does not run
  size_t tokens() const { return source.length() + target.length(); }
  bool decodes() const { return target.length() != 0; }
};

// INVALID_ARGUMENT names the field, below `where` ("input"): a sequence that the architecture asks for and
// that is not there, or the other way round, and all that SequenceChecker says of one. A model over tokens
// takes what Encode and Decode do, and vectors of hidden_size numbers: embeddings times the scale.
absl::StatusOr<CheckedInput> CheckModelInput(const LoadedModel& model, ModelInput input,
                                             const std::string& where, const EngineOptions& limits);

// Whether the stack that `input` ends in has a head.
bool HasHead(const ModelConfig& config, const CheckedInput& input);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_MODEL_INPUT_H_
