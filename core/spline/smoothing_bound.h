// How far a smoothed model is from its spline at a given input: measured, and proven.
//
// Both functions have the same weights; one has ReLU at its gates, the other SoftPlus_beta. For every number
// of the evaluation let x be the spline's, x' the smoothed model's, and e a bound: |x' - x| <= e. Inputs have
// e = 0, and each operation carries the bound on (W: weights, |W| their magnitudes):
//
//   affine map    y = W x + b             e_y = |W| e_x
//   product       s = q . k               e_s = e_q . (|k| + e_k) + |q| . e_k
//   gate          w = ReLU(s)             e_w = e_s + ln 2 / beta, for SoftPlus_beta has slopes in [0, 1] and
//                                         lies between ReLU and ReLU + ln 2 / beta      (uniform), or
//                                         e_w = the largest difference of SoftPlus_beta(s') and ReLU(s) for
//                                         |s' - s| <= e_s                               (at the gate)
//   values        o = sum_j w_j v_j / n   e_o = sum_j (e_w (|v_j| + e_v) + |w_j| e_v) / n
//   residual      z = x + y               e_z = e_x + e_y
//   affine norm   y = w x + b             e_y = |w| e_x
//
// The second rule for gates uses what the first throws away, namely where the gate's argument lies. For an
// open gate, s > 0, the largest difference is e_s + ln(1 + exp(-beta (s + e_s))) / beta; for a closed one it
// is SoftPlus_beta(s + e_s), which is next to nothing unless e_s reaches across zero. It never exceeds e_s +
// ln 2 / beta.
//
// Both are theorems about exact arithmetic, so the arithmetic that evaluates them is accounted for: the
// spline's numbers are pairs of float64 numbers (compensated.h) with a bound on their own rounding errors
// (running error analysis: Higham, "Accuracy and Stability of Numerical Algorithms", section 3.3), magnitudes
// are taken with it, and every sum for a bound is rounded up. What the served model's float32 arithmetic adds
// is not in these bounds.
#ifndef SPLINESERVE_CORE_SPLINE_SMOOTHING_BOUND_H_
#define SPLINESERVE_CORE_SPLINE_SMOOTHING_BOUND_H_

#include <cstddef>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/model/evaluation.h"
#include "core/model/weights.h"

namespace splineserve {

// Output rows of one sequence, [rows, cols] row-major each.
struct SmoothingComparison {
  size_t rows = 0, cols = 0;
  std::vector<double> spline;    // pairs, rounded to float64
  std::vector<double> smoothed;  // evaluated in float64: off by some 1e-13 of the largest numbers
  // |smoothed - spline| is at most this, each number by itself; infinite where the bound overflows float64.
  std::vector<double> proven;           // ln 2 / beta a gate
  std::vector<double> proven_at_gates;  // each gate by its own argument; never larger
};

// Compares at one input: Encoder for Encode's output, Decoder for Decode's (`source` is ignored without an
// encoder). `weights` are those of either of the two models: their gates' activations are not looked at.
// Ids are in the vocabulary, lengths within the model's. With `head`, the output is the head's.
//
// `check` is asked between sub-layers; what it returns, if not OK, ends the work and is returned. FAILED_
// PRECONDITION for weights in lower precision and for norms that are not affine; OUT_OF_RANGE if a value of
// one of the functions overflows float64. Throws std::bad_alloc.
//
// Single-threaded; thread-safe. Cost: a compensated product and four in float64 for each of the evaluation's,
// 0.4 G of its multiply-adds a second; memory ComparisonBytes.
absl::StatusOr<SmoothingComparison> CompareEncoder(const ModelWeights& weights, float beta,
                                                   const SequenceInput& input, bool head,
                                                   absl::FunctionRef<absl::Status()> check);
absl::StatusOr<SmoothingComparison> CompareDecoder(const ModelWeights& weights, float beta,
                                                   const SequenceInput& source, const SequenceInput& target,
                                                   bool head, absl::FunctionRef<absl::Status()> check);

// Estimated peak for sequences of `source` tokens through the encoder and `target` through the decoder (0:
// not run).
size_t ComparisonBytes(const ModelConfig& config, size_t source, size_t target);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_SMOOTHING_BOUND_H_
