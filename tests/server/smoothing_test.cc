// Smoothed models over the wire: every answer names what it is the smoothing of, and says on request how far
// it is from its spline.
#include <gmock/gmock.h>

#include <cmath>

#include "tests/server/server_fixture.h"

namespace splineserve::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SmoothingTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerOptions options = Options();
    options.smoothing =
        SmoothingChoice::Parse({"encoder=20", "decoder=20", "translator=20", "encoder=1000"}).value();
    options.precision = PrecisionChoice::Parse({"decoder=bfloat16"}).value();
    Start(options);
  }

  static void ExpectSmoothing(const v1::ServedModel& model, const std::string& spline, float beta) {
    EXPECT_EQ(model.name(), spline + "@softplus" + std::to_string(static_cast<int>(beta)));
    EXPECT_EQ(model.smoothing().spline(), spline);
    EXPECT_EQ(model.smoothing().beta(), beta);
  }

  // Of finite errors that are not all zero.
  static void ExpectConsistent(const v1::SmoothingError& error, int rows) {
    EXPECT_GT(error.max_measured(), 0);
    EXPECT_LE(error.max_measured(), error.max_proven_at_gates());
    EXPECT_LE(error.max_proven_at_gates(), error.max_proven());
    EXPECT_TRUE(std::isfinite(error.max_proven()));
    EXPECT_GT(error.largest_output(), 0);
    EXPECT_EQ(error.measured_size(), rows);
    EXPECT_EQ(error.proven_size(), rows);
    EXPECT_EQ(error.proven_at_gates_size(), rows);
  }
};

TEST_F(SmoothingTest, ModelsAndAnswersSayWhatTheyAre) {
  grpc::ClientContext context;
  v1::GetModelResponse info;
  const auto request = FromJson<v1::GetModelRequest>(R"({"model": {"name": "encoder@softplus20"}})");
  ASSERT_TRUE(models_->GetModel(&context, request, &info).ok());
  EXPECT_EQ(info.model().spline_class(), v1::ModelInfo::SMOOTH);
  EXPECT_EQ(info.model().attention_activation(), "softplus");
  EXPECT_EQ(info.model().hidden_act(), "softplus");
  EXPECT_EQ(info.model().degree_bound(), 0u);
  EXPECT_EQ(info.model().smoothing().spline(), "encoder");
  EXPECT_EQ(info.model().smoothing().beta(), 20.0f);
  EXPECT_EQ(info.model().encoder_gates().total_feed_forward(), 0u);

  v1::EncodeResponse spline, smoothed;
  ASSERT_TRUE(Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"}]})", &spline).ok());
  ASSERT_TRUE(Encode(R"({"model": {"name": "encoder@softplus20"}, "inputs": [{"text": "abc"}],
      "pieces": {"detail": "BITS"}})",
                     &smoothed)
                  .ok());
  EXPECT_FALSE(spline.model().has_smoothing());
  ExpectSmoothing(smoothed.model(), "encoder", 20);
  EXPECT_EQ(smoothed.model().digest(), spline.model().digest());
  EXPECT_EQ(smoothed.results(0).pieces(0).id(), "");
  EXPECT_EQ(smoothed.results(0).sequence_id(), "");
  EXPECT_FALSE(smoothed.results(0).has_smoothing_error());
  EXPECT_NE(smoothed.results(0).output().SerializeAsString(), spline.results(0).output().SerializeAsString());

  std::vector<v1::GenerateResponse> events;
  ASSERT_TRUE(Generate(R"({"model": {"name": "translator@softplus20"}, "source": {"text": "abc"},
      "maxNewTokens": 3})",
                       &events)
                  .ok());
  ExpectSmoothing(events.back().model(), "translator", 20);
}

TEST_F(SmoothingTest, TheErrorIsReportedAndShrinksWithBeta) {
  v1::EncodeResponse near, far;
  const std::string rest = R"(, "inputs": [{"text": "abc"}, {"text": "b"}], "smoothing_error": true})";
  ASSERT_TRUE(Encode(R"({"model": {"name": "encoder@softplus20"})" + rest, &far).ok());
  ASSERT_TRUE(Encode(R"({"model": {"name": "encoder@softplus1000"})" + rest, &near).ok());
  v1::EncodeResponse spline;
  ASSERT_TRUE(
      Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"}, {"text": "b"}]})", &spline).ok());
  for (int i = 0; i < 2; ++i) {
    const v1::SmoothingError& error = far.results(i).smoothing_error();
    ExpectConsistent(error, 1);  // the head pools
    EXPECT_LT(near.results(i).smoothing_error().max_proven(), error.max_proven() / 40);
    EXPECT_LT(near.results(i).smoothing_error().max_measured(), error.max_measured());
    // What is served, in float32, is as far away as was measured.
    double served = 0, largest = 0;
    for (int c = 0; c < 5; ++c) {
      const double value = spline.results(i).output().values(c);
      served = std::max(served, std::abs(far.results(i).output().values(c) - value));
      largest = std::max(largest, std::abs(value));
    }
    EXPECT_NEAR(served, error.max_measured(), 1e-5 * largest);
    EXPECT_NEAR(error.largest_output(), largest, 1e-5 * largest);
  }
  // Of the output that is asked for.
  v1::EncodeResponse hidden;
  ASSERT_TRUE(Encode(R"({"model": {"name": "encoder@softplus20"}, "output": "HIDDEN")" + rest, &hidden).ok());
  ExpectConsistent(hidden.results(0).smoothing_error(), 3);
  ExpectConsistent(hidden.results(1).smoothing_error(), 1);
}

TEST_F(SmoothingTest, DecodersReportIt) {
  v1::DecodeResponse response;
  ASSERT_TRUE(Decode(R"({"model": {"name": "translator@softplus20"}, "sources": [{"text": "abc"}],
      "targets": [{"tokens": {"ids": [1, 2]}}], "smoothing_error": true})",
                     &response)
                  .ok());
  ExpectSmoothing(response.model(), "translator", 20);
  EXPECT_EQ(response.results(0).smoothing_error().measured_size(), 2);
  EXPECT_GT(response.results(0).smoothing_error().max_measured(), 0);
}

TEST_F(SmoothingTest, IsRefusedWhereItHasNoMeaning) {
  const auto refusal = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  EXPECT_THAT(refusal(Encode(
                  R"({"model": {"name": "encoder"}, "inputs": [{"text": "a"}], "smoothing_error": true})")),
              HasSubstr("smoothing_error: expected a smoothed model"));
  EXPECT_THAT(
      refusal(Decode(
          R"({"model": {"name": "decoder@softplus20"}, "targets": [{"text": "a"}], "smoothing_error": true})")),
      HasSubstr("smoothing_error: expected a model in float32"));
  std::string letters(4000, 'a');
  EXPECT_THAT(refusal(Encode(R"({"model": {"name": "encoder@softplus20"}, "inputs": [{"text": ")" + letters +
                             R"("}], "smoothing_error": true})")),
              HasSubstr("multiply-adds in a request"));
}

}  // namespace
}  // namespace splineserve::testing
