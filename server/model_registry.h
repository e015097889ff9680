// The models that a server holds, by name and version.
#ifndef SPLINESERVE_SERVER_MODEL_REGISTRY_H_
#define SPLINESERVE_SERVER_MODEL_REGISTRY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/engine/loaded_model.h"
#include "server/precision_choice.h"
#include "server/smoothing_choice.h"

namespace splineserve {

// Immutable once it is shared: Find and List are then thread-safe.
class ModelRegistry {
 public:
  using ModelPtr = std::shared_ptr<const LoadedModel>;

  // Loads every model of the repository, or none: the error is that of ListRepository, NOT_FOUND for a
  // repository without models, that of `precision` or `smoothing` if it is about a model that is not there,
  // or the first bad model's with its name, version and path before the message; so it is if a model that
  // `smoothing` names cannot be smoothed, or none can that it does not name. Cost: reading all weights, one
  // model after the other, each as `load` says, but in the precision chosen for it, and once more for each of
  // its smoothings, which have memory of their own.
  static absl::StatusOr<ModelRegistry> Load(const std::string& repository,
                                            const LoadedModel::LoadOptions& load = {},
                                            const PrecisionChoice& precision = {},
                                            const SmoothingChoice& smoothing = {});

  // ALREADY_EXISTS if the name has this version.
  absl::Status Add(ModelPtr model);

  // `version` 0 is the highest one. INVALID_ARGUMENT for an empty name, NOT_FOUND otherwise; both say what is
  // loaded.
  absl::StatusOr<ModelPtr> Find(std::string_view name, uint32_t version) const;

  // By name, then version.
  std::vector<ModelPtr> List() const;

 private:
  std::string Names() const;  // "g2p (1, 2), words (1)", for messages

  std::map<std::string, std::map<uint32_t, ModelPtr>, std::less<>> models_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_MODEL_REGISTRY_H_
