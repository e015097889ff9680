#include "tests/spline/analysis_model.h"

#include <limits>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "core/model/weights.h"

namespace splineserve::testing {
namespace {

ReferenceInput ToReference(const Matrix64& rows) {
  ReferenceInput input;
  for (Eigen::Index r = 0; r < rows.rows(); ++r) {
    input.continuous.emplace_back(rows.row(r).data(), rows.row(r).data() + rows.cols());
  }
  return input;
}

}  // namespace

AnalysisModel::AnalysisModel(const std::string& config_json, const ModelOptions& options) {
  absl::StatusOr<ModelDirectory> directory =
      ModelDirectory::OpenInMemory("random", BuildModel(config_json, options));
  if (!directory.ok()) throw std::runtime_error(directory.status().ToString());
  directory_ = std::make_unique<ModelDirectory>(*std::move(directory));
  absl::StatusOr<ModelWeights> weights = PackWeights(*directory_);
  if (!weights.ok()) throw std::runtime_error(weights.status().ToString());
  weights_ = std::make_unique<ModelWeights64>(MakeWeights64(*weights));
  float_ = std::make_unique<ReferenceModel<float>>(*directory_);
  double_ = std::make_unique<ReferenceModel<double>>(*directory_);
}

ContinuousInput AnalysisModel::RandomInput(Random* random, size_t source_tokens, size_t target_tokens) const {
  const auto rows = [&](size_t tokens, const InputConfig& input) {
    Matrix64 out(
        static_cast<Eigen::Index>(tokens),
        static_cast<Eigen::Index>(input.kind == InputKind::kVectors ? input.size : config().hidden_size));
    for (double& value : out.reshaped()) value = static_cast<double>(random->Normal());
    return out;
  };
  ContinuousInput input;
  if (source_tokens != 0) input.source = rows(source_tokens, config().input);
  if (target_tokens != 0) input.target = rows(target_tokens, config().decoder_input());
  return input;
}

template <typename T>
ReferenceResult<T> AnalysisModel::Reference(const ContinuousInput& input) const {
  const auto run = [&](const auto& model) {
    return input.target.size() == 0 ? model.Encode(ToReference(input.source))
                                    : model.Decode(ToReference(input.source), ToReference(input.target));
  };
  if constexpr (std::is_same_v<T, float>) {
    return run(*float_);
  } else {
    return run(*double_);
  }
}

template ReferenceResult<float> AnalysisModel::Reference<float>(const ContinuousInput&) const;
template ReferenceResult<double> AnalysisModel::Reference<double>(const ContinuousInput&) const;

ContinuousInput Between(const ContinuousInput& from, const ContinuousInput& to, double t) {
  return {from.source + t * (to.source - from.source), from.target + t * (to.target - from.target)};
}

std::vector<double> Arguments(const GateLayout& layout, const std::vector<ReferenceToken>& tokens) {
  std::vector<double> arguments(layout.gates(), std::numeric_limits<double>::quiet_NaN());
  const bool decoder = layout.shape().target_tokens != 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (const ReferenceGroup& group : tokens[t].groups) {
      const GateBlock* const block = layout.Find(decoder, group.layer, group.site);
      std::copy(group.arguments.begin(), group.arguments.end(),
                arguments.begin() + static_cast<std::ptrdiff_t>(block->Group(t, group.head)));
    }
  }
  return arguments;
}

OutputChoice AllOutputs(const ModelConfig& config, size_t tokens, bool head) {
  OutputChoice choice{head, {}};
  const size_t rows = head && config.head.pooling != Pooling::kNone ? 1 : tokens;
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < (head ? config.head.size : config.hidden_size); ++c) {
      choice.indices.push_back({r, c});
    }
  }
  return choice;
}

}  // namespace splineserve::testing
