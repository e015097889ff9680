#include "core/spline/compile/piecewise_program.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/spline/compile/degree_plan.h"

namespace splineserve {
namespace {

// Weights this small or large are normal float32 numbers, and their inverses, too.
constexpr double kSmallestScale = 0x1p-120, kLargestScale = 0x1p120;

absl::Status CheckScales(const std::vector<double>& knots) {
  for (size_t i = 0; i + 1 < knots.size(); ++i) {
    const double h = knots[i + 1] - knots[i];
    if (!(h >= kSmallestScale && h <= kLargestScale) || std::fabs(knots[i]) > kLargestScale ||
        std::fabs(knots[i + 1]) > kLargestScale) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "knots %.9g and %.9g: expected numbers up to %.2g that differ by %.2g or more, what float32 "
          "can work with: rescale the variable",
          knots[i], knots[i + 1], kLargestScale, kSmallestScale));
    }
  }
  return absl::OkStatus();
}

// A local variable and the bases of polynomials in it that are at hand. On a piece: Bernstein polynomials of
// t. Beyond an end: powers of the distance e from it in units of the end piece.
struct LocalVariable {
  bool beyond = false;
  size_t piece = 0;                             // of a local variable on a piece
  const std::vector<double>* powers = nullptr;  // beyond an end: BernsteinSpline::left or right
  std::map<size_t, std::vector<Form>> bases;    // by degree: its members, by index
};

class PiecewiseBuilder {
 public:
  PiecewiseBuilder(const BernsteinSpline& spline, RampSite site, size_t input,
                   const std::vector<size_t>& columns, Program& program)
      : spline_(spline), site_(site), input_(input), columns_(columns), program_(program) {}

  size_t Build(Extrapolation extrapolation, const std::vector<DegreeStep>& steps) {
    AddRamps(!steps.empty());
    if (extrapolation == Extrapolation::kPolynomial) {
      AddBeyond(spline_.left, spline_.knots.front(), 1, spline_.knots[1] - spline_.knots[0], !steps.empty());
      AddBeyond(spline_.right, spline_.knots.back(), -1,
                spline_.knots.back() - spline_.knots[spline_.pieces() - 1], !steps.empty());
    }
    for (size_t s = 0; s < steps.size(); ++s) {
      for (LocalVariable& variable : variables_) {
        if (s + 1 == steps.size()) {
          AddLastProducts(1 + s, steps[s], variable);
        } else {
          AddBasis(1 + s, steps[s], variable);
        }
      }
    }
    return std::max(ramp_layer() + 2, 1 + steps.size());
  }

 private:
  size_t ramp_layer() const { return site_ == RampSite::kAttention ? 0 : 1; }

  // column += weight * relu(sign * (knot - x)), for each of the targets.
  void AddDistance(double knot, double sign, const std::vector<std::pair<size_t, double>>& targets) {
    Form form(sign * knot);
    form.Add(input_, -sign);
    if (site_ == RampSite::kAttention) {
      const size_t value = program_.AddHead(0, std::move(form), Form(1.0));
      for (const auto& [column, weight] : targets) program_.AddAttention(0, column, value, weight);
    } else {
      const size_t unit = program_.AddUnit(0, std::move(form));
      for (const auto& [column, weight] : targets) program_.AddFeedForward(0, column, unit, weight);
    }
  }

  // Ramps, hats with the values at the knots, and the local variables of the pieces.
  void AddRamps(bool with_variables) {
    std::vector<size_t> ramps;
    for (size_t i = 0; i < spline_.pieces(); ++i) {
      const size_t distance = program_.NewColumn(), ramp = program_.NewColumn();
      AddDistance(spline_.knots[i + 1], 1, {{distance, 1.0}});
      Form form(1.0);
      form.Add(distance, -1 / (spline_.knots[i + 1] - spline_.knots[i]));
      program_.AddFeedForward(ramp_layer(), ramp, program_.AddUnit(ramp_layer(), std::move(form)), 1.0);
      ramps.push_back(ramp);
      if (!with_variables) continue;
      LocalVariable& variable = variables_.emplace_back();
      variable.piece = i;
      variable.bases[0] = {Form(1.0)};
      variable.bases[1] = {Form(1.0).Add(ramp, -1), Form::Of(ramp)};
    }
    for (size_t knot = 0; knot <= spline_.pieces(); ++knot) {
      Form hat = knot == 0 ? Form(1.0) : Form::Of(ramps[knot - 1]);
      if (knot < spline_.pieces()) hat.Add(ramps[knot], -1);
      const size_t unit = program_.AddUnit(ramp_layer() + 1, std::move(hat));
      for (size_t o = 0; o < spline_.outputs; ++o) {
        program_.AddFeedForward(ramp_layer() + 1, columns_[o], unit, spline_.knot_value(knot, o));
      }
    }
  }

  // The distance from an end, its linear part in the outputs, and its local variable.
  void AddBeyond(const std::vector<double>& powers, double knot, double sign, double h, bool with_variable) {
    std::vector<std::pair<size_t, double>> targets;
    if (powers.size() > spline_.outputs) {
      for (size_t o = 0; o < spline_.outputs; ++o)
        targets.push_back({columns_[o], powers[spline_.outputs + o] / h});
    }
    if (with_variable) {
      const size_t column = program_.NewColumn();
      targets.push_back({column, 1 / h});
      LocalVariable& variable = variables_.emplace_back();
      variable.beyond = true;
      variable.powers = &powers;
      variable.bases[0] = {Form(1.0)};
      variable.bases[1] = {Form(1.0), Form::Of(column)};
    }
    AddDistance(knot, sign, targets);
  }

  // How much of the product of three members the member of their sum is.
  static double Share(const LocalVariable& variable, const DegreeStep& step, size_t u, size_t v, size_t c) {
    if (variable.beyond) return 1;
    return Binomial(step.degree, u + v + c) /
           (Binomial(step.first, u) * Binomial(step.second, v) * Binomial(step.third, c));
  }

  // Heads for members [low, high] of the basis of step.degree; `write(member, value, share)` takes them.
  template <typename Write>
  void AddProducts(size_t layer, const DegreeStep& step, LocalVariable& variable, size_t low, size_t high,
                   const Write& write) {
    for (size_t next = low; next <= high;) {
      const size_t score = std::min(next, step.first + step.second);
      const size_t u = std::max(score - std::min(score, step.second), std::min(step.first, (score + 1) / 2));
      const size_t v = score - u;
      const size_t begin = next - score, end = std::min(step.third, high - score) + 1;
      ProgramHead head;
      head.query = {variable.bases[step.first][u]};
      head.key = {variable.bases[step.second][v]};
      for (size_t c = begin; c < end; ++c) head.value.push_back(variable.bases[step.third][c]);
      const size_t first = program_.AddHead(layer, std::move(head));
      for (size_t c = begin; c < end; ++c) {
        write(score + c, first + c - begin, Share(variable, step, u, v, c));
      }
      next = score + end;
    }
  }

  void AddBasis(size_t layer, const DegreeStep& step, LocalVariable& variable) {
    std::vector<Form> basis(step.degree + 1);
    size_t low = 0;
    if (variable.beyond) {
      basis[0] = variable.bases[1][0];
      basis[1] = variable.bases[1][1];
      low = 2;
    }
    AddProducts(layer, step, variable, low, step.degree, [&](size_t member, size_t value, double share) {
      const size_t column = program_.NewColumn();
      program_.AddAttention(layer, column, value, share);
      basis[member] = Form::Of(column);
    });
    variable.bases[step.degree] = std::move(basis);
  }

  // Straight into the outputs.
  void AddLastProducts(size_t layer, const DegreeStep& step, LocalVariable& variable) {
    const size_t degree = variable.beyond ? variable.powers->size() / spline_.outputs - 1 : step.degree - 1;
    AddProducts(layer, step, variable, variable.beyond ? 2 : 1, degree,
                [&](size_t member, size_t value, double share) {
                  for (size_t o = 0; o < spline_.outputs; ++o) {
                    program_.AddAttention(layer, columns_[o], value,
                                          share * Coefficient(variable, member, o));
                  }
                });
  }

  double Coefficient(const LocalVariable& variable, size_t member, size_t output) const {
    if (variable.beyond) return (*variable.powers)[member * spline_.outputs + output];
    // What is there beyond the straight line between the knots.
    const double share = static_cast<double>(member) / static_cast<double>(spline_.degree);
    return spline_.at(variable.piece, member, output) -
           ((1 - share) * spline_.knot_value(variable.piece, output) +
            share * spline_.knot_value(variable.piece + 1, output));
  }

  const BernsteinSpline& spline_;  // elevated to the degree of the last step
  const RampSite site_;
  const size_t input_;
  const std::vector<size_t>& columns_;
  Program& program_;
  std::vector<LocalVariable> variables_;
};

}  // namespace

absl::StatusOr<size_t> AddPiecewise(const BernsteinSpline& spline, Extrapolation extrapolation,
                                    RampSite ramp_site, size_t input, const std::vector<size_t>& columns,
                                    Program& program) {
  SPLINESERVE_RETURN_IF_ERROR(CheckScales(spline.knots));
  SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<DegreeStep> steps, PlanDegree(spline.degree));
  if (!steps.empty() && ramp_site == RampSite::kFeedForward) {
    return absl::InternalError("ramps of the feed-forward network are for degrees 0 and 1");
  }
  const size_t degree = steps.empty() ? std::max<size_t>(1, spline.degree) : steps.back().degree;
  const BernsteinSpline elevated = Elevated(spline, degree);
  return PiecewiseBuilder(elevated, ramp_site, input, columns, program).Build(extrapolation, steps);
}

absl::StatusOr<Program> CompilePiecewise(const BernsteinSpline& spline, Extrapolation extrapolation) {
  Program program(1);
  const std::vector<double> offsets = Offsets(spline.coefficients, spline.outputs);
  BernsteinSpline shifted = spline;
  for (size_t i = 0; i < shifted.coefficients.size(); ++i)
    shifted.coefficients[i] -= offsets[i % spline.outputs];
  std::vector<size_t> columns;
  for (const double offset : offsets) {
    columns.push_back(program.NewColumn());
    program.AddOutput(Form(offset).Add(columns.back(), 1));
  }
  const RampSite site = spline.degree <= 1 ? RampSite::kFeedForward : RampSite::kAttention;
  SPLINESERVE_RETURN_IF_ERROR(AddPiecewise(shifted, extrapolation, site, 0, columns, program).status());
  return program;
}

}  // namespace splineserve
