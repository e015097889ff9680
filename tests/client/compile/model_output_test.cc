#include "client/compile/model_output.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "tests/testing/temp_dir.h"

namespace splineserve::client {
namespace {

namespace fs = std::filesystem;
using splineserve::testing::ReadFile;
using splineserve::testing::TempDir;

const std::map<std::string, std::string> kFiles = {{"config.json", "{}"}, {"model.safetensors", "weights"}};

size_t EntriesOf(const std::string& path) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
}

TEST(ModelOutput, AppearsWhole) {
  const TempDir folder;
  const std::string path = folder.Path("repository/m/1/");  // a slash at the end is nothing
  auto output = ModelOutput::Write(path, false, kFiles);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_FALSE(fs::exists(path));
  EXPECT_EQ(ReadFile(output->path() + "/config.json"), "{}");
  ASSERT_TRUE(output->Publish().ok());
  EXPECT_EQ(ReadFile(folder.Path("repository/m/1/model.safetensors")), "weights");
  EXPECT_EQ(EntriesOf(folder.Path("repository/m")), 1u);
  // Whoever may read the folder may read the model.
  EXPECT_NE(fs::status(path).permissions() & fs::perms::owner_all, fs::perms::none);
}

TEST(ModelOutput, LeavesNothingWhenItIsNotPublished) {
  const TempDir folder;
  {
    const auto output = ModelOutput::Write(folder.Path("a/b/1"), false, kFiles);
    ASSERT_TRUE(output.ok()) << output.status();
  }
  EXPECT_EQ(EntriesOf(folder.path()), 0u);
  folder.Write("a/other.txt", "kept");
  {
    const auto output = ModelOutput::Write(folder.Path("a/b/1"), false, kFiles);
    ASSERT_TRUE(output.ok()) << output.status();
  }
  EXPECT_EQ(EntriesOf(folder.Path("a")), 1u);
}

TEST(ModelOutput, ReplacesModelsOnly) {
  const TempDir folder;
  folder.Write("m/config.json", "old");
  folder.Write("m/model.safetensors", "old");
  EXPECT_EQ(ModelOutput::Write(folder.Path("m"), false, kFiles).status().code(),
            absl::StatusCode::kAlreadyExists);
  {
    auto output = ModelOutput::Write(folder.Path("m"), true, kFiles);
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(ReadFile(folder.Path("m/config.json")), "old");
    ASSERT_TRUE(output->Publish().ok());
  }
  EXPECT_EQ(ReadFile(folder.Path("m/config.json")), "{}");
  folder.Write("m/notes.txt", "mine");
  EXPECT_EQ(ModelOutput::Write(folder.Path("m"), true, kFiles).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ModelOutput::Write(folder.Path("m/notes.txt"), true, kFiles).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_FALSE(ModelOutput::Write(folder.Path("m/notes.txt/deeper/1"), true, kFiles).ok());
  EXPECT_FALSE(ModelOutput::Write("", true, kFiles).ok());
  // An empty directory is as good as none.
  fs::create_directory(folder.Path("empty"));
  auto output = ModelOutput::Write(folder.Path("empty"), false, kFiles);
  ASSERT_TRUE(output.ok()) << output.status();
  ASSERT_TRUE(output->Publish().ok());
  EXPECT_EQ(EntriesOf(folder.Path("empty")), 2u);
}

}  // namespace
}  // namespace splineserve::client
