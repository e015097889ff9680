// Requests checked completely before any work: lengths, ids, sizes, finite numbers, options. What a failure
// says: where (the field's path in the request), what was expected, what was found.
#ifndef SPLINESERVE_CORE_ENGINE_VALIDATION_H_
#define SPLINESERVE_CORE_ENGINE_VALIDATION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/engine/chunk.h"
#include "core/engine/engine.h"
#include "core/engine/loaded_model.h"
#include "core/engine/request.h"
#include "core/engine/sequence_checker.h"

namespace splineserve {

// Encode and Decode, checked.
struct CheckedEvaluation {
  std::vector<CheckedSequence>
      sources;  // of the encoder: inputs of Encode, sources of Decode; empty for a decoder
  std::vector<CheckedSequence> targets;  // of the decoder; empty for Encode
  bool head = false;                     // apply the head to the final rows
  PieceOptions pieces;
  Work total;        // of all sequences
  size_t bytes = 0;  // estimate of inputs, outputs and pieces: what admission charges
};

struct CheckedGeneration {
  CheckedSequence source;       // encoder_decoder only
  std::vector<int32_t> prompt;  // at least one id
  GenerateRequest options;      // max_new_tokens resolved to >= 1; source and prompt moved from
  size_t beams = 1;             // sequences that advance together: beam_width for beam search, else 1
  Work first_step;              // source and prompt
  size_t bytes = 0;
};

// The longest sequence that is taken: the model's max_positions or the server's limit.
size_t MaxSequenceTokens(const ModelConfig& config, const EngineOptions& limits);

// INVALID_ARGUMENT as described above, also where the model cannot do what is asked: Encode on a decoder,
// Decode or Generate on an encoder, Generate without a fitting head.
absl::StatusOr<CheckedEvaluation> CheckEncode(const LoadedModel& model, EncodeRequest request,
                                              const EngineOptions& limits);
absl::StatusOr<CheckedEvaluation> CheckDecode(const LoadedModel& model, DecodeRequest request,
                                              const EngineOptions& limits);
absl::StatusOr<CheckedGeneration> CheckGenerate(const LoadedModel& model, GenerateRequest request,
                                                const EngineOptions& limits);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_VALIDATION_H_
