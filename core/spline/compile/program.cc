#include "core/spline/compile/program.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace splineserve {
namespace {

size_t SaturatedProduct(size_t a, size_t b) {
  size_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<size_t>::max() : product;
}

size_t SaturatedSum(size_t a, size_t b) {
  size_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<size_t>::max() : sum;
}

double Value(const Form& form, absl::Span<const double> x) {
  double value = form.constant();
  for (const Form::Term& term : form.terms()) value += term.weight * x[term.index];
  return value;
}

}  // namespace

ProgramLayer& Program::At(size_t layer) {
  if (layer >= layers_.size()) layers_.resize(layer + 1);
  return layers_[layer];
}

size_t Program::AddHead(size_t layer, ProgramHead head) {
  ProgramLayer& at = At(layer);
  const size_t first = at.head_values;
  at.head_values += head.value.size();
  at.heads.push_back(std::move(head));
  return first;
}

size_t Program::AddHead(size_t layer, Form first, Form second) {
  return AddHead(layer, ProgramHead{{std::move(first)}, {std::move(second)}, {Form(1.0)}});
}

void Program::AddAttention(size_t layer, size_t column, size_t value, double weight) {
  At(layer).attention[column].Add(value, weight);
}

size_t Program::AddUnit(size_t layer, Form form) {
  ProgramLayer& at = At(layer);
  at.units.push_back(std::move(form));
  return at.units.size() - 1;
}

void Program::AddFeedForward(size_t layer, size_t column, size_t unit, double weight) {
  At(layer).feed_forward[column].Add(unit, weight);
}

size_t Program::AddValue(ProgramValue value) {
  values_.push_back(std::move(value));
  return values_.size() - 1;
}

ProgramSizes Program::sizes() const {
  ProgramSizes sizes = {.hidden_size = columns_,
                        .heads = 1,
                        .head_dim = 1,
                        .intermediate_size = 1,
                        .layers = std::max<size_t>(1, layers_.size())};
  for (const ProgramLayer& layer : layers_) {
    sizes.heads = std::max(sizes.heads, layer.heads.size());
    sizes.intermediate_size = std::max(sizes.intermediate_size, layer.units.size());
    for (const ProgramHead& head : layer.heads) {
      sizes.head_dim = std::max({sizes.head_dim, head.query.size(), head.value.size()});
    }
  }
  const size_t d = columns_, f = sizes.intermediate_size;
  const size_t width = SaturatedProduct(sizes.heads, sizes.head_dim);
  size_t layer = SaturatedProduct(SaturatedProduct(4, width), d);
  layer = SaturatedSum(layer, SaturatedProduct(3, width));
  layer = SaturatedSum(layer, SaturatedProduct(SaturatedProduct(2, f), d));
  layer = SaturatedSum(layer, f);
  size_t all = SaturatedProduct(sizes.layers, layer);
  all = SaturatedSum(all, SaturatedProduct(d, inputs_ + 1));
  all = SaturatedSum(all, SaturatedProduct(outputs_.size(), d + 1));
  sizes.parameters = all;
  return sizes;
}

std::vector<double> Program::Evaluate(absl::Span<const double> inputs) const {
  std::vector<double> row(columns_, 0.0);
  std::copy(inputs.begin(), inputs.end(), row.begin());
  row[one()] = 1;
  std::vector<double> values;
  for (const ProgramLayer& layer : layers_) {
    values.clear();
    for (const ProgramHead& head : layer.heads) {
      double score = 0;
      for (size_t i = 0; i < head.query.size(); ++i)
        score += Value(head.query[i], row) * Value(head.key[i], row);
      score = std::max(score, 0.0);
      for (const Form& value : head.value) values.push_back(score * Value(value, row));
    }
    for (const auto& [column, form] : layer.attention) row[column] += Value(form, values);
    values.clear();
    for (const Form& unit : layer.units) values.push_back(std::max(Value(unit, row), 0.0));
    for (const auto& [column, form] : layer.feed_forward) row[column] += Value(form, values);
  }
  std::vector<double> outputs;
  for (const Form& output : outputs_) outputs.push_back(Value(output, row));
  return outputs;
}

bool SplitsConstant(const Program& program, const Form& form) {
  return !form.terms().empty() && form.terms().front().index < program.inputs() &&
         form.constant() != RoundedWeight(form.constant());
}

}  // namespace splineserve
