// Whole model directories: the golden ones, built ones, and what is wrong with damaged ones.
#include "core/format/model_directory.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <limits>
#include <string>

#include "core/format/mapped_file.h"
#include "core/format/tensor_spec.h"
#include "nlohmann/json.hpp"
#include "tests/format/failure.h"
#include "tests/format/sample_configs.h"
#include "tests/testing/model_builder.h"

namespace splineserve {
namespace {

using testing::BuildModel;
using testing::FailsWith;
using testing::ModelFiles;
using testing::ReadFile;
using testing::Refused;
using testing::TempDir;

absl::StatusOr<ModelDirectory> Open(const ModelFiles& files) {
  return ModelDirectory::OpenInMemory("m", files);
}

TEST(ModelDirectory, OpensEveryGoldenModelWithItsDigest) {
  const char* source = getenv("SPLINESERVE_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "run through ctest, or set SPLINESERVE_SOURCE_DIR to the repository's root";
  size_t models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(source) + "/tests/golden")) {
    if (!entry.is_directory()) continue;
    const std::string path = entry.path().string();
    const auto directory = ModelDirectory::Open(path);
    ASSERT_TRUE(directory.ok()) << directory.status();
    const auto expected = nlohmann::json::parse(ReadFile(path + "/expected.json"));
    EXPECT_EQ(directory->digest(), expected.at("digest").get<std::string>()) << path;
    EXPECT_EQ(directory->path(), path);
    ++models;
  }
  EXPECT_GE(models, 13u);
}

TEST(ModelDirectory, OpensEveryDtypeAndChoiceOfBiases) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    for (const double optional : {0.0, 0.5, 1.0}) {
      const ModelFiles files = BuildModel(testing::kEncoderDecoderConfig,
                                          {.seed = 3, .dtype = dtype, .optional_tensors = optional});
      const auto directory = Open(files);
      ASSERT_TRUE(directory.ok()) << directory.status();
      size_t present = 0, bytes = 0, possible = 0;
      for (const TensorSpec& spec : ExpectedTensors(directory->config())) {
        const TensorView* tensor = directory->Find(spec.name);
        ++possible;
        if (tensor == nullptr) {
          EXPECT_TRUE(spec.optional);
          continue;
        }
        ++present;
        bytes += tensor->data.size();
        EXPECT_EQ(tensor->shape, spec.shape);
        EXPECT_EQ(tensor->dtype, dtype);
        std::vector<float> values(tensor->elements());
        ASSERT_TRUE(ReadFloats(*tensor, absl::MakeSpan(values)).ok());
        const std::vector<double> expected = testing::RandomValues(spec, 3);
        const double tolerance = dtype == DType::kBF16 ? 0x1p-8 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-24;
        for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], 2 * tolerance);
      }
      EXPECT_EQ(directory->weight_bytes(), bytes);
      EXPECT_EQ(present == possible, optional == 1.0);
      ASSERT_TRUE(directory->vocabulary() && directory->target_vocabulary());
      EXPECT_EQ(directory->vocabulary()->Decode({3, 4}), "ab");
      EXPECT_EQ(directory->target_vocabulary()->Decode({3, 4}), "a b");
      EXPECT_EQ(directory->Find("no.such.tensor"), nullptr);
    }
  }
}

TEST(ModelDirectory, DiskAndMemoryAgreeAndViewsOutliveMoves) {
  const ModelFiles files = BuildModel(testing::kEncoderConfig);
  const TempDir disk = testing::WriteFiles(files);
  absl::StatusOr<ModelDirectory> opened = ModelDirectory::Open(disk.path());
  ASSERT_TRUE(opened.ok()) << opened.status();
  const ModelDirectory moved = *std::move(opened);
  const auto memory = Open(files);
  EXPECT_EQ(moved.digest(), memory->digest());
  EXPECT_EQ(moved.weight_bytes(), memory->weight_bytes());
  const TensorView* tensor = moved.Find("head.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->data, memory->Find("head.weight")->data);
  EXPECT_EQ(tensor->file, disk.path() + "/model.safetensors");
}

TEST(ModelDirectory, DigestSeesWeightsAndConfigButNoVocabulary) {
  ModelFiles files = BuildModel(testing::kEncoderDecoderConfig);
  const std::string digest = Open(files)->digest();
  EXPECT_EQ(digest.size(), 32u);
  files["source.txt"].replace(0, 5, "<PAD>");
  EXPECT_EQ(Open(files)->digest(), digest);
  files["config.json"] += "\n";
  EXPECT_NE(Open(files)->digest(), digest);
  EXPECT_NE(Open(BuildModel(testing::kEncoderDecoderConfig, {.seed = 2}))->digest(), digest);
}

TEST(ModelDirectory, MissingFiles) {
  const TempDir empty;
  const auto kNotFound = absl::StatusCode::kNotFound;
  EXPECT_TRUE(FailsWith(ModelDirectory::Open(empty.Path("none")).status(), kNotFound, {empty.Path("none")}));
  EXPECT_TRUE(FailsWith(ModelDirectory::Open(empty.path()).status(), kNotFound, {empty.Path("config.json")}));
  const std::string file = empty.Write("file", "x");
  EXPECT_FALSE(ModelDirectory::Open(file).ok());
  const ModelFiles whole = BuildModel(testing::kEncoderDecoderConfig);
  for (const auto& [name, contents] : whole) {
    ModelFiles files = whole;
    files.erase(name);
    EXPECT_TRUE(FailsWith(Open(files).status(), kNotFound, {name})) << name;
  }
  std::filesystem::create_directory(empty.Path("config.json"));
  EXPECT_TRUE(Refused(ModelDirectory::Open(empty.path()),
                      {"config.json: expected a regular file, found a directory"}));
}

// Every tensor in turn: taken away, renamed, misshapen, not finite.
TEST(ModelDirectory, EveryTensorIsChecked) {
  const ModelFiles whole = BuildModel(testing::kEncoderConfig);
  const std::string& blob = whole.at("model.safetensors");
  const auto config = ParseModelConfig(testing::kEncoderConfig, "config.json");
  for (const TensorSpec& spec : ExpectedTensors(*config)) {
    const auto open_edited = [&](absl::FunctionRef<void(nlohmann::ordered_json&)> edit) {
      ModelFiles files = whole;
      files["model.safetensors"] = testing::EditHeader(blob, edit);
      return Open(files);
    };
    const std::string tensor = "m/model.safetensors: tensor " + spec.name + ": ";
    std::string shape = "[" + std::to_string(spec.shape[0]);
    if (spec.shape.size() > 1) shape += ", " + std::to_string(spec.shape[1]);
    shape += "]";
    // Renamed: the bytes are all there, under a name that means nothing.
    const auto renamed = open_edited([&](nlohmann::ordered_json& header) {
      header[spec.name + "x"] = header[spec.name];
      header.erase(spec.name);
    });
    if (spec.optional) {
      EXPECT_TRUE(
          Refused(renamed, {"tensor " + spec.name + "x: expected no such tensor", "found F32 " + shape}));
    } else {
      EXPECT_TRUE(Refused(renamed, {tensor + "expected shape " + shape + ", found no such tensor"}));
    }
    const auto reshaped = open_edited([&](nlohmann::ordered_json& header) {
      header[spec.name]["shape"].insert(header[spec.name]["shape"].begin(), 1);
    });
    EXPECT_TRUE(Refused(reshaped, {tensor + "expected shape " + shape + ", found [1, "}));
    const auto retyped =
        open_edited([&](nlohmann::ordered_json& header) { header[spec.name]["dtype"] = "F16"; });
    EXPECT_TRUE(Refused(retyped, {tensor + "data_offsets: expected ", " bytes for F16 " + shape}));
    const auto integers =
        open_edited([&](nlohmann::ordered_json& header) { header[spec.name]["dtype"] = "I32"; });
    EXPECT_TRUE(Refused(integers, {tensor + "dtype: expected F32, F16, BF16 or F64, found \"I32\""}));
    ModelFiles poked = whole;
    poked["model.safetensors"] =
        testing::PokeValue(blob, spec.name, spec.shape[0] - 1, std::numeric_limits<double>::quiet_NaN());
    EXPECT_TRUE(
        Refused(Open(poked), {tensor + "element " + std::to_string(spec.shape[0] - 1), "finite", "nan"}));
  }
}

TEST(ModelDirectory, TransposedAndExtraTensors) {
  ModelFiles files = BuildModel(testing::kEncoderConfig);
  const std::string blob = files["model.safetensors"];
  files["model.safetensors"] = testing::EditHeader(blob, [](nlohmann::ordered_json& header) {
    header["encoder.layers.0.ffn.up_proj.weight"]["shape"] = {6, 7};
  });
  EXPECT_TRUE(
      Refused(Open(files), {"m/model.safetensors: tensor encoder.layers.0.ffn.up_proj.weight: expected shape "
                            "[7, 6], found [6, 7]"}));
  files["model.safetensors"] = testing::EditHeader(blob, [](nlohmann::ordered_json& header) {
    header["lm_head.weight"] = {{"dtype", "BF16"}, {"shape", {0, 4}}, {"data_offsets", {0, 0}}};
  });
  EXPECT_TRUE(Refused(Open(files), {"tensor lm_head.weight: expected no such tensor", "found BF16 [0, 4]"}));
}

TEST(ModelDirectory, VocabulariesMustFit) {
  ModelFiles files = BuildModel(testing::kEncoderDecoderConfig);
  files["target.txt"] += "extra\n";
  EXPECT_TRUE(Refused(Open(files), {"m/target.txt: line 14", "13 ids", "found more"}));
  files["target.txt"] = "a\nb\n";
  EXPECT_TRUE(Refused(Open(files), {"m/target.txt: expected 13 entries", "found 2"}));
  files["source.txt"] = "a\na\n";
  EXPECT_TRUE(Refused(Open(files), {"m/source.txt: line 2", "found \"a\""}));
}

TEST(MappedFile, OpensRegularFilesOnly) {
  const TempDir directory;
  const auto empty = MappedFile::Open(directory.Write("empty", ""));
  ASSERT_TRUE(empty.ok());
  EXPECT_TRUE(empty->bytes().empty());
  auto some = MappedFile::Open(directory.Write("some", "bytes"));
  ASSERT_TRUE(some.ok());
  const MappedFile moved = *std::move(some);
  EXPECT_EQ(moved.text(), "bytes");
  EXPECT_TRUE(Refused(MappedFile::Open(directory.path()), {directory.path(), "regular file", "directory"}));
  EXPECT_TRUE(Refused(MappedFile::Open("/dev/null"), {"/dev/null: expected a regular file"}));
  EXPECT_TRUE(
      FailsWith(MappedFile::Open(directory.Path("no")).status(), absl::StatusCode::kNotFound, {"no"}));
  ASSERT_EQ(mkfifo(directory.Path("fifo").c_str(), 0600), 0);
  EXPECT_TRUE(Refused(MappedFile::Open(directory.Path("fifo")), {"fifo: expected a regular file"}));
}

TEST(ListRepository, FindsBothForms) {
  const TempDir repository;
  for (const char* path :
       {"b/10/config.json", "b/2/config.json", "b/01/config.json", "b/0/config.json", "b/x/config.json",
        "b/99999999999/config.json", "a/config.json", "c/1/other", ".hidden/config.json", "file"}) {
    repository.Write(path, "{}");
  }
  const auto entries = ListRepository(repository.path());
  ASSERT_TRUE(entries.ok()) << entries.status();
  std::string listing;
  for (const RepositoryEntry& entry : *entries) {
    listing += entry.name + ":" + std::to_string(entry.version) + "=" +
               entry.path.substr(repository.path().size()) + " ";
  }
  EXPECT_EQ(listing, "a:1=/a b:2=/b/2 b:10=/b/10 ");
  EXPECT_TRUE(
      FailsWith(ListRepository(repository.Path("none")).status(), absl::StatusCode::kNotFound, {"none"}));
  EXPECT_TRUE(FailsWith(ListRepository(repository.Path("file")).status(), absl::StatusCode::kInvalidArgument,
                        {repository.Path("file"), "cannot list the directory"}));
  repository.Write("b/config.json", "{}");
  EXPECT_TRUE(FailsWith(ListRepository(repository.path()).status(), absl::StatusCode::kInvalidArgument,
                        {repository.Path("b"), "either", "found config.json and version"}));
}

}  // namespace
}  // namespace splineserve
