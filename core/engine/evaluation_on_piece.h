// EvaluateOnPiece: a model with its gates frozen to a piece that the input need not lie on.
//
// With its gates frozen a model of class EXACT is one polynomial, that of the piece, wherever the input is:
// the piece's own values on the piece, their extrapolation beyond it. A model of class REGIONAL is frozen
// likewise, but its norms keep it from being a polynomial. The arithmetic is that of Encode and Decode, in
// the model's precision: frozen at its own piece an input's output equals theirs bit for bit (-0 equals +0).
#ifndef SPLINESERVE_CORE_ENGINE_EVALUATION_ON_PIECE_H_
#define SPLINESERVE_CORE_ENGINE_EVALUATION_ON_PIECE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/model_input.h"
#include "core/engine/single_evaluation.h"
#include "core/kernels/kernel_set.h"
#include "core/spline/piece_distance.h"

namespace splineserve {

struct EvaluateOnPieceRequest {
  ModelInput input;  // whose values are taken
  // Whose gates: monostate for the input's own, another input with the same numbers of tokens, or pieces with
  // the bits of all groups.
  std::variant<std::monostate, ModelInput, StackPieces> gates;
  OutputKind output = OutputKind::kDefault;
  bool verify = false;  // also evaluate the input as Encode or Decode does, and compare
  PieceOptions pieces;  // what to say about the signs of the frozen evaluation's own arguments, in the last
                        // stack
};

struct CheckedOnPiece {
  CheckedInput input;
  std::optional<CheckedInput> gates_of;
  std::optional<StackPieces> given;  // checked, with ids
  bool head = false;
  bool verify = false;
  PieceOptions pieces;
  size_t bytes = 0;  // estimate of all that the analysis holds at a time
};

// FAILED_PRECONDITION for a SMOOTH model: not all that bends it is gates, and what is frozen would be no
// piece. INVALID_ARGUMENT as CheckModelInput and CheckGivenPieces say, for other numbers of tokens in
// `gates_of` than in `input`, and for more tokens in both than limits.max_tokens_per_request.
absl::StatusOr<CheckedOnPiece> CheckEvaluateOnPiece(const LoadedModel& model, EvaluateOnPieceRequest request,
                                                    const EngineOptions& limits);

// One stack's distance between two pieces.
struct StackDistance {
  PieceLayout::Stack stack = PieceLayout::Stack::kEncoder;
  PieceDistance distance;
};

struct Verification {
  bool equal = false;           // every number of both outputs is
  uint64_t differing = 0;       // numbers
  double largest = 0;           // of |on the piece - evaluated|
  size_t row = 0, col = 0;      // of the first number that differs
  float on_piece = 0, own = 0;  // that number in both
  HammingDistance gates;        // between the frozen piece and the input's own, over all stacks
};

struct OnPieceResult {
  SequenceResult result;  // output; pieces and sequence id of the arguments' own signs, as asked for
  std::string encoder_piece, decoder_piece;  // sequence ids of the frozen piece; empty without stack or gates
  // Between the frozen piece and the signs of this evaluation's own arguments. Where all are 0 the input lies
  // on the piece.
  std::vector<StackDistance> disagreement;
  std::optional<Verification> verification;
  size_t tokens = 0;  // evaluated, in all passes
};

// The analysis, a pass through the model a turn. Not thread-safe: turns may come from different threads, one
// after the other.
class EvaluationOnPiece {
 public:
  EvaluationOnPiece(std::shared_ptr<const LoadedModel> model, CheckedOnPiece work, const KernelSet& kernels);

  // Returns true once the result is complete; an error ends the analysis: `check`'s, which is asked between
  // layers, or OUT_OF_RANGE.
  absl::StatusOr<bool> RunTurn(absl::FunctionRef<absl::Status()> check);
  OnPieceResult TakeResult() { return std::move(result_); }

 private:
  const StackPieces& piece() const { return work_.given.has_value() ? *work_.given : piece_; }
  absl::StatusOr<SingleEvaluation> Evaluate(const CheckedInput& input, const std::string& where,
                                            const StackPieces* frozen,
                                            absl::FunctionRef<absl::Status()> check);
  void Describe(SingleEvaluation frozen);
  void Verify();

  const std::shared_ptr<const LoadedModel> model_;
  const CheckedOnPiece work_;
  const KernelSet& kernels_;
  bool has_piece_ = false, is_frozen_ = false;
  StackPieces piece_;                    // recorded, unless it was given
  std::optional<SingleEvaluation> own_;  // of the input, by its own gates
  OnPieceResult result_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_EVALUATION_ON_PIECE_H_
