#include "server/monitor_registry.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/format/directory_listing.h"
#include "core/format/mapped_file.h"
#include "core/format/model_directory.h"
#include "core/spline/monitor_file.h"

namespace splineserve {
namespace {

using Stack = PieceRecorder::Stack;

constexpr char kExtension[] = ".monitor";

std::string DigestsOf(const ModelRegistry& models) {
  constexpr size_t kMost = 20;
  std::vector<ModelRegistry::ModelPtr> list = models.List();
  const size_t more = list.size() - std::min(list.size(), kMost);
  list.resize(list.size() - more);
  return absl::StrCat(absl::StrJoin(list, ", ",
                                    [](std::string* out, const ModelRegistry::ModelPtr& model) {
                                      absl::StrAppend(out, model->digest(), " (", model->name(), " version ",
                                                      model->version(), ")");
                                    }),
                      more == 0 ? "" : absl::StrCat(" and ", more, " more"));
}

const char* CallOf(Stack stack) { return stack == Stack::kEncoder ? "Encode" : "Decode or Generate"; }

// A client's string as a message shows it.
std::string Quoted(std::string_view text) {
  const absl::string_view shown(text.data(), std::min<size_t>(text.size(), 100));
  return absl::StrCat("\"", absl::CEscape(shown), text.size() > 100 ? "...\"" : "\"");
}

}  // namespace

absl::StatusOr<MonitorRegistry> MonitorRegistry::Load(const std::vector<std::string>& files,
                                                      const ModelRegistry& models) {
  MonitorRegistry registry;
  std::set<std::string> loaded;
  for (const std::string& file : files) {
    std::error_code ignored;
    if (!loaded.insert(std::filesystem::weakly_canonical(file, ignored).string()).second) continue;
    SPLINESERVE_RETURN_IF_ERROR(registry.Add(file, models));
  }
  return registry;
}

absl::Status MonitorRegistry::Add(const std::string& file, const ModelRegistry& models) {
  SPLINESERVE_ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::Open(file));
  auto named = std::make_shared<NamedMonitor>();
  named->name = std::filesystem::path(file).stem().string();
  named->file = file;
  SPLINESERVE_ASSIGN_OR_RETURN(named->monitor, ParseMonitor(mapped.bytes(), file));
  const MonitorDescription& description = named->monitor.description();
  bool belongs = false;
  for (const ModelRegistry::ModelPtr& model : models.List()) {
    // A smoothing has its spline's digest and no gates.
    if (model->digest() != description.digest || model->smoothing().has_value()) continue;
    belongs = true;
    if (const absl::Status fits = CheckFits(description, model->config()); !fits.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": ", std::string(fits.message()), " in model ",
                                                     model->name(), " version ", model->version()));
    }
  }
  if (!belongs) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": expected a monitor of a loaded model, whose digests are ", DigestsOf(models),
                     "; found one of the model with digest ", description.digest));
  }
  auto& same_model = monitors_[description.digest];
  const auto [other, is_new] = same_model.emplace(named->name, named);
  if (is_new) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat(file, ": expected another name than ", named->name,
                                               ", which the monitor of the same model in ",
                                               other->second->file, " has"));
}

absl::StatusOr<MonitorRegistry::MonitorPtr> MonitorRegistry::Find(const LoadedModel& model, Stack stack,
                                                                  std::string_view name) const {
  if (model.smoothing().has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("monitor: expected a model with gates, found ",
                                                      model.name(), ", a smoothing; ask its spline instead"));
  }
  std::vector<MonitorPtr> candidates;
  if (const auto same_model = monitors_.find(model.digest()); same_model != monitors_.end()) {
    for (const auto& [known_name, monitor] : same_model->second) {
      if (monitor->monitor.description().selection.stack == stack) candidates.push_back(monitor);
    }
  }
  if (candidates.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("monitor: model ", model.name(), " has no monitor for ", CallOf(stack),
                     ". Record one with `splineserve-client monitor record ", model.name(),
                     " ... --out NAME.monitor`, put it beside the model's config.json or name it with "
                     "--monitor, and start the "
                     "server again"));
  }
  const std::string names = absl::StrJoin(
      candidates, ", ", [](std::string* out, const MonitorPtr& m) { absl::StrAppend(out, m->name); });
  if (name.empty() && candidates.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat("monitor.name: expected one of ", names,
                                                   ", the monitors of model ", model.name(), " for ",
                                                   CallOf(stack), ", found nothing"));
  }
  const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const MonitorPtr& monitor) {
    return name.empty() || monitor->name == name;
  });
  if (found == candidates.end()) {
    return absl::NotFoundError(absl::StrCat("monitor.name: ", Quoted(name), " is no monitor of model ",
                                            model.name(), " for ", CallOf(stack), "; it has ", names));
  }
  const Precision recorded = (*found)->monitor.description().precision;
  if (recorded != model.precision()) {
    return absl::FailedPreconditionError(absl::StrCat("monitor: ", (*found)->name, " was recorded in ",
                                                      PrecisionName(recorded), ", and model ", model.name(),
                                                      " is served in ", PrecisionName(model.precision()),
                                                      ", where gates may differ: record another"));
  }
  return *found;
}

std::vector<MonitorRegistry::MonitorPtr> MonitorRegistry::List() const {
  std::vector<MonitorPtr> list;
  for (const auto& [digest, same_model] : monitors_) {
    for (const auto& [name, monitor] : same_model) list.push_back(monitor);
  }
  std::stable_sort(list.begin(), list.end(),
                   [](const MonitorPtr& a, const MonitorPtr& b) { return a->name < b->name; });
  return list;
}

absl::StatusOr<std::vector<std::string>> FindMonitorFiles(const std::string& repository) {
  SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<RepositoryEntry> entries, ListRepository(repository));
  std::vector<std::string> files;
  for (const RepositoryEntry& entry : entries) {
    SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(entry.path));
    for (const std::string& name : names) {
      if (name[0] != '.' && absl::EndsWith(name, kExtension)) files.push_back(entry.path + "/" + name);
    }
  }
  return files;
}

}  // namespace splineserve
