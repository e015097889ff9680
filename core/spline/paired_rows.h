// Numbers of a spline and of its smoothing side by side, with bounds on their differences: what the
// operations of a model do to them. Internal to smoothing_bound.cc, whose header has the rules.
//
// The spline's numbers are pairs of float64 numbers. Their rounding errors, bounded by magnitudes as
// everything here, grow by a factor of 10^3 and more a layer: in plain float64 the errors of `g2p` (7 layers)
// leave few signs of the last gates' arguments certain, and a bound at the gates is 10^28 where it now is
// 10^-284 (one word, beta 10^7).
#ifndef SPLINESERVE_CORE_SPLINE_PAIRED_ROWS_H_
#define SPLINESERVE_CORE_SPLINE_PAIRED_ROWS_H_

#include <Eigen/Core>
#include <array>

#include "core/base/aligned_buffer.h"
#include "core/model/weights.h"

namespace splineserve {

using Numbers = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// How a gate's bound follows from its argument's: argument + ln 2 / beta, or from where the argument lies.
enum GateRule { kUniform, kAtGates };
inline constexpr std::array<GateRule, 2> kGateRules = {kUniform, kAtGates};

// [rows, cols] each. Bounds hold in exact arithmetic; NaN in one stands for "none".
struct PairedRows {
  Numbers spline, low;           // spline + low, |low| <= 2^-53 |spline|
  Numbers rounding;              // the spline's exact numbers are within this of spline + low
  Numbers smoothed;              // float64
  std::array<Numbers, 2> bound;  // for each rule: exact numbers of the two functions differ by at most this

  Eigen::Index rows() const { return spline.rows(); }
  Eigen::Index cols() const { return spline.cols(); }

  static PairedRows Zero(Eigen::Index rows, Eigen::Index cols);
  // Rows that both functions have in common and that are exact.
  static PairedRows Common(Numbers exact);

  // f(matrix) of every member.
  template <typename F>
  PairedRows Map(const F& f) const {
    return {f(spline), f(low), f(rounding), f(smoothed), {f(bound[kUniform]), f(bound[kAtGates])}};
  }
  PairedRows Block(Eigen::Index row, Eigen::Index height, Eigen::Index col, Eigen::Index width) const {
    return Map([&](const Numbers& m) -> Numbers { return m.block(row, col, height, width); });
  }
  PairedRows Transposed() const {
    return Map([](const Numbers& m) -> Numbers { return m.transpose(); });
  }
  // Overwrites the block that starts there.
  void SetBlock(Eigen::Index row, Eigen::Index col, const PairedRows& block);
  // Sets the last `count` numbers of a row to zero, which is exact.
  void ClearTail(Eigen::Index row, Eigen::Index count);
};

// x W + b. `map` is in float32.
PairedRows Apply(const AffineMap& map, const PairedRows& x);
// weight * x + bias, each column by its own; no bias is zero.
PairedRows Apply(const NormWeights& norm, const PairedRows& x);
// a b, where both depend on the input.
PairedRows Product(const PairedRows& a, const PairedRows& b);
PairedRows Sum(const PairedRows& a, const PairedRows& b);
PairedRows Scaled(double factor, PairedRows x);
// Row r divided by divisors[r].
PairedRows Divided(PairedRows x, const Eigen::ArrayXd& divisors);
// The sum of all rows, [1, cols].
PairedRows ColumnSums(const PairedRows& x);
// ReLU, and SoftPlus_beta.
PairedRows Gated(double beta, PairedRows x);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_PAIRED_ROWS_H_
