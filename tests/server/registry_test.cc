#include "server/model_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

std::string Loaded(const ModelRegistry& registry) {
  std::vector<std::string> loaded;
  for (const ModelRegistry::ModelPtr& model : registry.List()) {
    const auto& smoothing = model->smoothing();
    loaded.push_back(absl::StrCat(
        model->name(), "/", model->version(),
        smoothing.has_value() ? absl::StrCat(" of ", smoothing->spline, " with ", smoothing->beta) : ""));
  }
  return absl::StrJoin(loaded, ", ");
}

TEST(ModelRegistryTest, SmoothingsAreServedBesideTheirSplines) {
  const testing::TempDir repository = testing::MakeRepository();
  const auto load = [&](std::vector<std::string> choices) {
    return ModelRegistry::Load(repository.path(), {}, {}, SmoothingChoice::Parse(choices).value());
  };
  // Of every version; vectors, whose norm is layer_norm, is left alone where it is not named.
  const auto registry = load({"50", "encoder=2", "encoder=0.5"});
  ASSERT_TRUE(registry.ok()) << registry.status();
  EXPECT_EQ(Loaded(*registry),
            "decoder/1, decoder@softplus50/1 of decoder with 50, encoder/1, encoder/3, "
            "encoder@softplus0.5/1 of encoder with 0.5, encoder@softplus0.5/3 of encoder with 0.5, "
            "encoder@softplus2/1 of encoder with 2, encoder@softplus2/3 of encoder with 2, translator/1, "
            "translator@softplus50/1 of translator with 50, vectors/1");
  const ModelRegistry::ModelPtr spline = registry->Find("encoder", 3).value();
  const ModelRegistry::ModelPtr smoothed = registry->Find("encoder@softplus2", 0).value();
  EXPECT_EQ(spline->spline_class(), SplineClass::kExact);
  EXPECT_EQ(smoothed->spline_class(), SplineClass::kSmooth);
  EXPECT_EQ(smoothed->config().softplus_beta, 2.0f);
  EXPECT_EQ(smoothed->digest(), spline->digest());
  // Each in the precision of its spline.
  const auto rounded =
      ModelRegistry::Load(repository.path(), {}, PrecisionChoice::Parse({"encoder=int8"}).value(),
                          SmoothingChoice::Parse({"encoder=2", "decoder=2"}).value());
  ASSERT_TRUE(rounded.ok()) << rounded.status();
  EXPECT_EQ(rounded->Find("encoder@softplus2", 0).value()->precision(), Precision::kInt8);
  EXPECT_EQ(rounded->Find("decoder@softplus2", 0).value()->precision(), Precision::kFloat32);
}

TEST(ModelRegistryTest, WhatCannotBeSmoothedIsRefusedWithItsReason) {
  const testing::TempDir repository = testing::MakeRepository();
  const auto refused = [](const testing::TempDir& models, std::vector<std::string> choices) {
    const absl::Status status =
        ModelRegistry::Load(models.path(), {}, {}, SmoothingChoice::Parse(choices).value()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(
      refused(repository, {"vectors=20"}),
      ::testing::AllOf(HasSubstr("model vectors version 1 ("),
                       HasSubstr("smoothing: expected a model of class EXACT with relu gates, found class "
                                 "REGIONAL with norm \"layer_norm\"")));
  EXPECT_EQ(refused(repository, {"encodr=20"}),
            "--smoothing \"encodr=20\": expected a model of the repository, which has decoder, encoder, "
            "translator, vectors");
  const testing::TempDir regional;
  testing::AddModel(regional, "vectors", testing::kVectorsConfig, 3);
  EXPECT_THAT(refused(regional, {"20"}),
              HasSubstr("expected a model of class EXACT with relu gates that has no "
                        "beta of its own, found none in "));
  // The name of a smoothing may be taken.
  testing::AddModel(repository, "encoder@softplus2", testing::kVectorsConfig, 3);
  EXPECT_EQ(ModelRegistry::Load(repository.path(), {}, {}, SmoothingChoice::Parse({"encoder=2"}).value())
                .status()
                .code(),
            absl::StatusCode::kAlreadyExists);
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
