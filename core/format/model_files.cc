#include "core/format/model_files.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/format/directory_listing.h"
#include "core/format/mapped_file.h"

namespace splineserve {
namespace {

class FilesOnDisk : public ModelFiles {
 public:
  FilesOnDisk(std::string directory, std::vector<std::string> names)
      : directory_(std::move(directory)), names_(std::move(names)) {}

  const std::vector<std::string>& names() const override { return names_; }

  absl::StatusOr<absl::Span<const uint8_t>> Read(const std::string& name) override {
    auto it = mapped_.find(name);
    if (it == mapped_.end()) {
      SPLINESERVE_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(directory_ + "/" + name));
      it = mapped_.emplace(name, std::move(file)).first;
    }
    return it->second.bytes();
  }

  void Drop(absl::Span<const uint8_t> bytes) const override {
    for (const auto& [name, file] : mapped_) {
      const absl::Span<const uint8_t> whole = file.bytes();
      if (bytes.data() >= whole.data() && bytes.data() + bytes.size() <= whole.data() + whole.size()) {
        return file.Drop(bytes);
      }
    }
  }

 private:
  const std::string directory_;
  const std::vector<std::string> names_;
  std::map<std::string, MappedFile> mapped_;
};

class FilesInMemory : public ModelFiles {
 public:
  FilesInMemory(std::string label, std::map<std::string, std::string> files)
      : label_(std::move(label)), files_(std::move(files)) {
    for (const auto& [name, contents] : files_) names_.push_back(name);
  }

  const std::vector<std::string>& names() const override { return names_; }

  absl::StatusOr<absl::Span<const uint8_t>> Read(const std::string& name) override {
    const auto it = files_.find(name);
    if (it == files_.end()) return absl::NotFoundError(absl::StrCat(label_, "/", name, ": no such file"));
    return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(it->second.data()), it->second.size());
  }

  void Drop(absl::Span<const uint8_t>) const override {}

 private:
  const std::string label_;
  const std::map<std::string, std::string> files_;
  std::vector<std::string> names_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenFilesOnDisk(const std::string& directory) {
  SPLINESERVE_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(directory));
  return std::make_unique<FilesOnDisk>(directory, std::move(names));
}

std::unique_ptr<ModelFiles> OpenFilesInMemory(const std::string& label,
                                              std::map<std::string, std::string> files) {
  return std::make_unique<FilesInMemory>(label, std::move(files));
}

}  // namespace splineserve
