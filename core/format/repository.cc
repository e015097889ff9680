// ListRepository of model_directory.h.
#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <system_error>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/format/directory_listing.h"
#include "core/format/model_directory.h"

namespace splineserve {
namespace {

// Without hidden entries: Kubernetes keeps "..data" in its mounts.
absl::StatusOr<std::vector<std::string>> VisibleNames(const std::string& directory) {
  SPLINESERVE_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(directory));
  std::erase_if(names, [](const std::string& name) { return name[0] == '.'; });
  return names;
}

bool HasConfig(const std::string& directory) {
  std::error_code ignored;
  return std::filesystem::exists(directory + "/config.json", ignored);
}

// Canonical decimal only: "1" and "01" must not be two versions of the same number.
std::optional<int> VersionOf(const std::string& name) {
  int version = 0;
  if (name[0] < '1' || name[0] > '9' || !absl::SimpleAtoi(name, &version) || absl::StrCat(version) != name) {
    return std::nullopt;
  }
  return version;
}

}  // namespace

absl::StatusOr<std::vector<RepositoryEntry>> ListRepository(const std::string& repository) {
  SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<std::string> names, VisibleNames(repository));
  std::vector<RepositoryEntry> entries;
  for (const std::string& name : names) {
    const std::string path = repository + "/" + name;
    std::error_code ignored;
    if (!std::filesystem::is_directory(path, ignored)) continue;
    SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<std::string> inside, VisibleNames(path));
    const size_t before = entries.size();
    for (const std::string& version_name : inside) {
      const std::optional<int> version = VersionOf(version_name);
      const std::string version_path = path + "/" + version_name;
      if (version && HasConfig(version_path)) entries.push_back({name, *version, version_path});
    }
    if (!HasConfig(path)) continue;
    if (entries.size() != before) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": expected either config.json or version directories, found config.json and version ",
          entries.back().version));
    }
    entries.push_back({name, 1, path});
  }
  std::sort(entries.begin(), entries.end(), [](const RepositoryEntry& a, const RepositoryEntry& b) {
    return std::tie(a.name, a.version) < std::tie(b.name, b.version);
  });
  return entries;
}

}  // namespace splineserve
