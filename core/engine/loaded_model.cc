#include "core/engine/loaded_model.h"

#include <utility>

#include "core/base/status_macros.h"
#include "core/format/model_directory.h"
#include "core/format/tensor_spec.h"

namespace splineserve {

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadedModel::Load(const std::string& name, int version,
                                                                     const std::string& path) {
  SPLINESERVE_ASSIGN_OR_RETURN(const ModelDirectory directory, ModelDirectory::Open(path));
  std::shared_ptr<LoadedModel> model(new LoadedModel);
  model->name_ = name;
  model->version_ = version;
  SPLINESERVE_ASSIGN_OR_RETURN(model->weights_, PackWeights(directory));
  model->vocabulary_ = directory.vocabulary();
  model->target_vocabulary_ = directory.target_vocabulary();
  model->digest_ = directory.digest();
  model->weight_bytes_ = directory.weight_bytes();
  for (const TensorSpec& spec : ExpectedTensors(directory.config())) {
    if (const TensorView* const tensor = directory.Find(spec.name)) model->parameters_ += tensor->elements();
  }
  return std::shared_ptr<const LoadedModel>(std::move(model));
}

}  // namespace splineserve
