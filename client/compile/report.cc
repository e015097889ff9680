#include "client/compile/report.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

namespace splineserve::client {
namespace {

const char* KindOf(const SplineSource& source) {
  if (std::holds_alternative<TensorSpline>(source)) {
    return Variables(source) == 1 ? "B-splines" : "tensor product of B-splines";
  }
  return std::holds_alternative<ExpressionSpline>(source) ? "max-min expression of polynomials"
                                                          : "piecewise polynomial";
}

const char* NameOf(Extrapolation extrapolation) {
  return extrapolation == Extrapolation::kConstant ? "constant" : "polynomial";
}

std::string Count(size_t count, const std::string& noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::string PointText(const std::vector<float>& point) {
  std::vector<std::string> numbers;
  for (const float x : point) numbers.push_back(absl::StrFormat("%.9g", x));
  return point.size() == 1 ? numbers[0] : absl::StrCat("(", absl::StrJoin(numbers, ", "), ")");
}

std::string DomainText(const std::vector<Interval>& domain) {
  std::vector<std::string> sides;
  constexpr size_t kShown = 4;
  for (size_t v = 0; v < std::min(domain.size(), kShown); ++v) {
    sides.push_back(absl::StrFormat("[%g, %g]", domain[v].low, domain[v].high));
  }
  if (domain.size() > kShown) sides.push_back(absl::StrFormat("... (%d variables)", domain.size()));
  return absl::StrJoin(sides, " x ");
}

std::string SizeText(size_t bytes) {
  if (bytes < 100'000) return absl::StrFormat("%.1f kB", static_cast<double>(bytes) / 1e3);
  return absl::StrFormat("%.2f MB", static_cast<double>(bytes) / 1e6);
}

std::string PiecesText(const CompiledSpline& compiled) {
  std::vector<size_t> pieces;
  for (const std::vector<double>& knots : compiled.knots) pieces.push_back(knots.size() - 1);
  return absl::StrJoin(pieces, " x ");
}

}  // namespace

std::string ReportText(const Report& report) {
  const CompiledSpline& compiled = report.compiled;
  const ModelCheck& check = report.check;
  const ProgramSizes& sizes = compiled.sizes;
  std::string text;
  const auto line = [&text](const char* title, const std::string& contents) {
    absl::StrAppendFormat(&text, "%-14s %s\n", title, contents);
  };
  line("model", report.directory);
  line("digest", check.digest);
  std::string spline = absl::StrCat(KindOf(report.source), ", ", Count(Variables(report.source), "variable"),
                                    ", ", Count(Outputs(report.source), "output"));
  if (!compiled.knots.empty()) {
    const std::string pieces = PiecesText(compiled);
    absl::StrAppend(&spline, ", ", pieces, pieces == "1" ? " piece" : " pieces");
  }
  line("spline", spline);
  if (!compiled.knots.empty()) {
    line("beyond knots", report.extrapolation == Extrapolation::kConstant
                             ? "the value at the nearest point inside"
                             : "the end pieces go on");
  }
  line("degree", absl::StrCat(compiled.degree, " (", Count(sizes.layers, "layer"),
                              sizes.layers == 1 ? " allows " : " allow ", compiled.degree_bound, ")"));
  line("layers", absl::StrCat(sizes.layers));
  line("width", absl::StrCat(sizes.hidden_size, ", feed-forward ", sizes.intermediate_size));
  line("heads", absl::StrCat(sizes.heads, " of ", sizes.head_dim));
  line("size", absl::StrCat(compiled.parameters, " numbers, ",
                            SizeText(compiled.files.at("model.safetensors").size())));
  const auto worst = std::max_element(compiled.error_bound.begin(), compiled.error_bound.end());
  const size_t output = static_cast<size_t>(worst - compiled.error_bound.begin());
  line("error bound",
       absl::StrFormat("%.3g on %s%s, where |output| <= %.6g", *worst, DomainText(compiled.domain),
                       compiled.error_bound.size() == 1 ? "" : absl::StrCat(" (output ", output, ")"),
                       compiled.magnitude[output]));
  std::string checked = Count(check.random_points, "random point");
  if (check.knots > 0) {
    absl::StrAppend(&checked, ", and at, below and above ", Count(check.knots, "knot"), " (",
                    Count(check.knot_points, "point"), ")");
  }
  line("checked", checked);
  line("largest error",
       absl::StrFormat("%.3g at %s, %.0f %% of the bound%s", check.error, PointText(check.point),
                       check.bound > 0 ? 100 * check.error / check.bound : 0.0,
                       compiled.error_bound.size() == 1
                           ? ""
                           : absl::StrFormat(" %.3g of output %d", check.bound, check.output)));
  return text;
}

std::string ReportJson(const Report& report) {
  const CompiledSpline& compiled = report.compiled;
  const ModelCheck& check = report.check;
  const ProgramSizes& sizes = compiled.sizes;
  nlohmann::ordered_json json = {{"input", report.input},
                                 {"model", report.directory},
                                 {"digest", check.digest},
                                 {"kind", KindOf(report.source)},
                                 {"variables", Variables(report.source)},
                                 {"outputs", Outputs(report.source)}};
  if (!compiled.knots.empty()) {
    for (const std::vector<double>& knots : compiled.knots) json["pieces"].push_back(knots.size() - 1);
    json["extrapolation"] = NameOf(report.extrapolation);
  }
  json["degree"] = compiled.degree;
  json["degree_bound"] = compiled.degree_bound;
  json["layers"] = sizes.layers;
  json["hidden_size"] = sizes.hidden_size;
  json["intermediate_size"] = sizes.intermediate_size;
  json["heads"] = sizes.heads;
  json["head_dim"] = sizes.head_dim;
  json["parameters"] = compiled.parameters;
  json["weight_bytes"] = compiled.files.at("model.safetensors").size();
  for (const Interval& side : compiled.domain) json["domain"].push_back({side.low, side.high});
  json["error_bound"] = compiled.error_bound;
  json["magnitude"] = compiled.magnitude;
  json["check"] = {{"random_points", check.random_points},
                   {"knots", check.knots},
                   {"knot_points", check.knot_points},
                   {"largest_error", check.largest_error},
                   {"nearest_to_bound",
                    {{"point", check.point},
                     {"output", check.output},
                     {"expected", check.expected},
                     {"found", check.found},
                     {"error", check.error},
                     {"bound", check.bound}}}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string FailureText(const ModelCheck& check) {
  return absl::StrFormat(
      "the model is not the spline: output %d at %s: expected %.9g within %.3g, found %.9g, an error of "
      "%.3g. Nothing "
      "was written.",
      check.output, PointText(check.point), check.expected, check.bound, check.found, check.error);
}

}  // namespace splineserve::client
