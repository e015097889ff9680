// The monitors that a server has loaded, by the digest of the model that they belong to.
#ifndef SPLINESERVE_SERVER_MONITOR_REGISTRY_H_
#define SPLINESERVE_SERVER_MONITOR_REGISTRY_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/loaded_model.h"
#include "core/spline/monitor.h"
#include "server/model_registry.h"

namespace splineserve {

struct NamedMonitor {
  std::string name;  // of its file, without extension
  std::string file;
  PatternMonitor monitor;
};

// Immutable once it is shared: Find and List are then thread-safe.
class MonitorRegistry {
 public:
  using MonitorPtr = std::shared_ptr<const NamedMonitor>;

  // Loads every file, or none. NOT_FOUND for a file that is not there, INVALID_ARGUMENT for one that is no
  // monitor (ParseMonitor), whose digest none of `models` has (the message names both) or which cannot be a
  // monitor of such a model (CheckFits), ALREADY_EXISTS for two of one name and digest. A file that is named
  // twice is loaded once.
  static absl::StatusOr<MonitorRegistry> Load(const std::vector<std::string>& files,
                                              const ModelRegistry& models);

  // The monitor called `name`, or, if that is empty, the only one. Errors are those of v1::MonitorOptions.
  absl::StatusOr<MonitorPtr> Find(const LoadedModel& model, PieceRecorder::Stack stack,
                                  std::string_view name) const;

  // By name, then digest.
  std::vector<MonitorPtr> List() const;

 private:
  absl::Status Add(const std::string& file, const ModelRegistry& models);

  std::map<std::string, std::map<std::string, MonitorPtr, std::less<>>> monitors_;  // digest, name
};

// The files NAME.monitor beside the config.json of each model of a repository, by model, version and name.
// Errors are ListRepository's.
absl::StatusOr<std::vector<std::string>> FindMonitorFiles(const std::string& repository);

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_MONITOR_REGISTRY_H_
