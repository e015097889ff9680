#include "core/format/model_directory.h"

#include <xxhash.h>

#include <algorithm>
#include <new>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/format/json.h"
#include "core/format/model_files.h"
#include "core/format/tensor_spec.h"
#include "core/format/untrusted_text.h"

namespace splineserve {
namespace {

constexpr char kConfigName[] = "config.json";
constexpr char kWeightsName[] = "model.safetensors";
constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kWeightsSuffix[] = ".safetensors";
constexpr size_t kMaxIndexBytes = 100'000'000;
constexpr size_t kMaxIndexDepth = 8;
constexpr size_t kMaxIndexValues = 1'000'000;

using Tensors = std::map<std::string, TensorView>;
using WeightMap = std::map<std::string, std::string>;  // tensor -> shard

std::string_view AsText(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// "weight_map" of an index; its other keys say nothing that the shards do not.
absl::StatusOr<WeightMap> ParseIndex(std::string_view text, const std::string& file) {
  if (text.size() > kMaxIndexBytes) {
    return FileError(file, absl::StrCat("expected at most ", kMaxIndexBytes, " bytes, found ", text.size()));
  }
  SPLINESERVE_ASSIGN_OR_RETURN(const nlohmann::json root,
                               ParseJson(text, file, kMaxIndexDepth, kMaxIndexValues));
  if (!root.is_object()) return FileError(file, absl::StrCat("expected a JSON object, found ", Shown(root)));
  const auto it = root.find("weight_map");
  if (it == root.end() || !it->is_object()) {
    return FileError(file, absl::StrCat("weight_map: expected an object, found ",
                                        it == root.end() ? "no such field" : Shown(*it)));
  }
  WeightMap weight_map;
  for (const auto& item : it->items()) {
    const nlohmann::json& shard = item.value();
    if (!shard.is_string() || !IsPlainFileName(shard.get_ref<const std::string&>()) ||
        !absl::EndsWith(shard.get_ref<const std::string&>(), kWeightsSuffix)) {
      return TensorError(file, item.key(),
                         absl::StrCat("weight_map: expected the plain name of a ", kWeightsSuffix,
                                      " file in the model directory, found ", Shown(shard)));
    }
    weight_map[item.key()] = shard.get<std::string>();
  }
  return weight_map;
}

// Collects the tensors of model.safetensors, or of every shard that the index names.
class WeightsReader {
 public:
  WeightsReader(std::string path, ModelFiles* files) : path_(std::move(path)), files_(files) {}

  absl::StatusOr<Tensors> Read() {
    const std::vector<std::string>& names = files_->names();
    const bool single = std::find(names.begin(), names.end(), kWeightsName) != names.end();
    const bool index = std::find(names.begin(), names.end(), kIndexName) != names.end();
    const std::string expected = absl::StrCat("expected ", kWeightsName, " or ", kIndexName, ", found ");
    if (single && index) return FileError(path_, expected + "both");
    if (!single && !index) return absl::NotFoundError(absl::StrCat(path_, ": ", expected, "neither"));
    std::set<std::string> shards = {kWeightsName};
    if (index) {
      SPLINESERVE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes, files_->Read(kIndexName));
      SPLINESERVE_ASSIGN_OR_RETURN(weight_map_, ParseIndex(AsText(bytes), FileOf(kIndexName)));
      shards.clear();
      for (const auto& [tensor, shard] : weight_map_) shards.insert(shard);
    }
    // Before any is read: one that is left over would be weights that nobody asked for, or a forgotten shard.
    for (const std::string& name : names) {
      if (absl::EndsWith(name, kWeightsSuffix) && shards.count(name) == 0) {
        return FileError(
            FileOf(Excerpt(name)),
            index ? absl::StrCat("expected only shards that ", kIndexName, " names, found this file")
                  : absl::StrCat("expected no weights beside ", kWeightsName, ", found this file"));
      }
    }
    for (const std::string& shard : shards) SPLINESERVE_RETURN_IF_ERROR(ReadShard(shard, index));
    for (const auto& [tensor, shard] : weight_map_) {
      if (tensors_.count(tensor) == 0) {
        return TensorError(FileOf(kIndexName), tensor,
                           absl::StrCat("expected in ", shard, ", found no such tensor there"));
      }
    }
    return std::move(tensors_);
  }

 private:
  std::string FileOf(const std::string& name) const { return path_ + "/" + name; }

  absl::Status ReadShard(const std::string& shard, bool index) {
    SPLINESERVE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes, files_->Read(shard));
    SPLINESERVE_ASSIGN_OR_RETURN(std::vector<TensorView> tensors, ParseSafetensors(bytes, FileOf(shard)));
    for (TensorView& tensor : tensors) {
      if (index) {
        const auto it = weight_map_.find(tensor.name);
        if (it == weight_map_.end() || it->second != shard) {
          return TensorError(
              tensor.file, tensor.name,
              absl::StrCat("expected ", it == weight_map_.end() ? "nowhere" : "in " + it->second, " as ",
                           kIndexName, " says, found in ", shard));
        }
      }
      const std::string name = tensor.name;
      tensors_.emplace(name, std::move(tensor));
    }
    return absl::OkStatus();
  }

  const std::string path_;
  ModelFiles* const files_;
  WeightMap weight_map_;
  Tensors tensors_;
};

// Presence and shape of everything that the config calls for, and nothing else.
absl::Status CheckTensors(const ModelConfig& config, const std::string& weights_file,
                          const Tensors& tensors) {
  std::set<std::string> known;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    known.insert(spec.name);
    const auto it = tensors.find(spec.name);
    if (it == tensors.end()) {
      if (spec.optional) continue;
      return TensorError(weights_file, spec.name,
                         absl::StrCat("expected shape ", ShapeString(spec.shape), ", found no such tensor"));
    }
    if (it->second.shape != spec.shape) {
      return TensorError(it->second.file, spec.name,
                         absl::StrCat("expected shape ", ShapeString(spec.shape), ", found ",
                                      ShapeString(it->second.shape)));
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (known.count(name) == 0) {
      return TensorError(tensor.file, name,
                         absl::StrCat("expected no such tensor with this ", kConfigName, ", found ",
                                      std::string(Name(tensor.dtype)), " ", ShapeString(tensor.shape)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Vocabulary>> ReadVocabulary(const std::optional<VocabularyConfig>& config,
                                                         size_t size, const std::string& path,
                                                         ModelFiles* files) {
  if (!config) return std::nullopt;
  SPLINESERVE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes, files->Read(config->file));
  SPLINESERVE_ASSIGN_OR_RETURN(
      Vocabulary vocabulary,
      Vocabulary::Parse(AsText(bytes), path + "/" + config->file, config->split, size));
  return vocabulary;
}

// What the digest covers. Every *.safetensors file is part of the model here: WeightsReader refuses others.
absl::StatusOr<std::vector<absl::Span<const uint8_t>>> DigestedFiles(ModelFiles* files) {
  std::vector<absl::Span<const uint8_t>> digested;
  SPLINESERVE_ASSIGN_OR_RETURN(digested.emplace_back(), files->Read(kConfigName));
  for (const std::string& name : files->names()) {
    if (!absl::EndsWith(name, kWeightsSuffix)) continue;
    SPLINESERVE_ASSIGN_OR_RETURN(digested.emplace_back(), files->Read(name));
  }
  return digested;
}

}  // namespace

absl::StatusOr<ModelDirectory> ModelDirectory::OpenUnread(const std::string& path) {
  SPLINESERVE_ASSIGN_OR_RETURN(std::unique_ptr<ModelFiles> files, OpenFilesOnDisk(path));
  return Load(path, std::move(files));
}

absl::StatusOr<ModelDirectory> ModelDirectory::Open(const std::string& path) {
  SPLINESERVE_ASSIGN_OR_RETURN(ModelDirectory directory, OpenUnread(path));
  SPLINESERVE_RETURN_IF_ERROR(directory.CheckValues());
  return directory;
}

absl::StatusOr<ModelDirectory> ModelDirectory::OpenInMemory(const std::string& label,
                                                            std::map<std::string, std::string> files) {
  SPLINESERVE_ASSIGN_OR_RETURN(ModelDirectory directory,
                               Load(label, OpenFilesInMemory(label, std::move(files))));
  SPLINESERVE_RETURN_IF_ERROR(directory.CheckValues());
  return directory;
}

absl::StatusOr<ModelDirectory> ModelDirectory::Load(const std::string& path,
                                                    std::unique_ptr<ModelFiles> files) {
  ModelDirectory directory;
  directory.path_ = path;
  SPLINESERVE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> config, files->Read(kConfigName));
  SPLINESERVE_ASSIGN_OR_RETURN(directory.config_, ParseModelConfig(AsText(config), path + "/" + kConfigName));
  const ModelConfig& parsed = directory.config_;
  SPLINESERVE_ASSIGN_OR_RETURN(directory.vocabulary_,
                               ReadVocabulary(parsed.vocabulary, parsed.input.size, path, files.get()));
  SPLINESERVE_ASSIGN_OR_RETURN(
      directory.target_vocabulary_,
      ReadVocabulary(parsed.target_vocabulary, parsed.decoder_input().size, path, files.get()));

  SPLINESERVE_ASSIGN_OR_RETURN(directory.tensors_, WeightsReader(path, files.get()).Read());
  const bool index = std::count(files->names().begin(), files->names().end(), kIndexName) != 0;
  SPLINESERVE_RETURN_IF_ERROR(
      CheckTensors(parsed, path + "/" + (index ? kIndexName : kWeightsName), directory.tensors_));
  for (const auto& [name, tensor] : directory.tensors_) directory.weight_bytes_ += tensor.data.size();
  SPLINESERVE_ASSIGN_OR_RETURN(directory.digested_, DigestedFiles(files.get()));
  directory.files_ = std::move(files);
  return directory;
}

absl::Status ModelDirectory::CheckValues() const {
  for (const auto& [name, tensor] : tensors_) SPLINESERVE_RETURN_IF_ERROR(CheckFinite(tensor));
  return absl::OkStatus();
}

std::string ModelDirectory::digest() const {
  struct FreeState {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  const std::unique_ptr<XXH3_state_t, FreeState> state(XXH3_createState());
  if (state == nullptr || XXH3_128bits_reset(state.get()) == XXH_ERROR) throw std::bad_alloc();
  constexpr size_t kRun = size_t{1} << 20;
  for (const absl::Span<const uint8_t> file : digested_) {
    for (size_t at = 0; at < file.size(); at += kRun) {
      const absl::Span<const uint8_t> run = file.subspan(at, kRun);
      XXH3_128bits_update(state.get(), run.data(), run.size());
      Drop(run);
    }
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state.get()));
  return absl::BytesToHexString({reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest)});
}

void ModelDirectory::Drop(absl::Span<const uint8_t> bytes) const { files_->Drop(bytes); }

const TensorView* ModelDirectory::Find(const std::string& name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

}  // namespace splineserve
