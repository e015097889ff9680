// Compare: how much the pieces of several inputs differ.
#ifndef SPLINESERVE_CORE_ENGINE_PIECE_COMPARISON_H_
#define SPLINESERVE_CORE_ENGINE_PIECE_COMPARISON_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/model_input.h"
#include "core/engine/single_evaluation.h"
#include "core/kernels/kernel_set.h"
#include "core/spline/piece_distance.h"

namespace splineserve {

inline constexpr size_t kMaxComparedInputs = 64;
// Up to so many inputs every pair is described in full, beyond it each input's pair with the first one.
inline constexpr size_t kMaxInputsInAllPairs = 8;

struct CompareRequest {
  std::vector<ModelInput> inputs;  // 2 to kMaxComparedInputs
};

struct CheckedComparison {
  std::vector<CheckedInput> inputs;  // all run through the same stacks
  size_t bytes = 0;                  // estimate of all that the analysis holds at a time
};

// FAILED_PRECONDITION for a model without any gates. INVALID_ARGUMENT as CheckModelInput says ("inputs[1]"),
// for a number of inputs outside of the bounds, for more tokens than limits.max_tokens_per_request in all,
// and for an encoder_decoder of whose inputs some have targets and others have none.
absl::StatusOr<CheckedComparison> CheckCompare(const LoadedModel& model, CompareRequest request,
                                               const EngineOptions& limits);

struct PairComparison {
  size_t first = 0, second = 0;  // inputs
  PieceDistance distance;
};

// One stack's pieces of all n inputs. Matrices are symmetric, [n, n], row-major.
struct StackComparison {
  PieceLayout::Stack stack = PieceLayout::Stack::kEncoder;
  std::vector<size_t> tokens;              // of each input
  std::vector<std::string> sequence_ids;   // of each input
  std::vector<size_t> same_as;             // of each input: the first one with the same piece
  std::vector<HammingDistance> distances;  // matrix
  std::vector<size_t> same_tokens;         // matrix: at how many positions no gate differs or is unmatched
  std::vector<PairComparison> pairs;
};

struct ComparisonResult {
  std::vector<StackComparison> stacks;  // encoder, decoder
  size_t tokens = 0;                    // evaluated
};

// The analysis: an input a turn, then one input's row of every matrix a turn. Pieces are those of Encode and
// Decode. Not thread-safe: turns may come from different threads, one after the other.
class PieceComparison {
 public:
  PieceComparison(std::shared_ptr<const LoadedModel> model, CheckedComparison work, const KernelSet& kernels)
      : model_(std::move(model)), work_(std::move(work)), kernels_(kernels) {}

  // Returns true once the result is complete; an error ends the analysis: `check`'s, which is asked between
  // layers, or OUT_OF_RANGE ("inputs[1].source").
  absl::StatusOr<bool> RunTurn(absl::FunctionRef<absl::Status()> check);
  ComparisonResult TakeResult() { return std::move(result_); }

 private:
  void Begin();
  void CompareRow(size_t first);

  const std::shared_ptr<const LoadedModel> model_;
  const CheckedComparison work_;
  const KernelSet& kernels_;
  std::vector<StackPieces> pieces_;  // of the inputs evaluated so far
  size_t next_row_ = 0;
  ComparisonResult result_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_PIECE_COMPARISON_H_
