// Random EXACT models as the float64 analysis sees them, beside the slow reference.
#ifndef SPLINESERVE_TESTS_SPLINE_ANALYSIS_MODEL_H_
#define SPLINESERVE_TESTS_SPLINE_ANALYSIS_MODEL_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/spline/float64_weights.h"
#include "core/spline/segment.h"
#include "tests/engine/random_model.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/reference_model.h"

namespace splineserve::testing {

// A model with this config.json and seeded weights. Failures to load throw std::runtime_error.
class AnalysisModel {
 public:
  AnalysisModel(const std::string& config_json, const ModelOptions& options);

  const ModelConfig& config() const { return weights_->config; }
  const ModelWeights64& weights() const { return *weights_; }

  // Normal numbers in the shapes of continuous inputs, rounded to float32; 0 tokens for a stack that does not
  // run.
  ContinuousInput RandomInput(Random* random, size_t source_tokens, size_t target_tokens) const;

  // The reference in double or single precision at a continuous input: of the last stack that runs.
  template <typename T>
  ReferenceResult<T> Reference(const ContinuousInput& input) const;

 private:
  std::unique_ptr<ModelDirectory> directory_;
  std::unique_ptr<ModelWeights64> weights_;
  std::unique_ptr<ReferenceModel<float>> float_;
  std::unique_ptr<ReferenceModel<double>> double_;
};

// from + t (to - from).
ContinuousInput Between(const ContinuousInput& from, const ContinuousInput& to, double t);

// The reference's gate arguments in the layout's order, of the stack that was run last (the others' are left
// at NaN).
std::vector<double> Arguments(const GateLayout& layout, const std::vector<ReferenceToken>& tokens);

// All outputs of the last stack: of the head where there is one (`head`), else of the final rows.
OutputChoice AllOutputs(const ModelConfig& config, size_t tokens, bool head);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_SPLINE_ANALYSIS_MODEL_H_
