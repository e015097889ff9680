// The segment between two inputs, and the outputs that are looked at along it.
#ifndef SPLINESERVE_CORE_SPLINE_SEGMENT_H_
#define SPLINESERVE_CORE_SPLINE_SEGMENT_H_

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "core/model/evaluation.h"
#include "core/spline/float64_derivative.h"
#include "core/spline/float64_pass.h"

namespace splineserve {

// One number of the last stack's output.
struct OutputIndex {
  size_t row = 0;
  size_t col = 0;
  friend bool operator==(const OutputIndex&, const OutputIndex&) = default;
};

struct OutputChoice {
  bool head = false;  // the head's rows, else the final rows before it
  std::vector<OutputIndex> indices;
};

// Continuous inputs of one evaluation (float64_pass.h), [tokens, size of a row]; empty for a stack that does
// not run.
struct ContinuousInput {
  Matrix64 source;
  Matrix64 target;
};

// x(t) = from + t (to - from). Immutable; thread-safe. The weights must outlive it.
class Segment {
 public:
  // Both ends are of the same shapes, at least one stack's not empty.
  Segment(const ModelWeights64& weights, ContinuousInput from, ContinuousInput to);

  const Float64Pass& pass() const { return pass_; }
  const GateLayout& layout() const { return pass_.layout(); }
  bool source_moves() const { return source_moves_; }
  bool target_moves() const { return target_moves_; }
  // to - from of the stacks that move.
  const InputRows64& direction() const { return direction_; }

  // The inputs at these t, stacked, with bounds of their rounding.
  PassInput At(absl::Span<const double> t) const;

 private:
  ContinuousInput from_, to_;
  bool source_moves_, target_moves_;
  InputRows64 direction_;
  Float64Pass pass_;
  Bounded64 memory_;  // of an encoder that does not move below a decoder
};

// The continuous input of a sequence: its vectors, which for a model over tokens are embeddings times the
// scale, or those of its tokens.
Matrix64 ContinuousRows(const Stack64& stack, const InputConfig& input, const SequenceInput& sequence);

// The chosen outputs of final rows [points * tokens, d]: [points, outputs].
Bounded64 ChooseOutputs(const Float64Pass& pass, const OutputChoice& choice, const Bounded64& rows,
                        size_t points, double unit_roundoff);

// Weights of the chosen outputs, [count, outputs], to weights of final rows [count * tokens, d].
Matrix64 OutputWeightsToRows(const Float64Pass& pass, const OutputChoice& choice, const Matrix64& weights);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_SEGMENT_H_
