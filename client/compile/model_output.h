// A model directory that appears as a whole or not at all.
#ifndef SPLINESERVE_CLIENT_COMPILE_MODEL_OUTPUT_H_
#define SPLINESERVE_CLIENT_COMPILE_MODEL_OUTPUT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace splineserve::client {

// Files are written to a hidden directory beside the one that is wanted, which takes its name when all is
// well. Whatever is not published is removed on destruction, with the parents that were made for it.
// Move-only.
class ModelOutput {
 public:
  // Checks `directory`, makes its parents and writes the files beside it. ALREADY_EXISTS if it is there and
  // holds anything: with `replace` only if it holds anything but a model's config.json and model.safetensors.
  // INTERNAL or what the system says if it cannot be written.
  static absl::StatusOr<ModelOutput> Write(const std::string& directory, bool replace,
                                           const std::map<std::string, std::string>& files);
  ModelOutput(ModelOutput&& other) noexcept;
  ModelOutput& operator=(ModelOutput&&) = delete;
  ~ModelOutput();

  const std::string& path() const { return temporary_; }  // where the files are until Publish
  absl::Status Publish();

 private:
  ModelOutput() = default;
  std::string directory_;
  std::string temporary_;          // empty when there is nothing to remove
  std::vector<std::string> made_;  // parents, the innermost first
};

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMPILE_MODEL_OUTPUT_H_
