// What is asked of the engine and what it answers, in plain C++. The server converts these from and to
// Protobuf; field names agree with the proto's, because error messages name them ("inputs[2].tokens.ids[5]").
#ifndef SPLINESERVE_CORE_ENGINE_REQUEST_H_
#define SPLINESERVE_CORE_ENGINE_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/spline/gate_layout.h"
#include "core/spline/piece.h"

namespace splineserve {

struct Matrix {  // row-major, values.size() == rows * cols
  size_t rows = 0;
  size_t cols = 0;
  std::vector<float> values;
};

struct Text {
  std::string text;
};
struct TokenIds {
  std::vector<int32_t> ids;
};
// monostate: the field was not set; refused with a message that says which forms the model takes.
using Sequence = std::variant<std::monostate, Text, TokenIds, Matrix>;

enum class OutputKind {
  kDefault,
  kHidden,
  kHead
};  // kDefault: the head where the model has one, else hidden

struct EncodeRequest {
  std::vector<Sequence> inputs;  // at least one; results keep their order
  OutputKind output = OutputKind::kDefault;
  PieceOptions pieces;
  std::optional<size_t> float64_gates;  // v1.Float64Options.max_gates; answered by MeasureFloat64
  bool smoothing_error = false;  // answered by MeasureSmoothing (smoothing_report.h), not by the engine
};

struct DecodeRequest {
  std::vector<Sequence> sources;  // encoder_decoder: one per target; decoder: empty
  std::vector<Sequence> targets;  // at least one; every position is evaluated (teacher forcing)
  OutputKind output = OutputKind::kDefault;
  PieceOptions pieces;
  std::optional<size_t> float64_gates;  // as EncodeRequest's
  bool smoothing_error = false;         // as EncodeRequest's
};

struct Timing {
  int64_t queue_us = 0;      // from admission to the start of the work
  int64_t compute_us = 0;    // from the start of the work to its end, with the turns of others in between
  int64_t batch_tokens = 0;  // tokens in the batch (of all requests) that this one ran in
};

// Whoever holds a copy keeps the request's memory counted in the engine's byte budget.
using MemoryCharge = std::shared_ptr<const void>;

// How far a smoothed model's output is from its spline's at one sequence (smoothing_bound.h).
struct SmoothingError {
  // For each row of the output, the largest over its columns: |smoothed - spline|; its bound
  // with ln 2 / beta a gate; its bound with each gate by its own argument.
  std::vector<double> measured, proven, proven_at_gates;
  double largest_output = 0;  // max |spline| over all rows, for comparison
};

// A gate that may be on the other side of its boundary in exact arithmetic.
struct UncertainGate {
  GateId gate;
  double argument = 0;  // by float64
  double bound = 0;     // of |float32 argument - exact argument|
};

// v1.Float64Result: one sequence in float64 (float64_report.h).
struct Float64Result {
  size_t rows = 0, cols = 0;
  std::vector<double> output;  // [rows, cols]
  bool bounded = false;        // EXACT models; else what follows is empty
  double max_error_bound = 0;
  double max_difference = 0;  // set where the float32 output is at hand
  uint64_t uncertain_gates = 0;
  uint64_t gates = 0;
  std::vector<UncertainGate> uncertain;
};

struct SequenceResult {
  Matrix output;                   // [tokens, hidden_size] or head rows ([1, size] where the head pools)
  std::vector<TokenPiece> pieces;  // one per token unless detail is kNone
  std::string sequence_id;         // 16 bytes, or empty
  std::optional<SmoothingError> smoothing_error;
  std::optional<Float64Result> float64;
};

// Of Encode and Decode.
struct EvaluationResult {
  std::vector<SequenceResult> results;
  Timing timing;
  MemoryCharge charge;  // to be kept as long as the results, or what was made of them, is in memory
};

enum class GenerationStrategy { kGreedy, kBeam, kSample };

struct GenerateRequest {
  Sequence source;  // encoder_decoder: required; decoder: unset
  Sequence prompt;  // first decoder tokens; unset for the model's bos_token_id. An explicit prompt is taken
                    // as it is: ids are not prefixed with bos; text is (where the model has a bos_token_id)
  GenerationStrategy strategy = GenerationStrategy::kGreedy;
  size_t max_new_tokens = 0;  // 0: up to the model's and the server's limit
  // End a sequence besides eos_token_id; like eos they are not part of the output.
  std::vector<int32_t> stop_ids;
  size_t beam_width = 4;  // kBeam: 1..limit
  // kBeam: hypotheses rank by sum of log-probabilities / length^length_penalty, 0..10; `length` counts the
  // new tokens, the ending one too.
  float length_penalty = 1.0f;
  size_t num_hypotheses = 1;  // kBeam: how many are returned, <= beam_width
  float temperature = 1.0f;   // kSample: > 0
  size_t top_k = 0;           // kSample: 0 for all
  uint64_t seed = 0;          // kSample: same seed, same model, same request: same tokens
  PieceOptions pieces;        // of the decoder positions
};

enum class FinishReason { kEndOfSequence, kStopId, kLength };

// A token as soon as it is certain: at once for greedy and sampling, at the end for beam search.
struct GeneratedToken {
  int32_t id = 0;
  std::string text;           // its vocabulary entry, if the model has a vocabulary
  float log_probability = 0;  // natural logarithm, under the model's softmax at temperature 1
  // The piece of the decoder position whose output chose this token, i.e. of the token before it. In token
  // events of greedy search and sampling, in hypotheses of beam search.
  std::optional<TokenPiece> piece;
};

struct Hypothesis {
  // Without eos and stop ids. Their pieces are here for beam search only; else they came with the token
  // events.
  std::vector<GeneratedToken> tokens;
  std::string text;  // tokens joined by the vocabulary, if the model has one
  float score =
      0;  // sum of log-probabilities (with the ending token's), divided as length_penalty asks for beams
  FinishReason finish_reason = FinishReason::kLength;
  // The piece of the position whose output chose the ending token; absent where the length ended it.
  std::optional<TokenPiece> end_piece;
  std::string
      sequence_id;  // over all evaluated decoder positions: prompt and tokens (but a last one never fed)
};

// One event of a generation's stream. A stream is: zero or more token events, then exactly one final event.
struct GenerateEvent {
  // First event only: pieces of the prompt's positions but the last (whose piece comes with the first token).
  std::vector<TokenPiece> prompt_pieces;
  std::optional<GeneratedToken> token;  // a token event
  std::vector<Hypothesis> hypotheses;   // final event: best first; greedy and sampling have one
  bool final = false;
  Timing timing;        // final event; batch_tokens: rows evaluated for this request
  MemoryCharge charge;  // the same in every event of a stream; to be kept as long as any of them
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_REQUEST_H_
