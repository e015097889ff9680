#include "core/spline/compile/compile.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/format/model_config.h"
#include "core/spline/compile/expression_program.h"
#include "core/spline/compile/piecewise_program.h"
#include "core/spline/compile/program_files.h"
#include "core/spline/compile/tensor_program.h"
#include "core/spline/spline_class.h"

namespace splineserve {
namespace {

// Compiling rounds coefficients in float64, and so does whoever evaluates the spline in it: a few hundred
// roundings of 2^-53 each at most, in proportion to what is added up.
constexpr double kFloat64Share = 0x1p-42;

// Boxes of an expression's domain are cut at 0, where monomials change their sign; not in more variables.
constexpr size_t kMaxSignVariables = 10;

// The same function without leading coefficients that are all zero.
PiecewisePolynomial Trimmed(PiecewisePolynomial spline) {
  const size_t row = spline.pieces() * spline.outputs;
  size_t zeros = 0;
  while (zeros < spline.degree * row && spline.coefficients[zeros] == 0) ++zeros;
  const size_t rows = std::min(zeros / row, spline.degree);
  spline.coefficients.erase(spline.coefficients.begin(),
                            spline.coefficients.begin() + static_cast<std::ptrdiff_t>(rows * row));
  spline.degree -= rows;
  return spline;
}

absl::StatusOr<std::vector<Interval>> Domain(std::vector<Interval> natural,
                                             const std::vector<Interval>& chosen) {
  if (chosen.empty()) return natural;
  if (chosen.size() != natural.size()) {
    return absl::InvalidArgumentError(absl::StrCat("domain: expected an interval for each of ",
                                                   natural.size(), " variables, found ", chosen.size()));
  }
  for (const Interval& side : chosen) {
    const double largest = std::numeric_limits<float>::max();
    if (!(side.low < side.high) || side.low < -largest || side.high > largest) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "domain: expected finite float32 numbers, the first less than the second, found %g:%g", side.low,
          side.high));
    }
  }
  return chosen;
}

// Limits of the boxes: one float32 number beyond the domain on both sides, and what lies between.
std::vector<std::vector<double>> Breaks(const std::vector<Interval>& domain,
                                        const std::vector<std::vector<double>>& inner) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<std::vector<double>> breaks(domain.size());
  for (size_t v = 0; v < domain.size(); ++v) {
    const double low = std::nextafter(static_cast<float>(domain[v].low), -kInfinity);
    const double high = std::nextafter(static_cast<float>(domain[v].high), kInfinity);
    breaks[v].push_back(low);
    for (const double x : inner[v]) {
      if (x > low && x < high) breaks[v].push_back(x);
    }
    breaks[v].push_back(high);
  }
  return breaks;
}

// Sum of absolute terms where the result of rounding them is in proportion to it.
double Magnitude(const Expression& node, const std::vector<Interval>& domain) {
  double sum = 0;
  for (const PolynomialTerm& term : node.terms) {
    double product = std::fabs(term.coefficient);
    for (size_t v = 0; v < domain.size(); ++v) {
      product *= std::pow(std::max(std::fabs(domain[v].low), std::fabs(domain[v].high)),
                          static_cast<int>(term.powers[v]));
    }
    sum += product;
  }
  for (const Expression& argument : node.arguments) sum += Magnitude(argument, domain);
  return std::fabs(node.scale) * sum;
}

std::vector<double> Magnitudes(const PiecewisePolynomial& spline, const std::vector<Interval>& domain) {
  std::vector<double> magnitudes(spline.outputs, 0.0);
  for (size_t i = 0; i < spline.pieces(); ++i) {
    double reach = spline.knots[i + 1] - spline.knots[i];
    if (i == 0) reach = std::max(reach, spline.knots[i] - domain[0].low);
    if (i + 1 == spline.pieces()) reach = std::max(reach, domain[0].high - spline.knots[i]);
    for (size_t o = 0; o < spline.outputs; ++o) {
      double sum = 0;
      for (size_t power = spline.degree + 1; power-- > 0;) {
        sum = sum * reach + std::fabs(spline.coefficient(power, i, o));
      }
      magnitudes[o] = std::max(magnitudes[o], sum);
    }
  }
  return magnitudes;
}

std::vector<double> Magnitudes(const TensorSpline& spline) {
  std::vector<double> magnitudes(spline.outputs, 0.0);
  for (size_t i = 0; i < spline.coefficients.size(); ++i) {
    double& magnitude = magnitudes[i % spline.outputs];
    magnitude = std::max(magnitude, std::fabs(spline.coefficients[i]));
  }
  return magnitudes;
}

// Refuses what is too large before a program of it is made: `parameters` is a lower bound of its size.
absl::Status CheckLeastSize(double parameters, const std::string& what, const CompileOptions& options) {
  const double bytes = parameters * static_cast<double>(SizeOf(options.dtype));
  if (bytes <= static_cast<double>(options.max_bytes)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "the encoder is too large: expected weights of at most %d bytes, found %s, which take %.2g bytes "
      "or more: take fewer knots, or raise the limit",
      options.max_bytes, what, bytes));
}

// What each kind contributes before the program is analysed.
struct Prepared {
  std::vector<std::vector<double>> breaks;
  std::vector<double> magnitudes;  // that rounding in float64 is in proportion to
};

absl::StatusOr<Prepared> Prepare(const PiecewisePolynomial& source, const CompileOptions& options,
                                 CompiledSpline* result) {
  SPLINESERVE_ASSIGN_OR_RETURN(const JoinReport joins,
                               CheckPiecewisePolynomial(source, options.join_tolerance));
  // Three layers of feed-forward networks with a unit a piece, or two with attention, in a row twice as wide.
  size_t pieces = 0;  // those that are not empty
  for (size_t i = 0; i < source.pieces(); ++i) pieces += source.knots[i] < source.knots[i + 1] ? 1 : 0;
  SPLINESERVE_RETURN_IF_ERROR(CheckLeastSize(12 * static_cast<double>(pieces) * static_cast<double>(pieces),
                                             absl::StrCat(pieces, " pieces"), options));
  const PiecewisePolynomial spline = Trimmed(source);
  SPLINESERVE_ASSIGN_OR_RETURN(result->domain,
                               Domain({{spline.knots.front(), spline.knots.back()}}, options.domain));
  const BernsteinSpline bernstein = ToBernstein(spline);
  SPLINESERVE_ASSIGN_OR_RETURN(result->program, CompilePiecewise(bernstein, options.extrapolation));
  result->knots = {bernstein.knots};
  result->degree = spline.degree;
  result->largest_jump = joins.largest_jump;
  return Prepared{Breaks(result->domain, result->knots), Magnitudes(spline, result->domain)};
}

// A head for every basis function, or pair of them, of all variables but the one with the most of them, in a
// row with a column for each; three layers of four maps.
double LeastSize(const TensorSpline& spline) {
  double heads = 1, most = 0, columns = 0;
  for (size_t v = 0; v < spline.variables(); ++v) {
    const double count = static_cast<double>(spline.count(v));
    heads *= count;
    columns += count;
    most = std::max(most, count);
  }
  return 12 * (heads / most) * columns;
}

absl::StatusOr<Prepared> Prepare(const TensorSpline& spline, const CompileOptions& options,
                                 CompiledSpline* result) {
  SPLINESERVE_RETURN_IF_ERROR(CheckTensorSpline(spline));
  std::vector<Interval> natural;
  for (size_t v = 0; v < spline.variables(); ++v) {
    natural.push_back({spline.low(v), spline.high(v)});
    result->knots.push_back(DistinctKnots(spline, v));
    result->degree += spline.degrees[v];
  }
  SPLINESERVE_RETURN_IF_ERROR(CheckLeastSize(LeastSize(spline), "these knots", options));
  SPLINESERVE_ASSIGN_OR_RETURN(result->domain, Domain(natural, options.domain));
  SPLINESERVE_ASSIGN_OR_RETURN(result->program, CompileTensor(spline, options.extrapolation));
  return Prepared{Breaks(result->domain, result->knots), Magnitudes(spline)};
}

absl::StatusOr<Prepared> Prepare(const ExpressionSpline& spline, const CompileOptions& options,
                                 CompiledSpline* result) {
  SPLINESERVE_RETURN_IF_ERROR(CheckExpression(spline));
  SPLINESERVE_ASSIGN_OR_RETURN(result->domain,
                               Domain(std::vector<Interval>(spline.variables, {-1, 1}), options.domain));
  result->program = CompileExpression(spline);
  result->degree = Degree(spline);
  Prepared prepared;
  const std::vector<double> zero(spline.variables <= kMaxSignVariables ? 1 : 0, 0.0);
  prepared.breaks = Breaks(result->domain, std::vector<std::vector<double>>(spline.variables, zero));
  for (const Expression& output : spline.outputs)
    prepared.magnitudes.push_back(Magnitude(output, result->domain));
  return prepared;
}

}  // namespace

size_t Variables(const SplineSource& source) {
  if (const auto* tensor = std::get_if<TensorSpline>(&source)) return tensor->variables();
  if (const auto* expression = std::get_if<ExpressionSpline>(&source)) return expression->variables;
  return 1;
}

size_t Outputs(const SplineSource& source) {
  if (const auto* tensor = std::get_if<TensorSpline>(&source)) return tensor->outputs;
  if (const auto* expression = std::get_if<ExpressionSpline>(&source)) return expression->outputs.size();
  return std::get<PiecewisePolynomial>(source).outputs;
}

std::vector<double> Evaluate(const SplineSource& source, Extrapolation extrapolation,
                             absl::Span<const double> point) {
  if (const auto* tensor = std::get_if<TensorSpline>(&source)) return Evaluate(*tensor, extrapolation, point);
  if (const auto* expression = std::get_if<ExpressionSpline>(&source)) return Evaluate(*expression, point);
  return Evaluate(std::get<PiecewisePolynomial>(source), extrapolation, point[0]);
}

absl::StatusOr<CompiledSpline> CompileSpline(const SplineSource& source, const CompileOptions& options) {
  CompiledSpline result;
  SPLINESERVE_ASSIGN_OR_RETURN(
      Prepared prepared,
      std::visit([&](const auto& spline) { return Prepare(spline, options, &result); }, source));
  result.sizes = result.program.sizes();
  SPLINESERVE_RETURN_IF_ERROR(CheckProgramSize(result.program, options.dtype, options.max_bytes));
  SPLINESERVE_ASSIGN_OR_RETURN(
      const DomainBound bound,
      BoundOverDomain(result.program, std::move(prepared.breaks), options.bound_work));
  for (size_t o = 0; o < bound.error.size(); ++o) {
    const double float64 = kFloat64Share * (prepared.magnitudes[o] + bound.magnitude[o]);
    result.error_bound.push_back(bound.error[o] + float64 + result.largest_jump);
    result.magnitude.push_back(bound.magnitude[o]);
  }
  SPLINESERVE_ASSIGN_OR_RETURN(result.files, ToModelFiles(result.program, options.dtype, options.max_bytes));
  SPLINESERVE_ASSIGN_OR_RETURN(const ModelConfig config,
                               ParseModelConfig(result.files.at("config.json"), "config.json"));
  result.degree_bound = DegreeBound(config);
  const std::string& weights = result.files.at("model.safetensors");
  SPLINESERVE_ASSIGN_OR_RETURN(
      const std::vector<TensorView> tensors,
      ParseSafetensors({reinterpret_cast<const uint8_t*>(weights.data()), weights.size()},
                       "model.safetensors"));
  for (const TensorView& tensor : tensors) result.parameters += tensor.elements();
  return result;
}

}  // namespace splineserve
