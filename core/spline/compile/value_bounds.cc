#include "core/spline/compile/value_bounds.h"

#include <algorithm>
#include <cmath>

namespace splineserve {
namespace {

void AddTerm(double weight, const Bounded& x, Bounded* sum) {
  sum->low += std::min(weight * x.low, weight * x.high);
  sum->high += std::max(weight * x.low, weight * x.high);
  sum->error += std::fabs(weight) * x.error;
}

}  // namespace

void ValueBounds::Reset() {
  bounds_.assign(program_.values().size(), Bounded());
  known_.assign(program_.values().size(), false);
}

// Maxima are known once AfterLayer has seen their layer, which is before anybody needs them.
Bounded ValueBounds::Of(size_t value, absl::Span<const Bounded> row) {
  if (known_[value]) return bounds_[value];
  const ProgramValue& what = program_.values()[value];
  Bounded bound;
  if (what.kind == ProgramValue::Kind::kForm) {
    bound.low = bound.high = what.form.constant();
    for (const Form::Term& term : what.form.terms()) AddTerm(term.weight, row[term.index], &bound);
  } else {
    bound.low = bound.high = what.constant;
    for (const auto& [part, factor] : what.parts) AddTerm(factor, Of(part, row), &bound);
  }
  known_[value] = true;
  return bounds_[value] = bound;
}

void ValueBounds::AfterLayer(size_t layer, absl::Span<const Bounded> units, std::vector<Bounded>* row) {
  for (size_t value = 0; value < program_.values().size(); ++value) {
    const ProgramValue& what = program_.values()[value];
    if (what.kind != ProgramValue::Kind::kMax || what.layer != layer) continue;
    const Bounded first = Of(what.first, *row), second = Of(what.second, *row);
    const double own = units[what.unit].own;
    bounds_[value] = {std::max(first.low, second.low), std::max(first.high, second.high),
                      std::max(first.error, second.error) + own};
    known_[value] = true;
    Bounded& column = (*row)[what.column];
    if (column.exactly_zero()) continue;
    column.high = std::clamp(bounds_[value].high - first.low, column.low, column.high);
    column.error = std::min(column.error, first.error + second.error + own);
  }
}

void ValueBounds::Narrow(absl::Span<const Bounded> row, std::vector<Bounded>* outputs) {
  for (const auto& [output, value] : program_.output_values()) {
    const Bounded bound = Of(value, row);
    Bounded& narrowed = (*outputs)[output];
    narrowed.low = std::clamp(bound.low, narrowed.low, narrowed.high);
    narrowed.high = std::clamp(bound.high, narrowed.low, narrowed.high);
    narrowed.error = std::min(narrowed.error, bound.error + narrowed.own);
  }
}

}  // namespace splineserve
