#include "core/spline/paired_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

namespace splineserve {
namespace {

using Eigen::Index;
using RowVector = Eigen::RowVectorXd;

constexpr double kUnit = 0x1p-53;  // a rounded sum, product or quotient is off by a factor in 1 +- kUnit
// More than what underflow takes from a sum of products: 2^50 of them lose half of the smallest subnormal
// number each at most.
constexpr double kUnderflow = std::numeric_limits<double>::min();

// A sum of k products, in whatever order and with or without fused multiply-adds, is off by at most
// k kUnit / (1 - k kUnit) times the sum of their magnitudes (Higham, section 3.1). Four times as much, and
// sixteen terms more, leave room for the operations around it, for any k below 2^40.
double Slack(Index k) { return 4.0 * kUnit * static_cast<double>(k + 16); }

// Rounds a bound up that is the float64 value of a sum of `k` nonnegative terms.
template <typename Bound>
Numbers Up(const Bound& bound, Index k) {
  return (bound.array() * (1 + Slack(k)) + kUnderflow).matrix();
}

// Bounds on the magnitudes of the spline's exact numbers.
Numbers Magnitudes(const PairedRows& x) { return Up(x.spline.cwiseAbs() + x.rounding, 1); }

// The rounding errors of x, and those that a sum of `k` products with x will make, as factors of the others.
Numbers Errors(const PairedRows& x, Index k) { return x.rounding + Slack(k) * x.spline.cwiseAbs(); }

RowVector Widened(const AlignedBuffer<float>& numbers, Index size) {
  RowVector wide = RowVector::Zero(size);
  for (Index i = 0; i < static_cast<Index>(numbers.size()); ++i) wide[i] = numbers.data()[i];
  return wide;
}

// SoftPlus_beta(x) - ReLU(x) at |x| = distance.
double Excess(double distance, double beta) { return std::log1p(std::exp(-beta * distance)) / beta; }

// The same from above, but for one rounding of a nonnegative sum or quotient. The argument of exp is off by a
// factor in 1 +- 2 kUnit, so exp by one in 1 +- 1500 kUnit wherever it does not underflow (|argument| < 746);
// exp and log1p themselves are good to a few kUnit.
double ExcessAbove(double distance, double beta) {
  return (std::log1p(std::exp(-beta * distance)) * (1 + Slack(746)) + kUnderflow) / beta;
}

// max |SoftPlus_beta(s') - ReLU(s)| over |s' - s| <= bound for an s of this sign, at least `distance` from
// zero: s' = s + bound at the s next to zero.
double LargestAtGate(bool open, double distance, double bound, double beta) {
  if (open) return bound + ExcessAbove(distance + bound, beta);
  const double reach = bound - distance;
  return std::max(reach, 0.0) + ExcessAbove(std::abs(reach), beta);
}

}  // namespace

PairedRows PairedRows::Zero(Index rows, Index cols) {
  const Numbers zero = Numbers::Zero(rows, cols);
  return {zero, zero, zero, {zero, zero}};
}

PairedRows PairedRows::Common(Numbers exact) {
  PairedRows rows = Zero(exact.rows(), exact.cols());
  rows.smoothed = exact;
  rows.spline = std::move(exact);
  return rows;
}

PairedRows Apply(const AffineMap& map, const PairedRows& x) {
  const auto inner = static_cast<Index>(map.weight.inner()), outer = static_cast<Index>(map.weight.outer());
  Eigen::MatrixXd weight(inner, outer);
  std::vector<float> column(static_cast<size_t>(inner));
  for (Index n = 0; n < outer; ++n) {
    map.weight.Column(static_cast<size_t>(n), column.data());
    weight.col(n) = Eigen::Map<const Eigen::VectorXf>(column.data(), inner).cast<double>();
  }
  const RowVector bias = Widened(map.bias, outer);
  PairedRows y;
  y.spline = (x.spline * weight).rowwise() + bias;
  y.smoothed = (x.smoothed * weight).rowwise() + bias;
  weight = weight.cwiseAbs().eval();
  y.rounding = Up((Errors(x, inner + 1) * weight).rowwise() + Slack(inner + 1) * bias.cwiseAbs(), inner + 1);
  for (const GateRule rule : kGateRules) y.bound[rule] = Up(x.bound[rule] * weight, inner);
  return y;
}

PairedRows Apply(const NormWeights& norm, const PairedRows& x) {
  const RowVector weight = Widened(norm.weight, x.cols()), bias = Widened(norm.bias, x.cols());
  const RowVector magnitude = weight.cwiseAbs();
  const auto times = [](const Numbers& m, const RowVector& w) -> Numbers {
    return (m.array().rowwise() * w.array()).matrix();
  };
  PairedRows y;
  y.spline = times(x.spline, weight).rowwise() + bias;
  y.smoothed = times(x.smoothed, weight).rowwise() + bias;
  y.rounding = Up(times(Errors(x, 2), magnitude).rowwise() + Slack(2) * bias.cwiseAbs(), 2);
  for (const GateRule rule : kGateRules) y.bound[rule] = Up(times(x.bound[rule], magnitude), 1);
  return y;
}

PairedRows Product(const PairedRows& a, const PairedRows& b) {
  const Index inner = a.cols();
  const Numbers magnitude_a = Magnitudes(a), magnitude_b = Magnitudes(b);
  PairedRows c;
  c.spline = a.spline * b.spline;
  c.smoothed = a.smoothed * b.smoothed;
  c.rounding = Up(Errors(a, inner) * magnitude_b + a.spline.cwiseAbs() * b.rounding, 2 * inner);
  for (const GateRule rule : kGateRules) {
    const Numbers reach = magnitude_b + b.bound[rule];  // of the smoothed model's numbers
    c.bound[rule] = Up(a.bound[rule] * reach + magnitude_a * b.bound[rule], 2 * inner);
  }
  return c;
}

PairedRows Sum(const PairedRows& a, const PairedRows& b) {
  PairedRows sum;
  sum.spline = a.spline + b.spline;
  sum.smoothed = a.smoothed + b.smoothed;
  sum.rounding = Up(a.rounding + b.rounding + Slack(1) * sum.spline.cwiseAbs(), 2);
  for (const GateRule rule : kGateRules) sum.bound[rule] = Up(a.bound[rule] + b.bound[rule], 1);
  return sum;
}

PairedRows Scaled(double factor, PairedRows x) {
  x.spline *= factor;
  x.smoothed *= factor;
  x.rounding = Up(std::abs(factor) * x.rounding + Slack(1) * x.spline.cwiseAbs(), 2);
  for (Numbers& bound : x.bound) bound = Up(std::abs(factor) * bound, 1);
  return x;
}

PairedRows Divided(PairedRows x, const Eigen::ArrayXd& divisors) {
  x.ForEach([&](Numbers& m) { m.array().colwise() /= divisors; });
  x.rounding = Up(x.rounding + Slack(1) * x.spline.cwiseAbs(), 2);
  for (Numbers& bound : x.bound) bound = Up(bound, 1);
  return x;
}

PairedRows ColumnSums(const PairedRows& x) {
  const Index n = x.rows();
  const auto sums = [](const Numbers& m) -> Numbers { return m.colwise().sum(); };
  PairedRows sum = x.Map(sums);
  sum.rounding = Up(sums(Errors(x, n)), n + 1);
  for (Numbers& bound : sum.bound) bound = Up(bound, n);
  return sum;
}

PairedRows Gated(double beta, PairedRows x) {
  const double uniform = std::numbers::ln2 / beta * (1 + Slack(1));
  for (Index r = 0; r < x.rows(); ++r) {
    for (Index c = 0; c < x.cols(); ++c) {
      double& s = x.spline(r, c);
      double& smoothed = x.smoothed(r, c);
      double& bound = x.bound[kAtGates](r, c);
      const double distance = std::max(std::abs(s) - x.rounding(r, c), 0.0) * (1 - 4 * kUnit);
      bound = LargestAtGate(s > 0 && distance > 0, distance, bound, beta);
      smoothed = std::max(smoothed, 0.0) + Excess(std::abs(smoothed), beta);
      // An open gate passes the argument's rounding error, a closed one does not. Without this the errors of
      // seven layers with 1 % open gates, multiplied by all magnitudes, would leave no argument's sign certain.
      if (s < 0 && distance > 0) x.rounding(r, c) = 0;
      s = std::max(s, 0.0);
    }
  }
  x.bound[kUniform] = Up((x.bound[kUniform].array() + uniform).matrix(), 1);
  x.bound[kAtGates] = Up(x.bound[kAtGates], 2);
  return x;
}

}  // namespace splineserve
