#include "core/format/directory_listing.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace splineserve {

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& directory) {
  std::error_code error;
  std::filesystem::directory_iterator it(directory, error);
  std::vector<std::string> names;
  while (!error && it != std::filesystem::directory_iterator()) {
    names.push_back(it->path().filename().string());
    it.increment(error);
  }
  if (error) {
    const std::string message = absl::StrCat(directory, ": cannot list the directory: ", error.message());
    if (error == std::errc::no_such_file_or_directory) return absl::NotFoundError(message);
    return absl::InvalidArgumentError(message);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace splineserve
