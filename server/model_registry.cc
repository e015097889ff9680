#include "server/model_registry.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/format/model_directory.h"

namespace splineserve {
namespace {

// A client's string as a message shows it: quoted, escaped, at most 100 bytes.
std::string Quoted(std::string_view text) {
  const bool cut = text.size() > 100;
  return absl::StrCat("\"", absl::CEscape(absl::string_view(text.data(), cut ? 100 : text.size())),
                      cut ? "...\"" : "\"");
}

std::string Versions(const std::map<uint32_t, ModelRegistry::ModelPtr>& versions) {
  return absl::StrJoin(versions, ", ",
                       [](std::string* out, const auto& entry) { absl::StrAppend(out, entry.first); });
}

absl::StatusOr<ModelRegistry::ModelPtr> LoadEntry(const RepositoryEntry& entry, const std::string& name,
                                                  const LoadedModel::LoadOptions& options) {
  absl::StatusOr<ModelRegistry::ModelPtr> model = LoadedModel::Load(name, entry.version, entry.path, options);
  if (model.ok()) return model;
  return absl::Status(model.status().code(), absl::StrCat("model ", entry.name, " version ", entry.version,
                                                          " (", entry.path, "): ", model.status().message()));
}

}  // namespace

absl::StatusOr<ModelRegistry> ModelRegistry::Load(const std::string& repository,
                                                  const LoadedModel::LoadOptions& load,
                                                  const PrecisionChoice& precision,
                                                  const SmoothingChoice& smoothing) {
  SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<RepositoryEntry> entries, ListRepository(repository));
  if (entries.empty()) {
    return absl::NotFoundError(absl::StrCat(
        repository, ": expected models as MODEL/VERSION/config.json or MODEL/config.json, found none"));
  }
  std::vector<std::string> names;  // sorted, as the entries are
  for (const RepositoryEntry& entry : entries) {
    if (names.empty() || names.back() != entry.name) names.push_back(entry.name);
  }
  SPLINESERVE_RETURN_IF_ERROR(precision.CheckModels(names));
  SPLINESERVE_RETURN_IF_ERROR(smoothing.CheckModels(names));
  ModelRegistry registry;
  bool smoothed_for_all = false;
  for (const RepositoryEntry& entry : entries) {
    LoadedModel::LoadOptions options = load;
    options.precision = precision.Of(entry.name);
    SPLINESERVE_ASSIGN_OR_RETURN(const ModelPtr model, LoadEntry(entry, entry.name, options));
    SPLINESERVE_RETURN_IF_ERROR(registry.Add(model));
    // One that is not named is left alone if it cannot be smoothed.
    if (!smoothing.Named(entry.name) && !CheckSmoothable(model->config()).ok()) continue;
    for (const float beta : smoothing.Of(entry.name)) {
      options.smoothing = Smoothing{entry.name, beta};
      SPLINESERVE_ASSIGN_OR_RETURN(ModelPtr smoothed,
                                   LoadEntry(entry, SmoothedName(entry.name, beta), options));
      SPLINESERVE_RETURN_IF_ERROR(registry.Add(std::move(smoothed)));
      smoothed_for_all = smoothed_for_all || !smoothing.Named(entry.name);
    }
  }
  if (smoothing.for_all() && !smoothed_for_all) {
    return absl::InvalidArgumentError(
        absl::StrCat("--smoothing \"", smoothing.ToString(),
                     "\": expected a model of class EXACT with relu gates that has no beta of its own, found "
                     "none in ",
                     repository));
  }
  return registry;
}

absl::Status ModelRegistry::Add(ModelPtr model) {
  const std::string name = model->name();
  const uint32_t version = static_cast<uint32_t>(model->version());
  if (!models_[name].emplace(version, std::move(model)).second) {
    return absl::AlreadyExistsError(absl::StrCat("model ", name, " version ", version, " is loaded twice"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelRegistry::ModelPtr> ModelRegistry::Find(std::string_view name, uint32_t version) const {
  if (name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.name: expected the name of a loaded model, found nothing; loaded: ", Names()));
  }
  const auto found = models_.find(name);
  if (found == models_.end()) {
    return absl::NotFoundError(
        absl::StrCat("model.name: ", Quoted(name), " is not loaded; loaded: ", Names()));
  }
  const auto& versions = found->second;
  if (version == 0) return versions.rbegin()->second;
  const auto exact = versions.find(version);
  if (exact == versions.end()) {
    return absl::NotFoundError(absl::StrCat("model.version: ", Quoted(name), " has no version ", version,
                                            "; loaded: ", Versions(versions)));
  }
  return exact->second;
}

std::vector<ModelRegistry::ModelPtr> ModelRegistry::List() const {
  std::vector<ModelPtr> list;
  for (const auto& [name, versions] : models_) {
    for (const auto& [version, model] : versions) list.push_back(model);
  }
  return list;
}

std::string ModelRegistry::Names() const {
  if (models_.empty()) return "none";
  constexpr size_t kMost = 20;
  std::string names;
  size_t shown = 0;
  for (const auto& [name, versions] : models_) {
    if (shown == kMost) return absl::StrCat(names, " and ", models_.size() - shown, " more");
    absl::StrAppend(&names, shown == 0 ? "" : ", ", name, " (", Versions(versions), ")");
    ++shown;
  }
  return names;
}

}  // namespace splineserve
