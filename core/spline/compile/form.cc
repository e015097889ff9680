#include "core/spline/compile/form.h"

#include <algorithm>
#include <utility>

namespace splineserve {

Form Form::Of(size_t index, double weight) {
  Form form;
  form.Add(index, weight);
  return form;
}

Form& Form::Add(size_t index, double weight) {
  if (weight == 0) return *this;
  const auto at = terms_.empty() || terms_.back().index < index
                      ? terms_.end()
                      : std::lower_bound(terms_.begin(), terms_.end(), index,
                                         [](const Term& term, size_t i) { return term.index < i; });
  if (at == terms_.end() || at->index != index) {
    terms_.insert(at, {index, weight});
  } else if ((at->weight += weight) == 0) {
    terms_.erase(at);
  }
  return *this;
}

Form& Form::Add(double constant) {
  constant_ += constant;
  return *this;
}

Form& Form::Add(const Form& other, double factor) {
  constant_ += factor * other.constant_;
  std::vector<Term> merged;
  merged.reserve(terms_.size() + other.terms_.size());
  const auto append = [&merged](size_t index, double weight) {
    if (weight != 0) merged.push_back({index, weight});
  };
  auto a = terms_.begin();
  for (const Term& term : other.terms_) {
    while (a != terms_.end() && a->index < term.index) merged.push_back(*a++);
    double weight = factor * term.weight;
    if (a != terms_.end() && a->index == term.index) weight += (a++)->weight;
    append(term.index, weight);
  }
  merged.insert(merged.end(), a, terms_.end());
  terms_ = std::move(merged);
  return *this;
}

Form Form::Times(double factor) const {
  Form product;
  product.Add(*this, factor);
  return product;
}

}  // namespace splineserve
