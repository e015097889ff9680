#include "core/spline/compile/spline_file.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/format/json.h"
#include "core/format/npy.h"
#include "core/format/untrusted_text.h"
#include "core/spline/compile/degree_plan.h"

namespace splineserve {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kZipMagic = "PK\x03\x04";
constexpr size_t kMaxJsonValues = 20'000'000;
// Of JSON: an expression takes two levels, arrays in the innermost polynomial a few more.
constexpr size_t kMaxJsonDepth = 2 * kMaxExpressionDepth + 8;
constexpr size_t kMaxAxes = 32;

// What an array-like thing is, whichever file it came from. `knots`: t, a list for each variable.
struct Arrays {
  std::map<std::string, NumericArray> plain;
  std::vector<NumericArray> knots;
};

std::string Keys(const std::set<std::string>& keys) {
  std::vector<std::string> shown;
  for (const std::string& key : keys) shown.push_back(Excerpt(key));
  return keys.empty() ? "none" : absl::StrJoin(shown, ", ");
}

absl::Status KeysError(std::string_view file, const std::set<std::string>& keys) {
  return FileError(
      file, absl::StrCat("expected the keys x and c (a piecewise polynomial), t, k and c (B-splines), or "
                         "variables and outputs (a max-min expression, JSON only), found ",
                         Keys(keys)));
}

absl::Status CheckAxes(std::string_view file, std::string_view name, const NumericArray& array,
                       size_t least) {
  if (array.shape.size() >= least) return absl::OkStatus();
  return FileError(file, absl::StrCat(std::string(name), ": expected an array of at least ", least,
                                      " axes, found shape ", ShapeString(array.shape)));
}

// Elements of the axes from `first` on.
size_t Trailing(const NumericArray& array, size_t first) {
  size_t elements = 1;
  for (size_t axis = first; axis < array.shape.size(); ++axis) elements *= array.shape[axis];
  return elements;
}

absl::StatusOr<SplineSource> PiecewiseOf(const Arrays& arrays, std::string_view file) {
  const NumericArray& x = arrays.plain.at("x");
  const NumericArray& c = arrays.plain.at("c");
  SPLINESERVE_RETURN_IF_ERROR(CheckAxes(file, "c", c, 2));
  if (x.shape.size() != 1) {
    return FileError(file, absl::StrCat("x: expected a list of knots, found shape ", ShapeString(x.shape)));
  }
  if (x.values.size() < 2) {
    return FileError(file, absl::StrCat("x: expected at least 2 knots, found ", x.values.size()));
  }
  if (c.shape[0] < 1 || c.shape[1] != x.values.size() - 1 || c.values.empty()) {
    return FileError(file, absl::StrCat("c: expected the shape [k + 1, ", x.values.size() - 1,
                                        ", ...], a piece between two knots, found ", ShapeString(c.shape)));
  }
  return PiecewisePolynomial{x.values, c.shape[0] - 1, Trailing(c, 2), c.values};
}

absl::StatusOr<SplineSource> TensorOf(const Arrays& arrays, std::string_view file) {
  const NumericArray& k = arrays.plain.at("k");
  const NumericArray& c = arrays.plain.at("c");
  TensorSpline spline;
  for (const NumericArray& knots : arrays.knots) spline.knots.push_back(knots.values);
  if (spline.variables() < 1 || spline.variables() > kMaxTensorVariables) {
    return FileError(file, absl::StrCat("t: expected knots for 1 to ", kMaxTensorVariables,
                                        " variables, found ", spline.variables()));
  }
  if (k.values.empty() || k.shape.size() > 1 || (!k.shape.empty() && k.values.size() != spline.variables())) {
    return FileError(file, absl::StrCat("k: expected a degree, or one for each of ", spline.variables(),
                                        " variables, found shape ", ShapeString(k.shape)));
  }
  for (size_t v = 0; v < spline.variables(); ++v) {
    const double degree = k.values[k.shape.empty() ? 0 : v];
    if (!(degree >= 0 && degree <= kMaxSplineDegree) || degree != std::floor(degree)) {
      return FileError(file, absl::StrFormat("k: expected whole numbers from 0 to %d, found %g",
                                             kMaxSplineDegree, degree));
    }
    spline.degrees.push_back(static_cast<size_t>(degree));
    if (spline.knots[v].size() < 2 * spline.degrees[v] + 2) {
      return FileError(file,
                       absl::StrCat("t[", v, "]: expected at least 2 k + 2 = ", 2 * spline.degrees[v] + 2,
                                    " knots, found ", spline.knots[v].size()));
    }
  }
  SPLINESERVE_RETURN_IF_ERROR(CheckAxes(file, "c", c, spline.variables()));
  std::vector<size_t> expected;
  for (size_t v = 0; v < spline.variables(); ++v) expected.push_back(spline.count(v));
  if (c.values.empty() || !std::equal(expected.begin(), expected.end(), c.shape.begin())) {
    return FileError(file, absl::StrCat("c: expected the shape ", ShapeString(expected),
                                        " and any further axes, len(t) - k - 1 in each variable, found ",
                                        ShapeString(c.shape)));
  }
  spline.outputs = Trailing(c, spline.variables());
  spline.coefficients = c.values;
  return spline;
}

// Appends nested lists of numbers, all equally long at each level.
absl::Status AppendNumbers(const Json& json, const std::string& place, size_t axis, NumericArray* array) {
  if (json.is_number()) {
    if (axis != array->shape.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": expected a list, as its neighbours are, found a number"));
    }
    array->values.push_back(json.get<double>());
    return absl::OkStatus();
  }
  if (!json.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": expected numbers or lists of numbers, found ", Shown(json)));
  }
  if (axis == array->shape.size()) {
    if (!array->values.empty() || axis == kMaxAxes) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": expected a number, found ", Shown(json)));
    }
    array->shape.push_back(json.size());
  }
  if (json.size() != array->shape[axis]) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": expected a list of ", array->shape[axis],
                                                   ", as long as its neighbours, found ", Shown(json)));
  }
  for (size_t i = 0; i < json.size(); ++i) {
    SPLINESERVE_RETURN_IF_ERROR(AppendNumbers(json[i], absl::StrCat(place, "[", i, "]"), axis + 1, array));
  }
  return absl::OkStatus();
}

absl::StatusOr<NumericArray> ArrayOf(const Json& json, const std::string& place, std::string_view file) {
  NumericArray array;
  if (const absl::Status status = AppendNumbers(json, place, 0, &array); !status.ok()) {
    return FileError(file, std::string(status.message()));
  }
  return array;
}

class ExpressionReader {
 public:
  ExpressionReader(std::string_view file, size_t variables) : file_(file), variables_(variables) {}

  absl::StatusOr<Expression> Read(const Json& json, const std::string& place, size_t depth) const {
    if (depth > kMaxExpressionDepth) {
      return FileError(file_, absl::StrCat(place, ": expected expressions nested at most ",
                                           kMaxExpressionDepth, " deep, found deeper"));
    }
    Expression node;
    if (json.is_number()) {
      node.terms.push_back({json.get<double>(), std::vector<uint32_t>(variables_, 0)});
      return node;
    }
    if (!json.is_object() || json.size() != 1) return Refused(place, json);
    const std::string& key = json.begin().key();
    const Json& value = json.begin().value();
    const std::string inner = absl::StrCat(place, ".", Excerpt(key));
    if (key == "polynomial") return ReadPolynomial(value, inner);
    if (key == "scale") {
      if (!value.is_array() || value.size() != 2 || !value[0].is_number()) {
        return FileError(file_,
                         absl::StrCat(inner, ": expected a number and an expression, found ", Shown(value)));
      }
      SPLINESERVE_ASSIGN_OR_RETURN(node, Read(value[1], inner + "[1]", depth + 1));
      node.scale *= value[0].get<double>();
      return node;
    }
    if (key == "max") {
      node.kind = Expression::Kind::kMax;
    } else if (key == "min") {
      node.kind = Expression::Kind::kMin;
    } else if (key == "sum") {
      node.kind = Expression::Kind::kSum;
    } else {
      return Refused(place, json);
    }
    if (!value.is_array() || value.empty()) {
      return FileError(
          file_, absl::StrCat(inner, ": expected a list of at least one expression, found ", Shown(value)));
    }
    for (size_t i = 0; i < value.size(); ++i) {
      SPLINESERVE_ASSIGN_OR_RETURN(node.arguments.emplace_back(),
                                   Read(value[i], absl::StrCat(inner, "[", i, "]"), depth + 1));
    }
    return node;
  }

 private:
  absl::Status Refused(const std::string& place, const Json& json) const {
    return FileError(file_,
                     absl::StrCat(place,
                                  ": expected a number or an object with one of polynomial, max, min, sum "
                                  "and scale, found ",
                                  json.is_object() && json.size() == 1
                                      ? absl::StrCat("\"", Excerpt(json.begin().key()), "\"")
                                      : Shown(json)));
  }

  absl::StatusOr<Expression> ReadPolynomial(const Json& json, const std::string& place) const {
    Expression node;
    const auto terms = json.is_object() ? json.find("terms") : json.end();
    if (!json.is_object() || json.size() != 1 || terms == json.end() || !terms->is_array()) {
      return FileError(file_, absl::StrCat(place, ": expected {\"terms\": [...]}, found ", Shown(json)));
    }
    for (size_t i = 0; i < terms->size(); ++i) {
      SPLINESERVE_ASSIGN_OR_RETURN(node.terms.emplace_back(),
                                   ReadTerm((*terms)[i], absl::StrCat(place, ".terms[", i, "]")));
    }
    return node;
  }

  absl::StatusOr<PolynomialTerm> ReadTerm(const Json& json, const std::string& place) const {
    if (!json.is_object() || json.size() != 2 || !json.contains("coefficient") || !json.contains("powers")) {
      return FileError(file_, absl::StrCat(place, ": expected an object with coefficient and powers, found ",
                                           Shown(json)));
    }
    const Json& coefficient = json.at("coefficient");
    const Json& powers = json.at("powers");
    if (!coefficient.is_number()) {
      return FileError(file_,
                       absl::StrCat(place, ".coefficient: expected a number, found ", Shown(coefficient)));
    }
    if (!powers.is_array() || powers.size() != variables_) {
      return FileError(file_, absl::StrCat(place, ".powers: expected a list of ", variables_,
                                           ", one for each variable, found ", Shown(powers)));
    }
    PolynomialTerm term = {coefficient.get<double>(), {}};
    for (const Json& power : powers) {
      if (!power.is_number_unsigned() || power.get<uint64_t>() > kMaxExpressionDegree) {
        return FileError(file_, absl::StrCat(place, ".powers: expected whole numbers from 0 to ",
                                             kMaxExpressionDegree, ", found ", Shown(power)));
      }
      term.powers.push_back(power.get<uint32_t>());
    }
    return term;
  }

  const std::string_view file_;
  const size_t variables_;
};

absl::StatusOr<SplineSource> ExpressionOf(const Json& root, std::string_view file) {
  const Json& variables = root.at("variables");
  const Json& outputs = root.at("outputs");
  if (!variables.is_number_unsigned() || variables.get<uint64_t>() < 1 ||
      variables.get<uint64_t>() > kMaxExpressionVariables) {
    return FileError(file, absl::StrCat("variables: expected a whole number from 1 to ",
                                        kMaxExpressionVariables, ", found ", Shown(variables)));
  }
  if (!outputs.is_array() || outputs.empty()) {
    return FileError(
        file, absl::StrCat("outputs: expected a list of at least one expression, found ", Shown(outputs)));
  }
  ExpressionSpline spline = {variables.get<size_t>(), {}};
  const ExpressionReader reader(file, spline.variables);
  for (size_t o = 0; o < outputs.size(); ++o) {
    SPLINESERVE_ASSIGN_OR_RETURN(spline.outputs.emplace_back(),
                                 reader.Read(outputs[o], absl::StrCat("outputs[", o, "]"), 1));
  }
  return spline;
}

absl::StatusOr<SplineSource> ParseJsonSpline(std::string_view text, std::string_view file) {
  if (text.size() > kMaxSplineJsonBytes) {
    return FileError(file,
                     absl::StrCat("expected at most ", kMaxSplineJsonBytes, " bytes, found ", text.size()));
  }
  SPLINESERVE_ASSIGN_OR_RETURN(const Json root, ParseJson(text, file, kMaxJsonDepth, kMaxJsonValues));
  if (!root.is_object()) return FileError(file, absl::StrCat("expected a JSON object, found ", Shown(root)));
  std::set<std::string> keys;
  for (const auto& item : root.items()) keys.insert(item.key());
  if (keys == std::set<std::string>{"variables", "outputs"}) return ExpressionOf(root, file);
  Arrays arrays;
  const bool piecewise = keys == std::set<std::string>{"x", "c"};
  if (!piecewise && keys != std::set<std::string>{"t", "k", "c"}) return KeysError(file, keys);
  for (const char* name : {"x", "k", "c"}) {
    if (keys.count(name) == 0) continue;
    SPLINESERVE_ASSIGN_OR_RETURN(arrays.plain[name], ArrayOf(root.at(name), name, file));
  }
  if (piecewise) return PiecewiseOf(arrays, file);
  const Json& t = root.at("t");
  const bool lists = t.is_array() && !t.empty() && t[0].is_array();
  for (size_t v = 0; v < (lists ? t.size() : 1); ++v) {
    const std::string place = lists ? absl::StrCat("t[", v, "]") : "t";
    SPLINESERVE_ASSIGN_OR_RETURN(const NumericArray knots, ArrayOf(lists ? t[v] : t, place, file));
    if (knots.shape.size() != 1) {
      return FileError(
          file, absl::StrCat(place, ": expected a list of knots, found shape ", ShapeString(knots.shape)));
    }
    arrays.knots.push_back(knots);
  }
  return TensorOf(arrays, file);
}

absl::StatusOr<SplineSource> ParseNpzSpline(std::string_view bytes, std::string_view file) {
  SPLINESERVE_ASSIGN_OR_RETURN(auto members, ParseNpz(bytes, file));
  std::set<std::string> keys;
  for (const auto& [name, array] : members) keys.insert(name);
  Arrays arrays;
  arrays.plain = std::move(members);
  if (keys == std::set<std::string>{"x", "c"}) return PiecewiseOf(arrays, file);
  std::set<std::string> rest = keys;
  std::vector<std::string> names;
  for (size_t v = 0; v <= kMaxTensorVariables && rest.count(absl::StrCat("t", v)) > 0; ++v) {
    names.push_back(absl::StrCat("t", v));
    rest.erase(names.back());
  }
  if (names.empty() && rest.erase("t") > 0) names.push_back("t");
  if (names.empty() || rest != std::set<std::string>{"k", "c"}) return KeysError(file, keys);
  for (const std::string& name : names) {
    const NumericArray& t = arrays.plain.at(name);
    if (name == "t" && t.shape.size() == 2) {
      for (size_t v = 0; v < t.shape[0]; ++v) {
        const auto begin = t.values.begin() + static_cast<std::ptrdiff_t>(v * t.shape[1]);
        arrays.knots.push_back({{t.shape[1]}, {begin, begin + static_cast<std::ptrdiff_t>(t.shape[1])}});
      }
    } else if (t.shape.size() != 1) {
      return FileError(file,
                       absl::StrCat(name, ": expected a list of knots, found shape ", ShapeString(t.shape)));
    } else {
      arrays.knots.push_back(t);
    }
  }
  return TensorOf(arrays, file);
}

}  // namespace

absl::StatusOr<SplineSource> ParseSplineFile(std::string_view bytes, std::string_view file) {
  if (bytes.substr(0, kZipMagic.size()) == kZipMagic) return ParseNpzSpline(bytes, file);
  return ParseJsonSpline(bytes, file);
}

}  // namespace splineserve
