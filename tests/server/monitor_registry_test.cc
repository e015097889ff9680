#include "server/monitor_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/spline/monitor_file.h"
#include "tests/server/test_models.h"

namespace splineserve::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Stack = PieceRecorder::Stack;

class MonitorRegistryTest : public ::testing::Test {
 protected:
  static ModelRegistry Models(const std::string& repository, const std::string& precision = "float32") {
    return ModelRegistry::Load(repository, {}, PrecisionChoice::Parse({precision}).value()).value();
  }
  // The file of a monitor for a model with the encoder's digest, with one pattern.
  std::string Bytes(const MonitorDescription& description) const {
    MonitorBuilder builder = MonitorBuilder::Create(description).value();
    EXPECT_TRUE(builder.Add(0, Pattern{{1, 0, 5}, {19}}).value());
    return SerializeMonitor(std::move(builder).Build());
  }
  MonitorDescription OfTheEncoder() const { return {.digest = encoder_->digest(), .classes = 5}; }
  absl::Status Load(const std::vector<std::string>& files) const {
    return MonitorRegistry::Load(files, models_).status();
  }

  const TempDir repository_ = MakeRepository();
  const TempDir folder_;
  const ModelRegistry models_ = Models(repository_.path());
  const ModelRegistry::ModelPtr encoder_ = models_.Find("encoder", 3).value();
};

TEST_F(MonitorRegistryTest, NamesAreThoseOfFiles) {
  const std::string bytes = Bytes(OfTheEncoder());
  const std::string a = folder_.Write("a.monitor", bytes), b = folder_.Write("b.v2.monitor", bytes);
  // A file that is named twice is loaded once.
  const auto good = MonitorRegistry::Load({b, a, a, folder_.Path("none/../a.monitor")}, models_);
  ASSERT_TRUE(good.ok()) << good.status();
  ASSERT_EQ(good->List().size(), 2u);
  EXPECT_EQ(good->List()[0]->name, "a");
  EXPECT_EQ(good->List()[1]->name, "b.v2");
  EXPECT_EQ((*good->Find(*encoder_, Stack::kEncoder, "b.v2"))->file, b);
  EXPECT_THAT(good->Find(*encoder_, Stack::kEncoder, "").status().message(), HasSubstr("one of a, b.v2"));
  EXPECT_EQ(good->Find(*encoder_, Stack::kEncoder, "c").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(good->Find(*encoder_, Stack::kDecoder, "a").status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(good->Find(**models_.Find("encoder", 1), Stack::kEncoder, "a").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(MonitorRegistryTest, FilesThatDoNotBelongAreRefused) {
  const std::string bytes = Bytes(OfTheEncoder());
  const std::string a = folder_.Write("a.monitor", bytes);
  EXPECT_THAT(Load({a, folder_.Write("other/a.monitor", bytes)}).message(),
              AllOf(HasSubstr("other/a.monitor: expected another name than a"), HasSubstr(a)));
  EXPECT_EQ(Load({folder_.Path("none.monitor")}).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Load({folder_.Write("bad.monitor", bytes.substr(0, 40))}).message(),
              HasSubstr("bad.monitor: checksum"));
  // The right digest alone does not make a monitor of the model.
  MonitorDescription description = OfTheEncoder();
  description.classes = 4;
  EXPECT_THAT(Load({folder_.Write("classes.monitor", Bytes(description))}).message(),
              AllOf(HasSubstr("classes.monitor: classes: expected 5"), HasSubstr("encoder version 3")));
  description = OfTheEncoder();
  description.selection.layers = {2};
  EXPECT_THAT(Load({folder_.Write("layers.monitor", Bytes(description))}).message(), HasSubstr("found 2"));
  // Another digest: both are named.
  description = OfTheEncoder();
  description.digest = std::string(32, 'a');
  EXPECT_THAT(Load({folder_.Write("digest.monitor", Bytes(description))}).message(),
              AllOf(HasSubstr("digest.monitor: expected a monitor of a loaded model"),
                    HasSubstr(description.digest), HasSubstr(encoder_->digest() + " (encoder version 3)")));
}

TEST_F(MonitorRegistryTest, AnotherPrecisionIsRefusedWhenItIsAskedFor) {
  const std::string a = folder_.Write("a.monitor", Bytes(OfTheEncoder()));
  const ModelRegistry rounded = Models(repository_.path(), "bfloat16");
  const auto registry = MonitorRegistry::Load({a}, rounded);
  ASSERT_TRUE(registry.ok()) << registry.status();
  const auto found = registry->Find(**rounded.Find("encoder", 3), Stack::kEncoder, "a");
  EXPECT_EQ(found.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(found.status().message(),
              AllOf(HasSubstr("recorded in float32"), HasSubstr("served in bfloat16")));
}

TEST_F(MonitorRegistryTest, FilesBesideModelsAreFound) {
  const std::string b = repository_.Write("encoder/3/b.monitor", ""),
                    a = repository_.Write("vectors/a.monitor", "");
  repository_.Write("encoder/3/.hidden.monitor", "");
  repository_.Write("encoder/3/c.txt", "");
  repository_.Write("encoder/d.monitor", "");  // no config.json beside it
  EXPECT_THAT(FindMonitorFiles(repository_.path()).value(), ElementsAre(b, a));
  EXPECT_TRUE(ModelRegistry::Load(repository_.path()).ok());
  EXPECT_FALSE(FindMonitorFiles(folder_.Path("none")).ok());
}

}  // namespace
}  // namespace splineserve::testing
