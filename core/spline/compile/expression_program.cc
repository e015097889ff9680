#include "core/spline/compile/expression_program.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace splineserve {
namespace {

using Powers = std::vector<uint32_t>;

size_t DegreeOf(const Powers& powers) {
  size_t degree = 0;
  for (const uint32_t power : powers) degree += power;
  return degree;
}

// Layers of attention that a monomial of this degree needs.
size_t LevelOf(size_t degree) {
  size_t level = 0;
  for (size_t reached = 1; reached < degree; reached *= 3) ++level;
  return level;
}

Powers Product(const Powers& a, const Powers& b) {
  Powers sum = a;
  for (size_t v = 0; v < a.size(); ++v) sum[v] += b[v];
  return sum;
}

struct Split {
  Powers first, second, third;
};

// Three factors of degree `most` or less. Where it can be, the first two are the same, whose product needs
// one head only.
Split SplitMonomial(const Powers& powers, size_t most) {
  Powers half = powers, rest = powers;
  size_t degree = 0;
  for (size_t v = 0; v < powers.size(); ++v) {
    half[v] = static_cast<uint32_t>(std::min<size_t>(powers[v] / 2, most - degree));
    degree += half[v];
    rest[v] = powers[v] - 2 * half[v];
  }
  if (degree > 0 && DegreeOf(rest) <= most) return {half, half, rest};
  Split split = {Powers(powers.size()), Powers(powers.size()), Powers(powers.size())};
  size_t taken = 0;
  for (size_t v = 0; v < powers.size(); ++v) {
    for (uint32_t i = 0; i < powers[v]; ++i, ++taken) {
      ++(taken < most ? split.first : taken < 2 * most ? split.second : split.third)[v];
    }
  }
  return split;
}

// A form of the row, the first layer whose feed-forward network can read it, and the ProgramValue that it is.
struct Value {
  Form form;
  size_t ready = 0;
  size_t value = 0;
};

class ExpressionBuilder {
 public:
  explicit ExpressionBuilder(size_t variables) : variables_(variables), program_(variables) {}

  void AddOutput(const Expression& expression) {
    Value value = ValueOf(expression);
    program_.AddOutput(std::move(value.form));
    program_.SetOutputValue(value.value);
  }

  Program Release() { return std::move(program_); }

 private:
  Form Monomial(const Powers& powers) {
    const size_t degree = DegreeOf(powers);
    if (degree == 0) return Form(1.0);
    if (degree == 1) {
      return Form::Of(static_cast<size_t>(std::find(powers.begin(), powers.end(), 1u) - powers.begin()));
    }
    if (const auto known = monomials_.find(powers); known != monomials_.end()) return Form::Of(known->second);
    const size_t level = LevelOf(degree);
    size_t most = 1;
    for (size_t l = 1; l < level; ++l) most *= 3;
    const Split split = SplitMonomial(powers, most);
    const Form first = Monomial(split.first), second = Monomial(split.second), third = Monomial(split.third);
    const size_t column = program_.NewColumn();
    monomials_[powers] = column;
    const Powers score = Product(split.first, split.second);
    const bool square =
        std::all_of(score.begin(), score.end(), [](uint32_t power) { return power % 2 == 0; });
    for (const double sign : {1.0, -1.0}) {
      if (sign < 0 && square) continue;
      const size_t value = program_.AddHead(level - 1, ProgramHead{{first.Times(sign)}, {second}, {third}});
      program_.AddAttention(level - 1, column, value, sign);
    }
    return Form::Of(column);
  }

  Value Polynomial(const std::vector<PolynomialTerm>& terms) {
    Value sum;
    for (const PolynomialTerm& term : terms) {
      if (term.coefficient == 0) continue;
      sum.form.Add(Monomial(term.powers), term.coefficient);
      sum.ready = std::max(sum.ready, LevelOf(DegreeOf(term.powers)));
    }
    // Attention of a layer comes before its feed-forward network.
    if (sum.ready > 0) --sum.ready;
    sum.value = program_.AddValue({.kind = ProgramValue::Kind::kForm, .form = sum.form});
    return sum;
  }

  Value Max(const Value& a, const Value& b) {
    // The shorter form is kept, the longer one goes into the gate: less to add up.
    if (b.form.terms().size() < a.form.terms().size()) return Max(b, a);
    Form difference = b.form;
    difference.Add(a.form, -1);
    Value result = {a.form, std::max(a.ready, b.ready)};
    if (difference.terms().empty()) {
      const double more = std::max(difference.constant(), 0.0);
      result.form.Add(more);
      result.value = Sum(more, {{a.value, 1.0}});
      return result;
    }
    const size_t column = program_.NewColumn(), unit = program_.AddUnit(result.ready, std::move(difference));
    program_.AddFeedForward(result.ready, column, unit, 1.0);
    result.value = program_.AddValue({.kind = ProgramValue::Kind::kMax,
                                      .first = a.value,
                                      .second = b.value,
                                      .layer = result.ready,
                                      .unit = unit,
                                      .column = column});
    result.form.Add(column, 1.0);
    ++result.ready;
    return result;
  }

  size_t Sum(double constant, std::vector<std::pair<size_t, double>> parts) {
    return program_.AddValue(
        {.kind = ProgramValue::Kind::kSum, .constant = constant, .parts = std::move(parts)});
  }

  Value Scaled(Value value, double factor) {
    if (factor == 1) return value;
    value.form = value.form.Times(factor);
    value.value = Sum(0, {{value.value, factor}});
    return value;
  }

  Value ValueOf(const Expression& node) {
    Value result;
    if (node.kind == Expression::Kind::kPolynomial) {
      result = Polynomial(node.terms);
    } else if (node.kind == Expression::Kind::kSum) {
      std::vector<std::pair<size_t, double>> parts;
      for (const Expression& argument : node.arguments) {
        const Value value = ValueOf(argument);
        result.form.Add(value.form);
        result.ready = std::max(result.ready, value.ready);
        parts.push_back({value.value, 1.0});
      }
      result.value = Sum(0, std::move(parts));
    } else {
      const double sign = node.kind == Expression::Kind::kMin ? -1 : 1;
      std::vector<Value> queue;
      for (const Expression& argument : node.arguments) {
        queue.push_back(Scaled(ValueOf(argument), sign));
      }
      // The two that are ready first make the next: a balanced tree where all are ready at once.
      while (queue.size() > 1) {
        std::stable_sort(queue.begin(), queue.end(),
                         [](const Value& a, const Value& b) { return a.ready > b.ready; });
        std::vector<Value> next;
        const size_t ready = queue.back().ready;
        while (queue.size() > 1 && queue[queue.size() - 2].ready == ready) {
          const Value a = std::move(queue.back());
          queue.pop_back();
          next.push_back(Max(a, queue.back()));
          queue.pop_back();
        }
        if (next.empty()) {
          // One alone is ready: it waits for the next.
          queue.back().ready = queue[queue.size() - 2].ready;
          continue;
        }
        queue.insert(queue.begin(), next.begin(), next.end());
      }
      result = Scaled(std::move(queue.front()), sign);
    }
    return Scaled(std::move(result), node.scale);
  }

  const size_t variables_;
  Program program_;
  std::map<Powers, size_t> monomials_;  // of degree 2 and more: their columns
};

}  // namespace

Program CompileExpression(const ExpressionSpline& spline) {
  ExpressionBuilder builder(spline.variables);
  for (const Expression& output : spline.outputs) builder.AddOutput(output);
  return builder.Release();
}

}  // namespace splineserve
