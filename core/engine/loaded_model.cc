#include "core/engine/loaded_model.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/format/model_directory.h"
#include "core/format/tensor_spec.h"

namespace splineserve {

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadedModel::Load(const std::string& name, int version,
                                                                     const std::string& path,
                                                                     const LoadOptions& options) {
  SPLINESERVE_ASSIGN_OR_RETURN(const ModelDirectory directory, ModelDirectory::OpenUnread(path));
  ModelConfig served = directory.config();
  if (options.smoothing.has_value()) {
    SPLINESERVE_ASSIGN_OR_RETURN(served, Smoothed(std::move(served), options.smoothing->beta));
  }
  std::shared_ptr<LoadedModel> model(new LoadedModel);
  model->name_ = name;
  model->version_ = version;
  WeightPacker packer(directory, options.precision == Precision::kFloat32 ? WeightPacker::Use::kAsPacked
                                                                          : WeightPacker::Use::kLowered);
  // The digest is one chain, so it is one task, and the first: the others share what time it leaves.
  const auto run = [&](size_t task, size_t) {
    if (task == 0) {
      model->digest_ = directory.digest();
    } else {
      packer.Run(task - 1);
    }
  };
  const size_t tasks = 1 + packer.tasks();
  if (options.pool != nullptr) {
    options.pool->ParallelFor(tasks, run);
  } else {
    for (size_t task = 0; task < tasks; ++task) run(task, 0);
  }
  SPLINESERVE_ASSIGN_OR_RETURN(model->weights_, packer.Finish());
  model->weights_.config = std::move(served);
  model->smoothing_ = options.smoothing;
  LowerPrecision(options.precision, model->weights_);
  LinkMatrices(model->weights_);
  if (options.kernels != nullptr) MeasureCrossovers(*options.kernels, model->weights_);
  const ScreenOptions within_bounds = {.bytes = DefaultScreenBytes(directory.weight_bytes())};
  AddScreens(options.kernels, options.pool, options.screening.value_or(within_bounds), model->weights_);
  model->vocabulary_ = directory.vocabulary();
  model->target_vocabulary_ = directory.target_vocabulary();
  model->weight_bytes_ = directory.weight_bytes();
  for (const TensorSpec& spec : ExpectedTensors(directory.config())) {
    if (const TensorView* const tensor = directory.Find(spec.name)) model->parameters_ += tensor->elements();
  }
  return std::shared_ptr<const LoadedModel>(std::move(model));
}

absl::StatusOr<const ModelWeights64*> LoadedModel::weights64() const {
  if (precision() != Precision::kFloat32) {
    return absl::FailedPreconditionError(absl::StrCat(
        "model ", name_, ": expected precision float32, whose weights are those of the file, found ",
        std::string(PrecisionName(precision())), "; see --precision"));
  }
  if (parameters_ > kMaxAnalysedParameters) {
    return absl::FailedPreconditionError(
        absl::StrCat("model ", name_, ": expected at most ", kMaxAnalysedParameters,
                     " parameters for analysis in float64, found ", parameters_));
  }
  const std::lock_guard lock(weights64_mutex_);
  if (weights64_ == nullptr) weights64_ = std::make_unique<const ModelWeights64>(MakeWeights64(weights_));
  return weights64_.get();
}

}  // namespace splineserve
