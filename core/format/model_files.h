// Where the bytes of a model come from: a directory, or memory. Private to core/format.
#ifndef SPLINESERVE_CORE_FORMAT_MODEL_FILES_H_
#define SPLINESERVE_CORE_FORMAT_MODEL_FILES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace splineserve {

// Owns what it has read: bytes stay valid as long as the object.
class ModelFiles {
 public:
  virtual ~ModelFiles() = default;
  // Names of all files, in ascending byte order.
  virtual const std::vector<std::string>& names() const = 0;
  // A whole file. `name` must be a plain file name. NOT_FOUND or INVALID_ARGUMENT with its path. A second
  // Read of the same name gives the same bytes.
  virtual absl::StatusOr<absl::Span<const uint8_t>> Read(const std::string& name) = 0;
  // Gives back what memory `bytes`, a part of a file that was read, can do without until they are read again
  // (MappedFile::Drop). Thread-safe but for Read.
  virtual void Drop(absl::Span<const uint8_t> bytes) const = 0;
};

// NOT_FOUND if there is no such directory, INVALID_ARGUMENT if it cannot be listed.
absl::StatusOr<std::unique_ptr<ModelFiles>> OpenFilesOnDisk(const std::string& directory);

// `label` precedes file names in messages.
std::unique_ptr<ModelFiles> OpenFilesInMemory(const std::string& label,
                                              std::map<std::string, std::string> files);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_MODEL_FILES_H_
