// Bytes of a model, from a stranger. The first byte chooses what the rest is:
//   0 safetensors file, 1 config.json, 2 vocabulary, 3 a whole directory: files one after another, each as a
//   byte for its name, three for its length (little endian), and its contents.
// Whatever is accepted must be what the headers promise; a broken promise aborts.
#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/format/model_config.h"
#include "core/format/model_directory.h"
#include "core/format/safetensors.h"
#include "core/format/tensor_spec.h"
#include "core/format/vocabulary.h"
#include "tests/fuzz/fuzzer.h"
#include "tests/testing/model_builder.h"

namespace splineserve {
namespace {

constexpr const char* kNames[] = {"config.json",
                                  "model.safetensors",
                                  "model.safetensors.index.json",
                                  "source.txt",
                                  "target.txt",
                                  "model-00001-of-00002.safetensors",
                                  "model-00002-of-00002.safetensors"};

constexpr char kConfig[] =
    R"({"model_type": "spline_transformer", "architecture": "encoder_decoder", "hidden_size": 2,
"num_attention_heads": 1, "intermediate_size": 3, "num_encoder_layers": 1, "num_decoder_layers": 1, "norm": "affine",
"final_norm": true, "positions": "learned", "max_positions": 4, "softplus_beta": 2.5, "norm_eps": 1e-6,
"input": {"kind": "tokens", "vocab_size": 5, "scale": 1.5}, "target_input": {"kind": "tokens", "vocab_size": 6},
"head": {"kind": "linear", "size": 6, "pooling": "none"}, "vocabulary": {"file": "source.txt", "split": "characters"},
"target_vocabulary": {"file": "target.txt", "split": "whitespace"}, "bos_token_id": 1, "pad_token_id": 0})";

void Promise(bool kept) {
  if (!kept) abort();
}

// A refusal says something, and is one of the two codes.
void CheckRefusal(const absl::Status& status) {
  Promise(absl::IsInvalidArgument(status) || absl::IsNotFound(status));
  Promise(!status.message().empty() && status.message().size() < 5000);
}

void FuzzSafetensors(std::string_view bytes) {
  const auto tensors =
      ParseSafetensors({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "fuzz");
  if (!tensors.ok()) return CheckRefusal(tensors.status());
  size_t total = 0;
  for (const TensorView& tensor : *tensors) {
    size_t elements = 1;
    for (const size_t extent : tensor.shape) elements *= extent;
    Promise(elements == tensor.elements() && tensor.data.size() == elements * SizeOf(tensor.dtype));
    total += tensor.data.size();
    std::vector<float> values(elements);
    Promise(ReadFloats(tensor, absl::MakeSpan(values)).ok() == CheckFinite(tensor).ok());
  }
  Promise(total < bytes.size());
}

void FuzzConfig(std::string_view text) {
  const auto config = ParseModelConfig(text, "fuzz");
  if (!config.ok()) return CheckRefusal(config.status());
  Promise(config->has_encoder() == (config->num_encoder_layers > 0));
  Promise(config->has_decoder() == (config->num_decoder_layers > 0));
  Promise(!ExpectedTensors(*config).empty());
}

void FuzzVocabulary(std::string_view bytes) {
  if (bytes.size() < 2) return;
  const VocabularySplit split = bytes[0] & 1 ? VocabularySplit::kCharacters : VocabularySplit::kWhitespace;
  const size_t size = static_cast<uint8_t>(bytes[1]);
  const auto vocabulary = Vocabulary::Parse(bytes.substr(2), "fuzz", split, size);
  if (!vocabulary.ok()) return CheckRefusal(vocabulary.status());
  Promise(vocabulary->size() == size);
  const auto ids = vocabulary->Encode(bytes.substr(2));
  if (ids.ok()) Promise(*vocabulary->Encode(vocabulary->Decode(*ids)) == *ids);
}

void FuzzDirectory(std::string_view bytes) {
  std::map<std::string, std::string> files;
  while (bytes.size() >= 4) {
    const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(bytes[i])); };
    const char* name = kNames[byte(0) % std::size(kNames)];
    const size_t length = std::min(bytes.size() - 4, byte(1) | byte(2) << 8 | byte(3) << 16);
    files[name] = std::string(bytes.substr(4, length));
    bytes.remove_prefix(4 + length);
  }
  const auto directory = ModelDirectory::OpenInMemory("fuzz", std::move(files));
  if (!directory.ok()) return CheckRefusal(directory.status());
  for (const TensorSpec& spec : ExpectedTensors(directory->config())) {
    const TensorView* tensor = directory->Find(spec.name);
    Promise(tensor == nullptr ? spec.optional : tensor->shape == spec.shape && CheckFinite(*tensor).ok());
  }
}

std::string DirectoryBytes(const testing::ModelFiles& files) {
  std::string bytes = "\3";
  for (size_t name = 0; name < std::size(kNames); ++name) {
    const auto it = files.find(kNames[name]);
    if (it == files.end()) continue;
    const size_t length = it->second.size();
    bytes += {static_cast<char>(name), static_cast<char>(length), static_cast<char>(length >> 8),
              static_cast<char>(length >> 16)};
    bytes += it->second;
  }
  return bytes;
}

}  // namespace

namespace testing {

std::vector<std::string> FuzzerSeeds() {
  const ModelFiles single = BuildModel(kConfig);
  const ModelFiles sharded = BuildModel(kConfig, {.dtype = DType::kBF16, .shards = 2});
  std::vector<std::string> seeds = {std::string(1, '\0') + single.at("model.safetensors"),
                                    "\1" + single.at("config.json"),
                                    "\2\1\5" + single.at("source.txt"),
                                    std::string("\2\0\6", 3) + single.at("target.txt"),
                                    DirectoryBytes(single),
                                    DirectoryBytes(sharded)};
  for (const DType dtype : {DType::kF16, DType::kF64}) {
    const StoredTensor a = {"a", dtype, {2, 2}, EncodeValues({1, 2, 3, 4}, dtype)}, b = {"b", dtype, {0}, ""};
    seeds.push_back(std::string(1, '\0') + SafetensorsBlob({a, b}));
  }
  return seeds;
}

}  // namespace testing
}  // namespace splineserve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      splineserve::FuzzSafetensors(rest);
      break;
    case 1:
      splineserve::FuzzConfig(rest);
      break;
    case 2:
      splineserve::FuzzVocabulary(rest);
      break;
    case 3:
      splineserve::FuzzDirectory(rest);
      break;
  }
  return 0;
}
