// Cut at every length and with bits flipped, a model is refused or it is a whole model: nothing between, no
// crash.
#include <algorithm>
#include <cstdint>
#include <random>
#include <string>

#include "core/format/model_directory.h"
#include "core/format/tensor_spec.h"
#include "tests/format/failure.h"
#include "tests/format/sample_configs.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using testing::BuildModel;
using testing::ModelFiles;

absl::StatusOr<ModelDirectory> Open(const ModelFiles& files) {
  return ModelDirectory::OpenInMemory("m", files);
}

// Reads everything that a loader would read.
void ExpectWhole(const ModelDirectory& directory) {
  for (const TensorSpec& spec : ExpectedTensors(directory.config())) {
    const TensorView* tensor = directory.Find(spec.name);
    if (tensor == nullptr) {
      ASSERT_TRUE(spec.optional);
      continue;
    }
    ASSERT_EQ(tensor->shape, spec.shape);
    std::vector<float> values(tensor->elements());
    ASSERT_TRUE(ReadFloats(*tensor, absl::MakeSpan(values)).ok());
  }
}

TEST(Truncation, EveryLengthOfTheWeightsIsRefused) {
  ModelFiles files = BuildModel(testing::kEncoderConfig);
  const std::string whole = files["model.safetensors"];
  for (size_t length = 0; length < whole.size(); ++length) {
    files["model.safetensors"] = whole.substr(0, length);
    ASSERT_TRUE(testing::Refused(Open(files), {"m/model.safetensors: ", "expected", "found"})) << length;
  }
}

TEST(Truncation, EveryLengthOfAShardOrTheIndexIsRefused) {
  const ModelFiles whole = BuildModel(testing::kEncoderConfig, {.shards = 2});
  for (const auto& [name, contents] : whole) {
    if (name == "config.json") continue;
    for (size_t length = 0; length < contents.size(); ++length) {
      ModelFiles files = whole;
      files[name].resize(length);
      ASSERT_TRUE(testing::Refused(Open(files), {"m/" + name + ": "})) << length;
    }
  }
}

TEST(Truncation, EveryLengthOfTheConfigIsRefused) {
  ModelFiles files = BuildModel(testing::kEncoderDecoderConfig);
  const std::string whole = files["config.json"];
  for (size_t length = 0; length < whole.size(); ++length) {
    files["config.json"] = whole.substr(0, length);
    ASSERT_TRUE(testing::Refused(Open(files), {"m/config.json: byte ", "malformed JSON"})) << length;
  }
}

TEST(BitFlips, NeverCrashAndNeverLeaveHalfAModel) {
  const ModelFiles whole = BuildModel(testing::kEncoderDecoderConfig, {.shards = 2});
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  size_t opened = 0, refused = 0;
  for (const auto& [name, contents] : whole) {
    for (int round = 0; round < 1500; ++round) {
      ModelFiles files = whole;
      std::string& damaged = files[name];
      for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
        // Half of them in the first 600 bytes: most of a file is weights, where a flip is only another
        // number.
        const size_t range = random() % 2 == 0 ? std::min<size_t>(600, damaged.size()) : damaged.size();
        damaged[random() % range] ^= static_cast<char>(1 << random() % 8);
      }
      const auto directory = Open(files);
      if (directory.ok()) ExpectWhole(*directory);
      (directory.ok() ? opened : refused) += 1;
    }
  }
  EXPECT_GT(opened, 100u);
  EXPECT_GT(refused, 1000u);
}

}  // namespace
}  // namespace splineserve
