#include "tests/testing/model_builder.h"

#include <cmath>
#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "core/format/model_config.h"
#include "nlohmann/json.hpp"

namespace splineserve::testing {
namespace {

// SplitMix64: the standard library's distributions differ between platforms.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // In [0, 1).
  double Uniform() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return std::ldexp(static_cast<double>((z ^ (z >> 31)) >> 11), -53);
  }

 private:
  uint64_t state_;
};

// FNV-1a, so that a tensor's values do not depend on which other tensors there are.
uint64_t SeedOf(std::string_view name, uint64_t seed) {
  uint64_t hash = 0xcbf29ce484222325 ^ (seed * 0x9e3779b97f4a7c15);
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::string VocabularyText(size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) {
    if (i < 3) {
      text += i == 0 ? "<pad>" : i == 1 ? "<bos>" : "<eos>";
    } else if (i < 3 + 26) {
      text += static_cast<char>('a' + i - 3);
    } else if (i < 3 + 26 + 1000) {
      const size_t code = 0x100 + i - 29;  // two bytes of UTF-8
      text += static_cast<char>(0xc0 | (code >> 6));
      text += static_cast<char>(0x80 | (code & 0x3f));
    } else {
      const size_t code = 0x4e00 + i - 1029;  // three bytes
      text += static_cast<char>(0xe0 | (code >> 12));
      text += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
      text += static_cast<char>(0x80 | (code & 0x3f));
    }
    text += '\n';
  }
  return text;
}

std::vector<double> Rounded(const std::vector<double>& values, DType dtype) {
  const std::string bytes = EncodeValues(values, dtype);
  TensorView tensor;
  tensor.dtype = dtype;
  tensor.data = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  std::vector<float> rounded(values.size());
  if (!ReadFloatsAt(tensor, 0, rounded.size(), rounded.data())) throw std::runtime_error("not finite");
  return {rounded.begin(), rounded.end()};
}

std::vector<StoredTensor> BuildTensors(const ModelConfig& config, const ModelOptions& options) {
  std::vector<StoredTensor> tensors;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    Random choice(SeedOf(spec.name + "?", options.seed));
    if (spec.optional && choice.Uniform() >= options.optional_tensors) continue;
    std::vector<double> values = RandomValues(spec, options.seed);
    if (options.rounded_to != DType::kF64) values = Rounded(values, options.rounded_to);
    tensors.push_back({spec.name, options.dtype, spec.shape, EncodeValues(values, options.dtype)});
  }
  return tensors;
}

void AddWeights(const std::vector<StoredTensor>& tensors, size_t shards, ModelFiles* files) {
  if (shards == 0) {
    (*files)["model.safetensors"] = SafetensorsBlob(tensors);
    return;
  }
  nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
  size_t total_size = 0;
  std::vector<std::vector<StoredTensor>> dealt(shards);
  const auto shard_name = [&](size_t shard) {
    return absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, shards);
  };
  for (size_t i = 0; i < tensors.size(); ++i) {
    dealt[i % shards].push_back(tensors[i]);
    weight_map[tensors[i].name] = shard_name(i % shards);
    total_size += tensors[i].data.size();
  }
  for (size_t shard = 0; shard < shards; ++shard) (*files)[shard_name(shard)] = SafetensorsBlob(dealt[shard]);
  nlohmann::ordered_json index = {{"metadata", {{"total_size", total_size}}}, {"weight_map", weight_map}};
  (*files)["model.safetensors.index.json"] = index.dump(2);
}

}  // namespace

std::vector<double> RandomValues(const TensorSpec& spec, uint64_t seed) {
  size_t elements = 1;
  for (const size_t extent : spec.shape) elements *= extent;
  const bool bias = absl::EndsWith(spec.name, ".bias");
  const bool norm = absl::EndsWith(spec.name, "norm.weight");
  const double in = spec.shape.size() == 2 ? static_cast<double>(spec.shape[1]) : 1.0;
  double center = 0.0, radius = std::sqrt(3.0 / in);
  if (bias) radius = 0.1;
  if (norm) center = 1.0, radius = 0.2;
  if (absl::EndsWith(spec.name, "embed_tokens.weight")) radius = std::sqrt(3.0);
  if (absl::EndsWith(spec.name, "embed_positions.weight")) radius = std::sqrt(3.0) / 2;
  Random random(SeedOf(spec.name, seed));
  std::vector<double> values(elements);
  for (double& value : values) value = center + radius * (2 * random.Uniform() - 1);
  return values;
}

ModelFiles BuildModel(std::string_view config_json, const ModelOptions& options) {
  absl::StatusOr<ModelConfig> config = ParseModelConfig(config_json, "config.json");
  if (!config.ok()) throw std::runtime_error(config.status().ToString());
  ModelFiles files;
  files["config.json"] = std::string(config_json);
  AddWeights(BuildTensors(*config, options), options.shards, &files);
  if (config->vocabulary) files[config->vocabulary->file] = VocabularyText(config->input.size);
  if (config->target_vocabulary) {
    files[config->target_vocabulary->file] = VocabularyText(config->target_input->size);
  }
  return files;
}

TempDir WriteFiles(const ModelFiles& files) {
  TempDir directory;
  for (const auto& [name, contents] : files) directory.Write(name, contents);
  return directory;
}

TempDir WriteModel(std::string_view config_json, const ModelOptions& options) {
  return WriteFiles(BuildModel(config_json, options));
}

}  // namespace splineserve::testing
