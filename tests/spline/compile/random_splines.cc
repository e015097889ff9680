#include "tests/spline/compile/random_splines.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace splineserve::testing {
namespace {

double LogUniform(Random* random, double low, double high) {
  return low * std::pow(high / low, random->Uniform());
}

// Increasing numbers.
std::vector<double> RandomKnots(Random* random, size_t count) {
  const double unit = LogUniform(random, 1e-3, 1e3);
  double x = random->Chance(0.5) ? 0 : unit * 200 * (random->Uniform() - 0.5);
  if (random->Chance(0.3)) x = std::round(x);
  std::vector<double> knots = {x};
  while (knots.size() < count) knots.push_back(knots.back() + unit * LogUniform(random, 0.05, 5));
  return knots;
}

double BasisValue(const std::vector<double>& t, size_t i, size_t k, size_t mu, double x) {
  if (k == 0) return i == mu ? 1 : 0;
  double value = 0;
  if (t[i + k] > t[i]) value += (x - t[i]) / (t[i + k] - t[i]) * BasisValue(t, i, k - 1, mu, x);
  if (t[i + k + 1] > t[i + 1]) {
    value += (t[i + k + 1] - x) / (t[i + k + 1] - t[i + 1]) * BasisValue(t, i + 1, k - 1, mu, x);
  }
  return value;
}

// Values of all basis functions of a variable.
std::vector<double> BasisValues(const TensorSpline& spline, size_t v, Extrapolation extrapolation, double x) {
  const std::vector<double>& t = spline.knots[v];
  const size_t k = spline.degrees[v], n = t.size() - k - 1;
  if (extrapolation == Extrapolation::kConstant) x = std::min(std::max(x, t[k]), t[n]);
  size_t mu = k;
  while (t[mu + 1] == t[mu]) ++mu;  // the first piece
  for (size_t i = k; i < n; ++i) {
    if (t[i] < t[i + 1] && t[i] <= x) mu = i;
  }
  std::vector<double> values;
  for (size_t i = 0; i < n; ++i) values.push_back(BasisValue(t, i, k, mu, x));
  return values;
}

Expression RandomNode(Random* random, size_t variables, size_t depth, size_t degree) {
  Expression node;
  if (random->Chance(0.3)) node.scale = 2 * random->Uniform() - 1;
  if (depth == 0 || random->Chance(0.2)) {
    const size_t terms = random->Between(0, 5);
    for (size_t i = 0; i < terms; ++i) {
      PolynomialTerm term = {random->Normal(), std::vector<uint32_t>(variables, 0)};
      for (size_t d = random->Between(0, degree); d > 0; --d)
        ++term.powers[random->Between(0, variables - 1)];
      node.terms.push_back(term);
    }
    return node;
  }
  node.kind =
      random->Pick<Expression::Kind>({Expression::Kind::kMax, Expression::Kind::kMin, Expression::Kind::kMax,
                                      Expression::Kind::kMin, Expression::Kind::kSum});
  const size_t count = random->Between(1, 5);
  for (size_t i = 0; i < count; ++i) {
    node.arguments.push_back(RandomNode(random, variables, depth - 1, degree));
  }
  return node;
}

double NodeValue(const Expression& node, const std::vector<double>& point) {
  std::vector<double> values;
  for (const PolynomialTerm& term : node.terms) {
    double product = term.coefficient;
    for (size_t v = 0; v < point.size(); ++v) {
      for (uint32_t i = 0; i < term.powers[v]; ++i) product *= point[v];
    }
    values.push_back(product);
  }
  for (const Expression& argument : node.arguments) values.push_back(NodeValue(argument, point));
  double value = 0;
  if (node.kind == Expression::Kind::kMax) {
    value = *std::max_element(values.begin(), values.end());
  } else if (node.kind == Expression::Kind::kMin) {
    value = *std::min_element(values.begin(), values.end());
  } else {
    for (const double x : values) value += x;
  }
  return node.scale * value;
}

double NodeScale(const Expression& node, const std::vector<Interval>& domain) {
  double sum = 0;
  for (const PolynomialTerm& term : node.terms) {
    double product = std::fabs(term.coefficient);
    for (size_t v = 0; v < domain.size(); ++v) {
      product *= std::pow(std::max(std::fabs(domain[v].low), std::fabs(domain[v].high)), term.powers[v]);
    }
    sum += product;
  }
  for (const Expression& argument : node.arguments) sum += NodeScale(argument, domain);
  return std::fabs(node.scale) * sum;
}

// An empty piece before `piece`, which joins and else is what it likes.
void InsertEmptyPiece(Random* random, size_t piece, PiecewisePolynomial* spline) {
  const PiecewisePolynomial old = *spline;
  const double knot = old.knots[piece];
  spline->knots.insert(spline->knots.begin() + static_cast<std::ptrdiff_t>(piece), knot);
  spline->coefficients.clear();
  for (size_t power = old.degree + 1; power-- > 0;) {
    for (size_t i = 0; i < spline->pieces(); ++i) {
      for (size_t o = 0; o < old.outputs; ++o) {
        double c = 0;
        if (i != piece) {
          c = old.coefficient(power, i < piece ? i : i - 1, o);
        } else if (power > 0) {
          c = random->Normal();
        } else if (piece < old.pieces()) {
          c = old.coefficient(0, piece, o);
        } else {
          const double h = knot - old.knots[piece - 1];
          for (size_t j = old.degree + 1; j-- > 0;) c = c * h + old.coefficient(j, piece - 1, o);
        }
        spline->coefficients.push_back(c);
      }
    }
  }
}

}  // namespace

PiecewisePolynomial RandomPiecewise(Random* random) {
  PiecewisePolynomial spline;
  spline.knots = RandomKnots(random, random->Between(2, 13));
  spline.degree = random->Chance(0.7) ? random->Between(0, 5) : random->Between(6, 11);
  spline.outputs = random->Between(1, 3);
  const size_t pieces = spline.pieces(), k = spline.degree;
  spline.coefficients.resize((k + 1) * pieces * spline.outputs);
  for (size_t o = 0; o < spline.outputs; ++o) {
    const double size = LogUniform(random, 1e-3, 1e3);
    double value = size * random->Normal() * (random->Chance(0.3) ? 100 : 1);
    for (size_t i = 0; i < pieces; ++i) {
      const double h = spline.knots[i + 1] - spline.knots[i];
      double end = 0;
      for (size_t j = k + 1; j-- > 0;) {
        const double c = j == 0 ? value : random->Chance(0.1) ? 0 : size * random->Normal() / std::pow(h, j);
        spline.coefficients[((k - j) * pieces + i) * spline.outputs + o] = c;
        end = end * h + c;
      }
      value = end;
    }
  }
  if (random->Chance(0.2)) InsertEmptyPiece(random, random->Between(0, spline.pieces()), &spline);
  return spline;
}

TensorSpline RandomTensor(Random* random) {
  TensorSpline spline;
  const size_t variables = random->Between(1, 3);
  spline.outputs = random->Between(1, 3);
  size_t coefficients = spline.outputs;
  for (size_t v = 0; v < variables; ++v) {
    const size_t k = random->Between(1, variables == 3 ? 3 : 5);
    const std::vector<double> distinct = RandomKnots(random, random->Between(2, variables == 3 ? 5 : 7));
    std::vector<double> t;
    for (size_t i = 0; i < distinct.size(); ++i) {
      const bool end = i == 0 || i + 1 == distinct.size();
      t.insert(t.end(), end ? k + 1 : random->Chance(0.8) ? 1 : random->Between(1, k), distinct[i]);
    }
    if (random->Chance(0.25)) {  // unclamped
      for (size_t i = 0; i < k; ++i) {
        t[i] -= (distinct[1] - distinct[0]) * static_cast<double>(k - i);
        t[t.size() - 1 - i] += (distinct[1] - distinct[0]) * static_cast<double>(k - i);
      }
    }
    spline.knots.push_back(t);
    spline.degrees.push_back(k);
    coefficients *= t.size() - k - 1;
  }
  const double offset = random->Chance(0.3) ? 50 : 0;
  for (size_t i = 0; i < coefficients; ++i) spline.coefficients.push_back(offset + random->Normal());
  return spline;
}

ExpressionSpline RandomExpression(Random* random) {
  ExpressionSpline spline;
  spline.variables = random->Between(1, 4);
  const size_t degree = random->Pick<size_t>({0, 1, 1, 2, 3, 4, 10});
  for (size_t outputs = random->Between(1, 3); outputs > 0; --outputs) {
    spline.outputs.push_back(RandomNode(random, spline.variables, random->Between(0, 3), degree));
  }
  return spline;
}

std::vector<double> SlowEvaluate(const SplineSource& source, Extrapolation extrapolation,
                                 const std::vector<double>& point) {
  std::vector<double> values;
  if (const auto* piecewise = std::get_if<PiecewisePolynomial>(&source)) {
    double x = point[0];
    if (extrapolation == Extrapolation::kConstant) {
      x = std::min(std::max(x, piecewise->knots.front()), piecewise->knots.back());
    }
    size_t piece = 0;
    while (piece + 1 < piecewise->pieces() && x >= piecewise->knots[piece + 1]) ++piece;
    for (size_t o = 0; o < piecewise->outputs; ++o) {
      double sum = 0;
      for (size_t j = 0; j <= piecewise->degree; ++j) {
        sum += piecewise->coefficient(j, piece, o) *
               std::pow(x - piecewise->knots[piece], static_cast<double>(j));
      }
      values.push_back(sum);
    }
  } else if (const auto* tensor = std::get_if<TensorSpline>(&source)) {
    std::vector<double> weights = {1};
    for (size_t v = 0; v < tensor->variables(); ++v) {
      std::vector<double> products;
      const std::vector<double> basis = BasisValues(*tensor, v, extrapolation, point[v]);
      for (const double weight : weights) {
        for (const double value : basis) products.push_back(weight * value);
      }
      weights = products;
    }
    values.resize(tensor->outputs, 0.0);
    for (size_t i = 0; i < weights.size(); ++i) {
      for (size_t o = 0; o < tensor->outputs; ++o)
        values[o] += weights[i] * tensor->coefficients[i * tensor->outputs + o];
    }
  } else {
    for (const Expression& output : std::get<ExpressionSpline>(source).outputs) {
      values.push_back(NodeValue(output, point));
    }
  }
  return values;
}

double SlowScale(const SplineSource& source, const std::vector<Interval>& domain) {
  double scale = 0;
  if (const auto* piecewise = std::get_if<PiecewisePolynomial>(&source)) {
    for (size_t i = 0; i < piecewise->pieces(); ++i) {
      double reach = piecewise->knots[i + 1] - piecewise->knots[i];
      if (i == 0) reach = std::max(reach, piecewise->knots[0] - domain[0].low);
      // The right end's polynomial is also written in powers of the distance from the last knot.
      if (i + 1 == piecewise->pieces()) reach = std::max(reach, 2 * (domain[0].high - piecewise->knots[i]));
      for (size_t o = 0; o < piecewise->outputs; ++o) {
        double sum = 0;
        for (size_t j = 0; j <= piecewise->degree; ++j) {
          sum += std::fabs(piecewise->coefficient(j, i, o)) * std::pow(reach, static_cast<double>(j));
        }
        scale = std::max(scale, sum);
      }
    }
  } else if (const auto* tensor = std::get_if<TensorSpline>(&source)) {
    for (const double c : tensor->coefficients) scale = std::max(scale, std::fabs(c));
    for (size_t v = 0; v < tensor->variables(); ++v) {
      // Beyond the base interval the basis functions grow with the power of the distance.
      const double low = tensor->low(v), high = tensor->high(v);
      const double beyond = std::max({low - domain[v].low, domain[v].high - high, 0.0});
      double shortest = high - low;
      for (size_t i = tensor->degrees[v]; i < tensor->count(v); ++i) {
        const double h = tensor->knots[v][i + 1] - tensor->knots[v][i];
        if (h > 0) shortest = std::min(shortest, h);
      }
      if (beyond > 0) scale *= std::pow(4 * (1 + beyond / shortest), static_cast<double>(tensor->degrees[v]));
    }
  } else {
    for (const Expression& output : std::get<ExpressionSpline>(source).outputs) {
      scale = std::max(scale, NodeScale(output, domain));
    }
  }
  return scale;
}

}  // namespace splineserve::testing
