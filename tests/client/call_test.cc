#include "client/json.h"
#include "client/method_call.h"
#include "client/nearest_name.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "splineserve/v1/inference.pb.h"
#include "tests/client/fake_server.h"

namespace splineserve::client {
namespace {

using testing::Contains;
using testing::HasSubstr;

std::string Found(std::string_view name) {
  const auto method = FindMethod(name);
  return method.ok() ? std::string((*method)->full_name()) : std::string(method.status().message());
}

TEST(FindMethod, TakesShortAndFullNames) {
  const std::string encode = "splineserve.v1.InferenceService.Encode";
  for (const char* name : {"InferenceService/Encode", "splineserve.v1.InferenceService/Encode",
                           "/splineserve.v1.InferenceService/Encode",
                           "splineserve.v1.InferenceService.Encode", "InferenceService.Encode", "Encode"}) {
    EXPECT_EQ(Found(name), encode) << name;
  }
  EXPECT_EQ(Found("ListModels"), "splineserve.v1.ModelService.ListModels");
  EXPECT_THAT(Found("InferenceService/Encod"), HasSubstr("Did you mean InferenceService/Encode?"));
  EXPECT_THAT(Found("nothing/like/it"), HasSubstr("The methods are "));
  EXPECT_THAT(MethodNames(), Contains("splineserve.v1.InferenceService/Generate"));
}

TEST(NearestName, FindsMisspellingsAlone) {
  EXPECT_EQ(NearestName("inpts", {"model", "inputs"}), "inputs");
  EXPECT_EQ(NearestName("INPUTS", {"model", "inputs"}), "inputs");
  EXPECT_EQ(NearestName("weather", {"model", "inputs"}), "");
}

std::string JsonError(std::string_view json) {
  v1::EncodeRequest request;
  return std::string(FromJson(json, request).message());
}

TEST(FromJson, TakesFieldNamesOfBothSpellings) {
  v1::GenerateRequest request;
  ASSERT_TRUE(FromJson(R"({"max_new_tokens": 3, "stopIds": [4], "sample": {"seed": "5"}})", request).ok());
  EXPECT_EQ(request.max_new_tokens(), 3u);
  EXPECT_EQ(request.stop_ids(0), 4);
  EXPECT_EQ(request.sample().seed(), 5u);
}

TEST(FromJson, SaysWhereTheMistakeIsAndWhatThereIs) {
  EXPECT_EQ(JsonError(R"({"model": {"nam": "g2p"}})"),
            "unknown field \"nam\" in model (splineserve.v1.ModelRef). Did you mean \"name\"? "
            "Its fields are name, version.");
  EXPECT_THAT(JsonError(R"({"inputs": [{"text": "a"}, {"txt": "b"}]})"), HasSubstr("\"txt\" in inputs[1] ("));
  EXPECT_THAT(JsonError(R"({"weather": 1})"),
              HasSubstr("in the request (splineserve.v1.EncodeRequest). Its fields"));
  EXPECT_THAT(
      JsonError(R"({"pieces": {"detail": "SOME"}})"),
      HasSubstr("pieces.detail: expected one of UNSPECIFIED, NONE, ID, COUNTS, BITS, found \"SOME\""));
  EXPECT_THAT(JsonError(R"({"pieces": {"sites": ["FEED_FORWARD", "FFN"]}})"), HasSubstr("pieces.sites[1]"));
  EXPECT_THAT(JsonError(R"({"inputs": {"text": "a"}})"),
              HasSubstr("inputs: expected an array, found object"));
  EXPECT_THAT(JsonError("[]"), HasSubstr("the request: expected an object"));
  EXPECT_THAT(JsonError("{\n  oops}"), HasSubstr("not JSON: parse error at line 2"));
  EXPECT_THAT(JsonError(R"({"model": {"version": "many"}})"), HasSubstr("version"));
}

TEST(ToJson, PrintsZerosAndBytesInBase64) {
  v1::TokenPiece piece;
  piece.set_id("\x01\x02");
  EXPECT_EQ(ToJson(piece, JsonLayout::kOneLine), R"({"id":"AQI=","layers":[]})");
}

TEST(Call, UnaryAndStreaming) {
  FakeServer server;
  Outcome outcome = RunCommand({"call", "ModelService/ListModels"}, server.address());
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"name\": \"pair\""));

  outcome = RunCommand({"call", "Generate"}, server.address(),
                       R"({"model": {"name": "pair"}, "source": {"text": "ab"}})");
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 3) << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("\"text\":\"AB\""));
}

TEST(Call, Failures) {
  FakeServer server;
  Outcome outcome = RunCommand({"call", "Encode"}, server.address(), R"({"inputs": [{"text": "bad"}]})");
  EXPECT_EQ(outcome.status, kFailedCall);
  EXPECT_THAT(outcome.err, HasSubstr("INVALID_ARGUMENT: inputs[0].text[1]"));
  EXPECT_EQ(outcome.out, "");
  outcome = RunCommand({"call", "LoadModel"}, server.address());
  EXPECT_EQ(outcome.status, kFailedCall);
  EXPECT_THAT(outcome.err, HasSubstr("UNIMPLEMENTED"));
  EXPECT_EQ(RunCommand({"call", "Encode"}, server.address(), R"({"input": []})").status, kBadUsage);
  EXPECT_EQ(RunCommand({"call", "NoSuchMethod"}, server.address()).status, kBadUsage);
  EXPECT_EQ(RunCommand({"call"}, server.address()).status, kBadUsage);
  EXPECT_EQ(RunCommand({"call", "--list"}, server.address()).status, kSuccess);
}

}  // namespace
}  // namespace splineserve::client
