#include "core/spline/paired_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "core/spline/compensated.h"

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

// The same of a sum of k products of pairs, into a pair. Its high part takes at most 2k exact additions,
// whose errors sum up to 2k kUnit M at most, M the sum of the products' magnitudes. The low part adds these
// errors and at most 2k further terms below 2 kUnit M in all, in at most 4k rounded additions: it is off by
// 4k kUnit (2k + 2) kUnit M. The products' own low parts are off by a few kUnit^2 M.
double PairSlack(Index k) {
  const double terms = kUnit * static_cast<double>(k + 16);
  return 16 * terms * terms;
}

// Rounds a bound up that is the float64 value of a sum of `k` nonnegative terms.
template <typename Bound>
Numbers Up(const Bound& bound, Index k) {
  return (bound.array() * (1 + Slack(k)) + kUnderflow).matrix();
}

// Bounds on the magnitudes of the spline's exact numbers.
Numbers Magnitudes(const PairedRows& x) { return Up(x.spline.cwiseAbs() + x.rounding, 2); }

// The rounding errors of x, and those that a sum of `k` products with x will make, as factors of the others.
Numbers Errors(const PairedRows& x, Index k) { return x.rounding + PairSlack(k) * x.spline.cwiseAbs(); }

RowVector Widened(const AlignedBuffer<float>& numbers, Index size) {
  RowVector wide = RowVector::Zero(size);
  for (Index i = 0; i < static_cast<Index>(numbers.size()); ++i) wide[i] = numbers.data()[i];
  return wide;
}

// Sums of products, one a column, with the errors of the additions.
class CompensatedRow {
 public:
  explicit CompensatedRow(const RowVector& start) : high_(start), low_(RowVector::Zero(start.size())) {}

  // += x w[n], where w are float32 numbers: both parts of a split x give exact products.
  void Add(double x, double x_low, const double* w) {
    const Pair part = Split(x);
    double* const high = high_.data();
    double* const low = low_.data();
    for (Index n = 0; n < high_.size(); ++n) {
      const Pair first = TwoSum(high[n], part.high * w[n]);
      const Pair second = TwoSum(first.high, part.low * w[n]);
      high[n] = second.high;
      low[n] += (first.low + second.low) + x_low * w[n];
    }
  }
  // += x y[n], where y are pairs.
  void Add(double x, double x_low, const double* y, const double* y_low) {
    double* const high = high_.data();
    double* const low = low_.data();
    for (Index n = 0; n < high_.size(); ++n) {
      const Pair product = TwoProduct(x, y[n]);
      const Pair sum = TwoSum(high[n], product.high);
      high[n] = sum.high;
      low[n] += (sum.low + product.low) + (x * y_low[n] + x_low * y[n]);
    }
  }
  void Store(Index row, PairedRows& out) const {
    for (Index n = 0; n < high_.size(); ++n) {
      const Pair sum = TwoSum(high_[n], low_[n]);
      out.spline(row, n) = sum.high;
      out.low(row, n) = sum.low;
    }
  }

 private:
  RowVector high_, low_;
};

// f(pair, row, column) in place of every number of the spline.
template <typename F>
void ForEachPair(PairedRows& x, const F& f) {
  for (Index r = 0; r < x.rows(); ++r) {
    for (Index c = 0; c < x.cols(); ++c) {
      const Pair result = f(Pair{x.spline(r, c), x.low(r, c)}, r, c);
      const Pair normal = TwoSum(result.high, result.low);
      x.spline(r, c) = normal.high;
      x.low(r, c) = normal.low;
    }
  }
}

Pair Times(const Pair& x, double factor) {
  const Pair product = TwoProduct(x.high, factor);
  return {product.high, product.low + x.low * factor};
}

Pair Plus(const Pair& a, const Pair& b) {
  const Pair sum = TwoSum(a.high, b.high);
  return {sum.high, sum.low + (a.low + b.low)};
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
  return {zero, zero, zero, zero, {zero, zero}};
}

PairedRows PairedRows::Common(Numbers exact) {
  PairedRows rows = Zero(exact.rows(), exact.cols());
  rows.smoothed = exact;
  rows.spline = std::move(exact);
  return rows;
}

void PairedRows::SetBlock(Index row, Index col, const PairedRows& block) {
  const auto set = [&](Numbers& all, const Numbers& part) {
    all.block(row, col, part.rows(), part.cols()) = part;
  };
  set(spline, block.spline);
  set(low, block.low);
  set(rounding, block.rounding);
  set(smoothed, block.smoothed);
  for (const GateRule rule : kGateRules) set(bound[rule], block.bound[rule]);
}

void PairedRows::ClearTail(Index row, Index count) {
  for (Numbers* const m : {&spline, &low, &rounding, &smoothed, &bound[kUniform], &bound[kAtGates]})
    m->row(row).tail(count).setZero();
}

PairedRows Apply(const AffineMap& map, const PairedRows& x) {
  const auto inner = static_cast<Index>(map.weight.inner()), outer = static_cast<Index>(map.weight.outer());
  Numbers weight(inner, outer);
  std::vector<float> column(static_cast<size_t>(inner));
  for (Index n = 0; n < outer; ++n) {
    map.weight.Column(static_cast<size_t>(n), column.data());
    weight.col(n) = Eigen::Map<const Eigen::VectorXf>(column.data(), inner).cast<double>();
  }
  const RowVector bias = Widened(map.bias, outer);
  PairedRows y = PairedRows::Zero(x.rows(), outer);
  for (Index r = 0; r < x.rows(); ++r) {
    CompensatedRow sums(bias);
    for (Index k = 0; k < inner; ++k) {
      // Closed gates.
      if (x.spline(r, k) != 0) sums.Add(x.spline(r, k), x.low(r, k), weight.row(k).data());
    }
    sums.Store(r, y);
  }
  y.smoothed = (x.smoothed * weight).rowwise() + bias;
  weight = weight.cwiseAbs().eval();
  y.rounding =
      Up((Errors(x, inner + 1) * weight).rowwise() + PairSlack(inner + 1) * bias.cwiseAbs(), inner + 1);
  for (const GateRule rule : kGateRules) y.bound[rule] = Up(x.bound[rule] * weight, inner);
  return y;
}

PairedRows Apply(const NormWeights& norm, const PairedRows& x) {
  const RowVector weight = Widened(norm.weight, x.cols()), bias = Widened(norm.bias, x.cols());
  const RowVector magnitude = weight.cwiseAbs();
  const auto times = [](const Numbers& m, const RowVector& w) -> Numbers {
    return (m.array().rowwise() * w.array()).matrix();
  };
  PairedRows y = x;
  ForEachPair(y, [&](const Pair& each, Index, Index c) {
    return Plus(Times(each, weight[c]), {bias[c], 0});
  });
  y.smoothed = times(x.smoothed, weight).rowwise() + bias;
  y.rounding = Up(times(Errors(x, 2), magnitude).rowwise() + PairSlack(2) * bias.cwiseAbs(), 2);
  for (const GateRule rule : kGateRules) y.bound[rule] = Up(times(x.bound[rule], magnitude), 1);
  return y;
}

PairedRows Product(const PairedRows& a, const PairedRows& b) {
  const Index inner = a.cols();
  PairedRows c = PairedRows::Zero(a.rows(), b.cols());
  for (Index r = 0; r < a.rows(); ++r) {
    CompensatedRow sums(RowVector::Zero(b.cols()));
    for (Index k = 0; k < inner; ++k) {
      if (a.spline(r, k) != 0)
        sums.Add(a.spline(r, k), a.low(r, k), b.spline.row(k).data(), b.low.row(k).data());
    }
    sums.Store(r, c);
  }
  c.smoothed = a.smoothed * b.smoothed;
  const Numbers magnitude_a = Magnitudes(a), magnitude_b = Magnitudes(b);
  c.rounding = Up(Errors(a, inner) * magnitude_b + magnitude_a * b.rounding, 2 * inner);
  for (const GateRule rule : kGateRules) {
    const Numbers reach = magnitude_b + b.bound[rule];  // of the smoothed model's numbers
    c.bound[rule] = Up(a.bound[rule] * reach + magnitude_a * b.bound[rule], 2 * inner);
  }
  return c;
}

PairedRows Sum(const PairedRows& a, const PairedRows& b) {
  PairedRows sum = a;
  ForEachPair(sum, [&](const Pair& each, Index r, Index c) {
    return Plus(each, {b.spline(r, c), b.low(r, c)});
  });
  sum.smoothed += b.smoothed;
  sum.rounding = Up(Errors(a, 1) + Errors(b, 1), 2);
  for (const GateRule rule : kGateRules) sum.bound[rule] = Up(a.bound[rule] + b.bound[rule], 1);
  return sum;
}

PairedRows Scaled(double factor, PairedRows x) {
  x.rounding = Up(std::abs(factor) * Errors(x, 1), 2);
  ForEachPair(x, [&](const Pair& each, Index, Index) { return Times(each, factor); });
  x.smoothed *= factor;
  for (Numbers& bound : x.bound) bound = Up(std::abs(factor) * bound, 1);
  return x;
}

PairedRows Divided(PairedRows x, const Eigen::ArrayXd& divisors) {
  const auto divide = [&](const Numbers& m) -> Numbers { return (m.array().colwise() / divisors).matrix(); };
  x.rounding = Up(divide(Errors(x, 1)), 2);
  ForEachPair(x, [&](const Pair& each, Index r, Index) -> Pair {
    const double quotient = each.high / divisors[r];
    const double rest = std::fma(-quotient, divisors[r], each.high);  // exact
    return {quotient, (rest + each.low) / divisors[r]};
  });
  x.smoothed = divide(x.smoothed);
  for (Numbers& bound : x.bound) bound = Up(divide(bound), 1);
  return x;
}

PairedRows ColumnSums(const PairedRows& x) {
  const Index n = x.rows();
  const auto sums = [](const Numbers& m) -> Numbers { return m.colwise().sum(); };
  PairedRows sum = x.Block(0, 1, 0, x.cols());
  for (Index r = 1; r < n; ++r) {
    ForEachPair(sum, [&](const Pair& each, Index, Index c) {
      return Plus(each, {x.spline(r, c), x.low(r, c)});
    });
  }
  sum.smoothed = sums(x.smoothed);
  // Each of n additions is off by a few kUnit^2 times what has been summed so far.
  sum.rounding = Up(sums(Errors(x, n)), n + 1);
  for (const GateRule rule : kGateRules) sum.bound[rule] = Up(sums(x.bound[rule]), n);
  return sum;
}

PairedRows Gated(double beta, PairedRows x) {
  const double uniform = std::numbers::ln2 / beta * (1 + Slack(1));
  for (Index r = 0; r < x.rows(); ++r) {
    for (Index c = 0; c < x.cols(); ++c) {
      double& s = x.spline(r, c);
      double& smoothed = x.smoothed(r, c);
      double& bound = x.bound[kAtGates](r, c);
      // The second part of the pair is below kUnit |s|.
      const double distance =
          std::max(std::abs(s) * (1 - 4 * kUnit) - x.rounding(r, c), 0.0) * (1 - 4 * kUnit);
      bound = LargestAtGate(s > 0 && distance > 0, distance, bound, beta);
      smoothed = std::max(smoothed, 0.0) + Excess(std::abs(smoothed), beta);
      if (s > 0) continue;
      // An open gate passes the argument's rounding error, a closed one does not, if it is certainly closed.
      if (distance > 0) x.rounding(r, c) = 0;
      s = 0;
      x.low(r, c) = 0;
    }
  }
  x.bound[kUniform] = Up((x.bound[kUniform].array() + uniform).matrix(), 1);
  x.bound[kAtGates] = Up(x.bound[kAtGates], 2);
  return x;
}

}  // namespace splineserve
