#include "client/compile/model_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/engine/engine.h"
#include "core/kernels/kernel_set.h"

namespace splineserve::client {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Every knot meets this many values of the other variables.
constexpr size_t kOthers = 4;
constexpr size_t kMaxCornerVariables = 8;
constexpr size_t kPointsPerRequest = 1024;

class Points {
 public:
  Points(const CompiledSpline& compiled, uint64_t seed) : domain_(compiled.domain), random_(seed) {}

  std::vector<float> Random() {
    std::vector<float> point;
    for (const Interval& side : domain_) {
      const double share = static_cast<double>(random_() >> 11) * 0x1p-53;
      const float low = static_cast<float>(side.low), high = static_cast<float>(side.high);
      point.push_back(std::clamp(static_cast<float>(side.low + (side.high - side.low) * share), low, high));
    }
    return point;
  }

  // The knot of variable v and its float32 neighbours.
  void AppendKnot(size_t v, double knot, std::vector<std::vector<float>>* points) {
    const float x = static_cast<float>(knot);
    for (const float near : {std::nextafter(x, -kInfinity), x, std::nextafter(x, kInfinity)}) {
      for (size_t i = 0; i < (domain_.size() == 1 ? 1 : kOthers); ++i) {
        points->push_back(Random());
        points->back()[v] = near;
      }
    }
  }

  std::vector<float> Corner(size_t index) const {
    std::vector<float> point;
    for (size_t v = 0; v < domain_.size(); ++v) {
      point.push_back(static_cast<float>((index >> v & 1) != 0 ? domain_[v].high : domain_[v].low));
    }
    return point;
  }

 private:
  const std::vector<Interval>& domain_;
  std::mt19937_64 random_;
};

void Compare(const std::vector<float>& point, const std::vector<float>& found,
             const std::vector<double>& expected, const CompiledSpline& compiled, ModelCheck* check) {
  for (size_t o = 0; o < expected.size(); ++o) {
    const double error = std::fabs(static_cast<double>(found[o]) - expected[o]);
    check->largest_error[o] = std::max(check->largest_error[o], error);
    const double bound = compiled.error_bound[o];
    // By products, because a bound may be 0. Not less: what is not a number is an error, too.
    if (!check->point.empty() && error * check->bound <= check->error * bound) continue;
    check->point = point;
    check->output = o;
    check->expected = expected[o];
    check->found = found[o];
    check->error = error;
    check->bound = bound;
  }
}

}  // namespace

absl::StatusOr<ModelCheck> CheckModel(const std::string& directory, const SplineSource& source,
                                      Extrapolation extrapolation, const CompiledSpline& compiled,
                                      const CheckOptions& options) {
  ModelCheck check;
  check.largest_error.assign(compiled.error_bound.size(), 0.0);
  std::vector<std::vector<float>> points;
  Points draw(compiled, options.seed);
  for (size_t v = 0; v < compiled.knots.size(); ++v) {
    for (const double knot : compiled.knots[v]) {
      if (knot < compiled.domain[v].low || knot > compiled.domain[v].high) continue;
      draw.AppendKnot(v, knot, &points);
      ++check.knots;
    }
  }
  check.knot_points = points.size();
  if (compiled.knots.empty() && compiled.domain.size() <= kMaxCornerVariables) {
    for (size_t corner = 0; corner < size_t{1} << compiled.domain.size(); ++corner) {
      points.push_back(draw.Corner(corner));
    }
  }
  for (size_t i = 0; i < options.random_points; ++i) points.push_back(draw.Random());
  check.random_points = options.random_points;

  SPLINESERVE_ASSIGN_OR_RETURN(const KernelSet* const kernels, SelectKernelSet(""));
  EngineOptions engine_options;
  SPLINESERVE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                               Engine::Create(engine_options, *kernels));
  SPLINESERVE_ASSIGN_OR_RETURN(const std::shared_ptr<const LoadedModel> model,
                               LoadedModel::Load("compiled", 1, directory));
  check.digest = model->digest();
  for (size_t first = 0; first < points.size(); first += kPointsPerRequest) {
    const size_t count = std::min(kPointsPerRequest, points.size() - first);
    EncodeRequest request;
    for (size_t i = first; i < first + count; ++i) {
      request.inputs.push_back(Matrix{1, points[i].size(), points[i]});
    }
    SPLINESERVE_ASSIGN_OR_RETURN(const EvaluationResult result,
                                 engine->EncodeAndWait(model, std::move(request)));
    for (size_t i = 0; i < count; ++i) {
      const std::vector<float>& point = points[first + i];
      Compare(point, result.results[i].output.values,
              Evaluate(source, extrapolation, std::vector<double>(point.begin(), point.end())), compiled,
              &check);
    }
  }
  return check;
}

}  // namespace splineserve::client
