#include "core/spline/compile/error_bound.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/spline/compile/value_bounds.h"

namespace splineserve {
namespace {

// Half a unit in the last place of 1, and a millionth more for the analysis' own rounding.
constexpr double kUnit = 0x1p-24 * (1 + 1e-6);
// Rounding to a subnormal number.
constexpr double kUnderflow = 0x1p-150;
constexpr double kLargest = std::numeric_limits<float>::max();
constexpr size_t kMaxHalvings = 4;

// What one rounding of float32 adds to the error.
void Round(Bounded* x) {
  const double rounding = kUnit * (x->magnitude() + x->error) + kUnderflow;
  x->error += rounding;
  x->own += rounding;
}

Bounded Times(const Bounded& a, const Bounded& b) {
  const auto [low, high] = std::minmax({a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high});
  return {low, high, a.magnitude() * b.error + b.magnitude() * a.error + a.error * b.error};
}

bool ExactlyOne(const Bounded& x) { return x.low == 1 && x.high == 1 && x.error == 0; }

class BoxAnalysis {
 public:
  explicit BoxAnalysis(const Program& program) : program_(program), value_bounds_(program) {}

  absl::StatusOr<std::vector<Bounded>> Run(absl::Span<const Interval> box) {
    overflow_ = false;
    value_bounds_.Reset();
    row_.assign(program_.columns(), Bounded());
    for (size_t v = 0; v < box.size(); ++v) row_[v] = {box[v].low, box[v].high, 0};
    row_[program_.one()] = {1, 1, 0};
    for (size_t l = 0; l < program_.layers().size(); ++l) {
      const ProgramLayer& layer = program_.layers()[l];
      values_.clear();
      for (const ProgramHead& head : layer.heads) AddHead(head);
      AddToRow(layer.attention);
      values_.clear();
      for (const Form& unit : layer.units) values_.push_back(Gate(Chain(unit, row_)));
      AddToRow(layer.feed_forward);
      for (const KnownRange& known : program_.known_ranges()) {
        if (known.layer == l) Narrow(known, box[known.input]);
      }
      value_bounds_.AfterLayer(l, values_, &row_);
    }
    std::vector<Bounded> outputs;
    for (const Form& output : program_.outputs()) outputs.push_back(Chain(output, row_));
    value_bounds_.Narrow(row_, &outputs);
    if (overflow_) {
      std::string text;
      for (const Interval& side : box) absl::StrAppendFormat(&text, " [%.9g, %.9g]", side.low, side.high);
      return absl::OutOfRangeError("a number of the encoder can overflow float32 for inputs in" + text);
    }
    return outputs;
  }

 private:
  // One fused multiply-add of a chain. `rounded` is the weight as float32.
  static void MultiplyAdd(double weight, double rounded, const Bounded& x, Bounded* sum) {
    // fma(0, w, sum) is sum, and so is fma(x, 0, sum).
    if (x.exactly_zero()) return;
    const bool exact = sum->exactly_zero() && std::fabs(rounded) == 1;
    const double a = weight * x.low, b = weight * x.high;
    sum->low += std::min(a, b);
    sum->high += std::max(a, b);
    sum->error += std::fabs(rounded) * x.error + std::fabs(rounded - weight) * x.magnitude();
    sum->own += std::fabs(rounded - weight) * (x.magnitude() + x.error);
    if (!exact) Round(sum);
  }

  Bounded Chain(const Form& form, const std::vector<Bounded>& x) {
    const double high = RoundedWeight(form.constant());
    const double low = form.constant() - high;
    Bounded sum = {form.constant(), form.constant(), std::fabs(low), std::fabs(low)};
    // With a constant in two parts, the sum before the second one is another number.
    const bool splits = &x == &row_ && SplitsConstant(program_, form);
    if (splits) sum = {high, high, 0};
    bool pending = splits;
    for (const Form::Term& term : form.terms()) {
      if (pending && term.index > program_.one()) {
        MultiplyAdd(low, RoundedWeight(low), row_[program_.one()], &sum);
        pending = false;
      }
      MultiplyAdd(term.weight, RoundedWeight(term.weight), x[term.index], &sum);
    }
    if (pending) MultiplyAdd(low, RoundedWeight(low), row_[program_.one()], &sum);
    Check(sum);
    return sum;
  }

  static Bounded Gate(Bounded x) {
    if (x.high + x.error <= 0) return {0, 0, 0, x.own};
    x.low = std::max(x.low, 0.0);
    x.high = std::max(x.high, 0.0);
    return x;
  }

  void AddHead(const ProgramHead& head) {
    Bounded score;
    for (size_t i = 0; i < head.query.size(); ++i) {
      const Bounded query = Chain(head.query[i], row_);
      if (query.exactly_zero()) continue;
      const Bounded key = Chain(head.key[i], row_);
      if (key.exactly_zero()) continue;
      const Bounded product = Times(query, key);
      const bool exact = score.exactly_zero() && (ExactlyOne(query) || ExactlyOne(key));
      score = {score.low + product.low, score.high + product.high, score.error + product.error};
      if (!exact) Round(&score);
    }
    Check(score);
    score = Gate(score);
    for (const Form& form : head.value) {
      Bounded value;
      if (!score.exactly_zero()) {
        value = Chain(form, row_);
        const bool exact = ExactlyOne(value) || ExactlyOne(score) || value.exactly_zero();
        value = Times(score, value);
        if (!exact) Round(&value);
        Check(value);
      }
      values_.push_back(value);
    }
  }

  // The output projection of heads or units, and the residual addition.
  void AddToRow(const std::map<size_t, Form>& forms) {
    for (const auto& [column, form] : forms) {
      const Bounded branch = Chain(form, values_);
      if (branch.exactly_zero()) continue;
      Bounded& x = row_[column];
      const bool exact = x.exactly_zero();
      x = {x.low + branch.low, x.high + branch.high, x.error + branch.error};
      if (!exact) Round(&x);
      Check(x);
    }
  }

  // Only for a side that lies within the breaks.
  void Narrow(const KnownRange& known, const Interval& side) {
    Bounded& x = row_[known.column];
    if (x.exactly_zero() || side.low < known.breaks.front() || side.high > known.breaks.back()) return;
    size_t i = static_cast<size_t>(std::upper_bound(known.breaks.begin(), known.breaks.end(), side.low) -
                                   known.breaks.begin());
    i = std::clamp<size_t>(i, 1, known.ranges.size()) - 1;
    Interval range = known.ranges[i];
    while (known.breaks[i + 1] < side.high) {
      ++i;
      range = {std::min(range.low, known.ranges[i].low), std::max(range.high, known.ranges[i].high)};
    }
    x.low = std::max(x.low, range.low);
    x.high = std::max(x.low, std::min(x.high, range.high));
  }

  void Check(const Bounded& x) {
    if (!(x.magnitude() + x.error <= kLargest)) overflow_ = true;
  }

  const Program& program_;
  ValueBounds value_bounds_;
  std::vector<Bounded> row_, values_;
  bool overflow_ = false;
};

size_t Terms(const Program& program) {
  size_t terms = 0;
  const auto add = [&terms](const Form& form) { terms += form.terms().size() + 1; };
  for (const ProgramLayer& layer : program.layers()) {
    for (const ProgramHead& head : layer.heads) {
      for (const std::vector<Form>* forms : {&head.query, &head.key, &head.value}) {
        for (const Form& form : *forms) add(form);
      }
    }
    for (const auto& [column, form] : layer.attention) add(form);
    for (const Form& form : layer.units) add(form);
    for (const auto& [column, form] : layer.feed_forward) add(form);
  }
  for (const Form& form : program.outputs()) add(form);
  return terms;
}

double Boxes(const std::vector<std::vector<double>>& breaks) {
  double boxes = 1;
  for (const std::vector<double>& b : breaks) boxes *= static_cast<double>(b.size() - 1);
  return boxes;
}

// A break in the middle of every two.
std::vector<double> Halved(const std::vector<double>& breaks) {
  std::vector<double> halved = {breaks.front()};
  for (size_t i = 1; i < breaks.size(); ++i) {
    const double middle = breaks[i - 1] + (breaks[i] - breaks[i - 1]) / 2;
    if (middle > breaks[i - 1] && middle < breaks[i]) halved.push_back(middle);
    halved.push_back(breaks[i]);
  }
  return halved;
}

// Every second inner break is left out.
void Thin(std::vector<double>* breaks) {
  std::vector<double> thinned;
  for (size_t i = 0; i < breaks->size(); ++i) {
    if (i % 2 == 0 || i + 1 == breaks->size()) thinned.push_back((*breaks)[i]);
  }
  *breaks = std::move(thinned);
}

}  // namespace

double Bounded::magnitude() const { return std::max(std::fabs(low), std::fabs(high)); }

absl::StatusOr<std::vector<Bounded>> BoundOutputs(const Program& program, absl::Span<const Interval> box) {
  return BoxAnalysis(program).Run(box);
}

absl::StatusOr<DomainBound> BoundOverDomain(const Program& program, std::vector<std::vector<double>> breaks,
                                            const BoundWork& work) {
  const double terms = static_cast<double>(Terms(program));
  while (Boxes(breaks) > 1 && Boxes(breaks) * terms > work.most) {
    Thin(&*std::max_element(breaks.begin(), breaks.end(),
                            [](const auto& a, const auto& b) { return a.size() < b.size(); }));
  }
  for (size_t halving = 0; halving < kMaxHalvings; ++halving) {
    std::vector<std::vector<double>> finer;
    for (const std::vector<double>& b : breaks) finer.push_back(Halved(b));
    if (Boxes(finer) * terms > work.worthwhile) break;
    breaks = std::move(finer);
  }
  DomainBound bound = {std::vector<double>(program.outputs().size(), 0.0),
                       std::vector<double>(program.outputs().size(), 0.0)};
  BoxAnalysis analysis(program);
  std::vector<size_t> at(breaks.size(), 0);
  std::vector<Interval> box(breaks.size());
  for (bool more = true; more;) {
    for (size_t v = 0; v < breaks.size(); ++v) box[v] = {breaks[v][at[v]], breaks[v][at[v] + 1]};
    SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<Bounded> outputs, analysis.Run(box));
    for (size_t o = 0; o < outputs.size(); ++o) {
      bound.error[o] = std::max(bound.error[o], outputs[o].error);
      bound.magnitude[o] = std::max(bound.magnitude[o], outputs[o].magnitude());
    }
    more = false;
    for (size_t v = 0; v < breaks.size() && !more; ++v) {
      if (++at[v] + 1 < breaks[v].size()) {
        more = true;
      } else {
        at[v] = 0;
      }
    }
  }
  return bound;
}

}  // namespace splineserve
