#include "server/model_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/logging.h"
#include "server/status_mapping.h"
#include "tests/server/test_models.h"

namespace splineserve {
namespace {

using ::testing::HasSubstr;

TEST(ModelRegistryTest, FindsByNameAndVersion) {
  const testing::TempDir repository = testing::MakeRepository();
  const auto registry = ModelRegistry::Load(repository.path());
  ASSERT_TRUE(registry.ok()) << registry.status();
  EXPECT_EQ(registry->List().size(), 5u);
  EXPECT_EQ((*registry->Find("encoder", 0))->version(), 3);  // the highest
  EXPECT_EQ((*registry->Find("encoder", 1))->version(), 1);
  EXPECT_EQ((*registry->Find("decoder", 1))->name(), "decoder");

  const absl::Status unknown = registry->Find("encodr", 0).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(unknown.message(),
            "model.name: \"encodr\" is not loaded; loaded: decoder (1), encoder (1, 3), translator (1), "
            "vectors (1)");
  const absl::Status version = registry->Find("encoder", 2).status();
  EXPECT_EQ(version.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(version.message(), "model.version: \"encoder\" has no version 2; loaded: 1, 3");
  const absl::Status empty = registry->Find("", 0).status();
  EXPECT_EQ(empty.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(empty.message()), HasSubstr("found nothing"));
  // Strangers' names are escaped and cut.
  const absl::Status strange = registry->Find(std::string(5000, '\n'), 0).status();
  EXPECT_LT(strange.message().size(), 500u);
  EXPECT_EQ(strange.message().find('\n'), absl::string_view::npos);
}

TEST(ModelRegistryTest, EachModelHasThePrecisionChosenForIt) {
  const testing::TempDir repository = testing::MakeRepository();
  const auto registry = ModelRegistry::Load(
      repository.path(), {}, PrecisionChoice::Parse({"encoder=int8", "bfloat16", "vectors=float32"}).value());
  ASSERT_TRUE(registry.ok()) << registry.status();
  std::vector<std::string> loaded;
  for (const ModelRegistry::ModelPtr& model : registry->List())
    loaded.push_back(
        absl::StrCat(model->name(), " ", model->version(), " ", PrecisionName(model->precision())));
  EXPECT_THAT(loaded, ::testing::ElementsAre("decoder 1 bfloat16", "encoder 1 int8", "encoder 3 int8",
                                             "translator 1 bfloat16", "vectors 1 float32"));
}

TEST(ModelRegistryTest, APrecisionForAModelThatIsNotThereIsRefused) {
  const testing::TempDir repository = testing::MakeRepository();
  const absl::Status status =
      ModelRegistry::Load(repository.path(), {}, PrecisionChoice::Parse({"encodr=int8"}).value()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "--precision \"encodr=int8\": expected a model of the repository, which has decoder, encoder, "
            "translator, vectors");
}

TEST(ModelRegistryTest, OneBadModelFailsTheRepositoryAndIsNamed) {
  const testing::TempDir repository = testing::MakeRepository();
  repository.Write("broken/4/config.json", "{}");
  const absl::Status status = ModelRegistry::Load(repository.path()).status();
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("model broken version 4"));
}

TEST(ModelRegistryTest, EmptyAndMissingRepositories) {
  const testing::TempDir repository;
  EXPECT_THAT(std::string(ModelRegistry::Load(repository.path()).status().message()),
              HasSubstr("found none"));
  EXPECT_EQ(ModelRegistry::Load(repository.Path("missing")).status().code(), absl::StatusCode::kNotFound);
}

TEST(StatusMappingTest, CodesAndMessagesAreKept) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "why"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "why");
  }
  EXPECT_EQ(ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(77), "?")).error_code(),
            grpc::StatusCode::UNKNOWN);
}

TEST(StatusMappingTest, LongMessagesAreCutBetweenCodePoints) {
  std::string text = "x";
  while (text.size() < 2 * kMaxStatusMessageBytes) text += "\u00e4";
  const std::string cut = ToGrpcStatus(absl::InternalError(text)).error_message();
  EXPECT_LE(cut.size(), kMaxStatusMessageBytes);
  EXPECT_EQ(cut.substr(cut.size() - 6), " [...]");
  EXPECT_EQ((cut.size() - 6) % 2, 1u);  // "x" and whole pairs of bytes
}

TEST(LoggingTest, AnEventIsOneLineWhateverItHolds) {
  const std::vector<LogField> fields = {{"n", 3}, {"plain", "a/1"}, {"hostile", "x\ny\"=\\"}, {"empty", ""}};
  EXPECT_EQ(FormatText("request", fields), R"(request n=3 plain=a/1 hostile="x\ny\"=\\" empty="")");
  EXPECT_EQ(FormatJsonMembers("request", fields),
            R"("message":"request","n":3,"plain":"a/1","hostile":"x\ny\"=\\","empty":"")");
  EXPECT_THAT(FormatJsonMembers("m", {{"bad", std::string_view("\xff\xfe", 2)}}), HasSubstr("\xEF\xBF\xBD"));
}

}  // namespace
}  // namespace splineserve
