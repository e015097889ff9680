#include "core/spline/compile/tensor_program.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"
#include "core/spline/compile/piecewise_program.h"

namespace splineserve {
namespace {

// What a variable of the score contributes: a basis function, and whether it takes either sign where the end
// pieces go on.
struct Factor {
  Form form{1.0};
  bool signed_beyond = false;
  size_t offset = 0;  // into the coefficients
};

class ProductLayer {
 public:
  ProductLayer(const TensorSpline& spline, Extrapolation extrapolation,
               const std::vector<std::vector<size_t>>& basis, const std::vector<double>& offsets,
               Program& program)
      : spline_(spline), extrapolation_(extrapolation), basis_(basis), offsets_(offsets), program_(program) {
    size_t stride = spline.outputs;
    strides_.resize(spline.variables());
    for (size_t v = spline.variables(); v-- > 0;) {
      strides_[v] = stride;
      stride *= spline.count(v);
    }
  }

  // `outputs`: the columns that receive the sums.
  void Build(size_t layer, const std::vector<size_t>& outputs) {
    // The variable with the most functions goes into the values: the fewest heads.
    std::vector<size_t> order(spline_.variables());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [this](size_t u, size_t v) { return spline_.count(u) < spline_.count(v); });
    const std::vector<Factor> first = Factors(order[0]);
    const std::vector<Factor> second = order.size() == 3 ? Factors(order[1]) : std::vector<Factor>(1);
    for (const Factor& a : first) {
      for (const Factor& b : second) AddHeads(layer, a, b, order.back(), outputs);
    }
  }

 private:
  std::vector<Factor> Factors(size_t v) const {
    std::vector<Factor> factors;
    const size_t n = spline_.count(v), k = spline_.degrees[v];
    for (size_t a = 0; a < n; ++a) {
      // The end pieces are those of the first and of the last k + 1 functions.
      const bool at_end = a <= k || a + k + 1 >= n;
      factors.push_back(
          {Form::Of(basis_[v][a]), at_end && extrapolation_ == Extrapolation::kPolynomial, a * strides_[v]});
    }
    return factors;
  }

  // relu(a b) v, and where a b can be negative - relu(-a b) v, too: a b v.
  void AddHeads(size_t layer, const Factor& a, const Factor& b, size_t last,
                const std::vector<size_t>& outputs) {
    std::vector<Form> values(spline_.outputs);
    for (size_t c = 0; c < spline_.count(last); ++c) {
      const size_t index = a.offset + b.offset + c * strides_[last];
      for (size_t o = 0; o < spline_.outputs; ++o) {
        values[o].Add(basis_[last][c], spline_.coefficients[index + o] - offsets_[o]);
      }
    }
    for (const double sign : {1.0, -1.0}) {
      if (sign < 0 && !a.signed_beyond && !b.signed_beyond) continue;
      const size_t value = program_.AddHead(layer, ProgramHead{{a.form.Times(sign)}, {b.form}, values});
      for (size_t o = 0; o < outputs.size(); ++o) program_.AddAttention(layer, outputs[o], value + o, sign);
    }
  }

  const TensorSpline& spline_;
  const Extrapolation extrapolation_;
  const std::vector<std::vector<size_t>>& basis_;  // [variables][functions]: columns
  const std::vector<double>& offsets_;             // [outputs]
  Program& program_;
  std::vector<size_t> strides_;
};

}  // namespace

absl::StatusOr<Program> CompileTensor(const TensorSpline& spline, Extrapolation extrapolation) {
  if (spline.variables() == 1) return CompilePiecewise(ToBernstein(spline), extrapolation);
  Program program(spline.variables());
  std::vector<std::vector<size_t>> basis(spline.variables());
  size_t layers = 0;
  for (size_t v = 0; v < spline.variables(); ++v) {
    for (size_t a = 0; a < spline.count(v); ++a) basis[v].push_back(program.NewColumn());
    const BernsteinSpline functions = BasisFunctions(spline, v);
    SPLINESERVE_ASSIGN_OR_RETURN(const size_t used, AddPiecewise(functions, extrapolation,
                                                                 RampSite::kAttention, v, basis[v], program));
    for (size_t a = 0; a < spline.count(v); ++a) {
      KnownRange range = {.layer = used - 1, .column = basis[v][a], .input = v};
      QuarterRanges(functions, a, &range.breaks, &range.ranges);
      program.AddKnownRange(std::move(range));
    }
    layers = std::max(layers, used);
  }
  // The basis functions add up to 1, so that an offset of all coefficients is one of the sum.
  const std::vector<double> offsets = Offsets(spline.coefficients, spline.outputs);
  std::vector<size_t> outputs;
  for (const double offset : offsets) {
    outputs.push_back(program.NewColumn());
    program.AddOutput(Form(offset).Add(outputs.back(), 1));
  }
  ProductLayer(spline, extrapolation, basis, offsets, program).Build(layers, outputs);
  return program;
}

}  // namespace splineserve
