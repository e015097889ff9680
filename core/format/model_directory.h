// A model directory on disk, opened, checked completely and mapped: all or nothing.
#ifndef SPLINESERVE_CORE_FORMAT_MODEL_DIRECTORY_H_
#define SPLINESERVE_CORE_FORMAT_MODEL_DIRECTORY_H_

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/format/model_config.h"
#include "core/format/safetensors.h"
#include "core/format/vocabulary.h"

namespace splineserve {

class ModelFiles;

// Immutable after Open; thread-safe; copies share the bytes. Owns the memory maps; TensorViews point into
// them.
class ModelDirectory {
 public:
  // Reads `path`/config.json, then model.safetensors or the shards named by model.safetensors.index.json
  // (both at once is an error, as is a shard outside the directory, a tensor in another shard than the index
  // says, or an index that disagrees with the shards' contents, or a *.safetensors file that neither names),
  // then the vocabularies. Every tensor of ExpectedTensors(config) is checked for presence, dtype, shape and
  // finite values; any other tensor is refused. Reads the weights once (finite check): cost is their size.
  // NOT_FOUND for a missing file or directory, INVALID_ARGUMENT for everything else, naming file, tensor or
  // field, expected and found.
  static absl::StatusOr<ModelDirectory> Open(const std::string& path);

  // All of that but CheckValues(): for a caller that reads every value anyway and refuses what is not finite,
  // as WeightPacker does. Reads headers, not weights.
  static absl::StatusOr<ModelDirectory> OpenUnread(const std::string& path);

  // The same for files that are already in memory: name -> contents. `label` stands for the path in messages.
  static absl::StatusOr<ModelDirectory> OpenInMemory(const std::string& label,
                                                     std::map<std::string, std::string> files);

  const ModelConfig& config() const { return config_; }
  // nullptr where an optional tensor is absent.
  const TensorView* Find(const std::string& name) const;
  const std::optional<Vocabulary>& vocabulary() const { return vocabulary_; }
  const std::optional<Vocabulary>& target_vocabulary() const { return target_vocabulary_; }
  // XXH3-128 over config.json, then every *.safetensors file by ascending byte order of name; 32 lowercase
  // hex digits.
  // Reads everything once more, at the speed of memory; throws std::bad_alloc.
  std::string digest() const;
  // INVALID_ARGUMENT for the first tensor by name with a value that is not a finite float32 (CheckFinite).
  absl::Status CheckValues() const;
  // Gives back the memory under a part of a tensor's data until it is read again; the peak of a load then
  // does not hold the file beside what was made of it. Any thread. Nothing happens in memory.
  void Drop(absl::Span<const uint8_t> bytes) const;
  size_t weight_bytes() const { return weight_bytes_; }  // of all tensors, as stored
  const std::string& path() const { return path_; }

 private:
  static absl::StatusOr<ModelDirectory> Load(const std::string& path, std::unique_ptr<ModelFiles> files);

  std::string path_;
  ModelConfig config_;
  std::shared_ptr<const ModelFiles> files_;  // what the views point into
  std::map<std::string, TensorView> tensors_;
  std::optional<Vocabulary> vocabulary_, target_vocabulary_;
  std::vector<absl::Span<const uint8_t>> digested_;  // whole files, in the digest's order
  size_t weight_bytes_ = 0;
};

// One servable version found in a repository.
struct RepositoryEntry {
  std::string name;
  int version = 1;
  std::string path;
};

// Lists `repository`/NAME/VERSION/ (VERSION a positive integer) and `repository`/NAME/ alone (version 1),
// sorted by name and version. A directory without config.json in either place is skipped. NOT_FOUND if
// there is no `repository`; INVALID_ARGUMENT if it cannot be listed or NAME holds both forms.
absl::StatusOr<std::vector<RepositoryEntry>> ListRepository(const std::string& repository);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_MODEL_DIRECTORY_H_
