// model.safetensors.index.json and its shards, whole and at odds with each other.
#include <functional>
#include <string>

#include "core/format/model_directory.h"
#include "nlohmann/json.hpp"
#include "tests/format/failure.h"
#include "tests/format/sample_configs.h"
#include "tests/testing/model_builder.h"

namespace splineserve {
namespace {

using testing::BuildModel;
using testing::FailsWith;
using testing::ModelFiles;
using testing::Refused;

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kShard1[] = "model-00001-of-00003.safetensors";
constexpr char kShard2[] = "model-00002-of-00003.safetensors";
constexpr char kTensor[] = "encoder.layers.0.ffn.up_proj.weight";

ModelFiles Sharded() { return BuildModel(testing::kEncoderConfig, {.shards = 3}); }

absl::StatusOr<ModelDirectory> Open(const ModelFiles& files) {
  return ModelDirectory::OpenInMemory("m", files);
}

absl::StatusOr<ModelDirectory> OpenWithIndex(const std::function<void(nlohmann::json&)>& edit) {
  ModelFiles files = Sharded();
  nlohmann::json index = nlohmann::json::parse(files[kIndex]);
  edit(index);
  files[kIndex] = index.dump();
  return Open(files);
}

TEST(Shards, HoldTheSameTensorsAsOneFile) {
  const auto whole = Open(BuildModel(testing::kEncoderConfig));
  for (const size_t shards : {1, 2, 3, 20}) {
    const ModelFiles files = BuildModel(testing::kEncoderConfig, {.shards = shards});
    const auto sharded = Open(files);
    ASSERT_TRUE(sharded.ok()) << sharded.status();
    EXPECT_EQ(sharded->weight_bytes(), whole->weight_bytes());
    EXPECT_EQ(sharded->Find(kTensor)->data, whole->Find(kTensor)->data);
    const testing::TempDir disk = testing::WriteFiles(files);
    const auto from_disk = ModelDirectory::Open(disk.path());
    ASSERT_TRUE(from_disk.ok()) << from_disk.status();
    EXPECT_EQ(from_disk->digest(), sharded->digest());
  }
}

TEST(Shards, TheIndexIsNotPartOfTheDigest) {
  const std::string digest = Open(Sharded())->digest();
  const auto other = OpenWithIndex([](nlohmann::json& index) { index.erase("metadata"); });
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->digest(), digest);
}

TEST(Shards, MissingShard) {
  ModelFiles files = Sharded();
  files.erase(kShard2);
  EXPECT_TRUE(FailsWith(Open(files).status(), absl::StatusCode::kNotFound, {std::string("m/") + kShard2}));
}

TEST(Shards, NamesStayInsideTheDirectory) {
  for (const nlohmann::json& bad :
       {nlohmann::json("../model.safetensors"), nlohmann::json("/etc/model.safetensors"),
        nlohmann::json("a/b.safetensors"), nlohmann::json("weights.bin"), nlohmann::json(""),
        nlohmann::json(3), nlohmann::json(nullptr), nlohmann::json(std::string("x\0.safetensors", 14)),
        nlohmann::json("..")}) {
    const auto opened = OpenWithIndex([&](nlohmann::json& index) { index["weight_map"][kTensor] = bad; });
    EXPECT_TRUE(Refused(
        opened, {std::string("m/") + kIndex, std::string("tensor ") + kTensor, "plain name", "found "}));
  }
}

TEST(Shards, IndexThatIsNone) {
  const auto with_text = [](const std::string& text) {
    ModelFiles files = Sharded();
    files[kIndex] = text;
    return Open(files);
  };
  EXPECT_TRUE(Refused(with_text("{"), {std::string("m/") + kIndex + ": byte", "malformed JSON"}));
  EXPECT_TRUE(Refused(with_text("[]"), {"expected a JSON object, found an array of 0"}));
  EXPECT_TRUE(Refused(with_text("{}"), {"weight_map: expected an object, found no such field"}));
  EXPECT_TRUE(Refused(with_text("{\"weight_map\": []}"), {"weight_map: expected an object, found an array"}));
  EXPECT_TRUE(Refused(with_text(R"({"weight_map": {"a": "x", "a": "x"}})"), {"repeated key \"a\""}));
  EXPECT_TRUE(Refused(with_text(std::string(100, '[')), {"at most 8 deep"}));
  std::string wide = "{\"weight_map\":[0";
  for (int i = 0; i < 1'000'000; ++i) wide += ",0";
  EXPECT_TRUE(Refused(with_text(wide + "]}"), {"at most 1000000 JSON values"}));
}

TEST(Shards, IndexThatDisagrees) {
  // A tensor that the index puts into another shard, forgets, or invents.
  const std::string in_shard = nlohmann::json::parse(Sharded().at(kIndex))["weight_map"][kTensor];
  const std::string other = in_shard == kShard1 ? kShard2 : kShard1;
  EXPECT_TRUE(Refused(
      OpenWithIndex([&](nlohmann::json& index) { index["weight_map"][kTensor] = other; }),
      {"m/" + in_shard, std::string("tensor ") + kTensor, "expected in " + other, "found in " + in_shard}));
  EXPECT_TRUE(Refused(
      OpenWithIndex([](nlohmann::json& index) { index["weight_map"].erase(kTensor); }),
      {"m/" + in_shard, std::string("tensor ") + kTensor, "expected nowhere", "found in " + in_shard}));
  EXPECT_TRUE(Refused(
      OpenWithIndex([](nlohmann::json& index) { index["weight_map"]["ghost"] = kShard1; }),
      {std::string("m/") + kIndex, "tensor ghost", std::string("expected in ") + kShard1, "no such tensor"}));
  EXPECT_TRUE(Refused(OpenWithIndex([](nlohmann::json& index) { index["weight_map"].clear(); }),
                      {kShard1, "expected only shards that"}));
}

TEST(Shards, OneTensorInTwoShards) {
  ModelFiles files = Sharded();
  files[kShard2] = files[kShard1];
  EXPECT_TRUE(Refused(Open(files),
                      {std::string("m/") + kShard2, std::string("expected in ") + kShard1, "found in "}));
}

TEST(Shards, FilesThatNobodyNames) {
  ModelFiles both = Sharded();
  both["model.safetensors"] = BuildModel(testing::kEncoderConfig).at("model.safetensors");
  EXPECT_TRUE(
      Refused(Open(both), {"m: expected model.safetensors or model.safetensors.index.json, found both"}));
  ModelFiles stray = Sharded();
  stray["adapter.safetensors"] = "anything";
  EXPECT_TRUE(Refused(Open(stray), {"m/adapter.safetensors: expected only shards", "found this file"}));
  ModelFiles single = BuildModel(testing::kEncoderConfig);
  single["adapter.safetensors"] = "anything";
  EXPECT_TRUE(Refused(Open(single), {"m/adapter.safetensors: expected no weights beside model.safetensors"}));
  single.erase("adapter.safetensors");
  single["README.md"] = "anything";
  EXPECT_TRUE(Open(single).ok());
}

TEST(Shards, MissingTensorIsReportedAgainstTheIndex) {
  ModelFiles files = Sharded();
  nlohmann::json index = nlohmann::json::parse(files[kIndex]);
  const std::string shard = index["weight_map"][kTensor];
  index["weight_map"]["renamed"] = shard;
  index["weight_map"].erase(kTensor);
  files[kIndex] = index.dump();
  files[shard] = testing::EditHeader(files[shard], [](nlohmann::ordered_json& header) {
    header["renamed"] = header[kTensor];
    header.erase(kTensor);
  });
  EXPECT_TRUE(Refused(Open(files), {std::string("m/") + kIndex, std::string("tensor ") + kTensor,
                                    "expected shape [7, 6], found no such tensor"}));
}

}  // namespace
}  // namespace splineserve
