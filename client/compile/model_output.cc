#include "client/compile/model_output.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve::client {
namespace {

namespace fs = std::filesystem;

absl::Status SystemError(const std::string& path, const std::string& what, const std::error_code& error) {
  return absl::ErrnoToStatus(error.value(), absl::StrCat(path, ": ", what));
}

// Whether `directory` may be taken.
absl::Status CheckFree(const std::string& directory, bool replace) {
  std::error_code error;
  const fs::file_status status = fs::status(directory, error);
  if (status.type() == fs::file_type::not_found) return absl::OkStatus();
  if (error) return SystemError(directory, "cannot be looked up", error);
  if (status.type() != fs::file_type::directory) {
    return absl::AlreadyExistsError(
        absl::StrCat(directory, ": expected a directory, or nothing; found a file"));
  }
  static const std::set<std::string> kModel = {"config.json", "model.safetensors"};
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!replace) {
      return absl::AlreadyExistsError(
          absl::StrCat(directory, ": expected nothing there, found ", name, "; --force replaces a model"));
    }
    if (kModel.count(name) == 0) {
      return absl::AlreadyExistsError(absl::StrCat(
          directory, ": expected a model's config.json and model.safetensors alone, to be replaced; found ",
          name));
    }
  }
  if (error) return SystemError(directory, "cannot be listed", error);
  return absl::OkStatus();
}

}  // namespace

ModelOutput::ModelOutput(ModelOutput&& other) noexcept
    : directory_(std::move(other.directory_)),
      temporary_(std::exchange(other.temporary_, "")),
      made_(std::exchange(other.made_, {})) {}

ModelOutput::~ModelOutput() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  // Only what is still empty goes.
  for (const std::string& parent : made_) fs::remove(parent, ignored);
}

absl::StatusOr<ModelOutput> ModelOutput::Write(const std::string& directory, bool replace,
                                               const std::map<std::string, std::string>& files) {
  ModelOutput output;
  fs::path path = fs::path(directory).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (path.empty() || path.filename() == "." || path.filename() == "..") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", directory, "\": expected the name of a directory to make"));
  }
  output.directory_ = path.string();
  SPLINESERVE_RETURN_IF_ERROR(CheckFree(output.directory_, replace));
  std::error_code error;
  std::vector<fs::path> missing;
  for (fs::path parent = path.parent_path(); !parent.empty() && !fs::exists(parent, error);
       parent = parent.parent_path()) {
    missing.push_back(parent);
  }
  while (!missing.empty()) {
    if (!fs::create_directory(missing.back(), error))
      return SystemError(missing.back(), "cannot be made", error);
    output.made_.insert(output.made_.begin(), missing.back().string());
    missing.pop_back();
  }
  std::string temporary =
      (path.parent_path() / absl::StrCat(".", path.filename().string(), ".XXXXXX")).string();
  if (mkdtemp(temporary.data()) == nullptr) {
    return SystemError(temporary, "cannot be made", std::error_code(errno, std::generic_category()));
  }
  output.temporary_ = temporary;
  for (const auto& [name, contents] : files) {
    const std::string file = (fs::path(temporary) / name).string();
    std::ofstream stream(file, std::ios::binary);
    stream.write(contents.data(), static_cast<std::streamsize>(contents.size()));
    stream.close();
    if (!stream) return absl::InternalError(absl::StrCat(file, ": cannot be written"));
  }
  return output;
}

absl::Status ModelOutput::Publish() {
  std::error_code error;
  // mkdtemp lets nobody else in; a model is for whoever the umask lets.
  const mode_t mask = umask(0);
  umask(mask);
  fs::permissions(temporary_, static_cast<fs::perms>(0777 & ~mask), error);
  if (error) return SystemError(temporary_, "its permissions cannot be set", error);
  for (const char* name : {"config.json", "model.safetensors"}) {
    fs::remove(fs::path(directory_) / name, error);
    if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory) {
      return SystemError(directory_, "the old model cannot be removed", error);
    }
  }
  // Replaces an empty directory in one step.
  fs::rename(temporary_, directory_, error);
  if (error) return SystemError(directory_, "cannot be made", error);
  temporary_.clear();
  made_.clear();
  return absl::OkStatus();
}

}  // namespace splineserve::client
