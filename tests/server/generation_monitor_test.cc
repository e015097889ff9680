// Verdicts on generated sequences: those that Decode gives of the same ids.
#include <gmock/gmock.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "splineserve/v1/monitor.grpc.pb.h"
#include "tests/server/server_fixture.h"

namespace splineserve::testing {
namespace {

using ::testing::HasSubstr;

// What a generation is asked, and the same sequence's beginning as a request of Decode has it.
struct Case {
  std::string model;
  std::string rest;            // of the request
  std::string source;          // of Decode, or nothing
  std::vector<int32_t> start;  // ids of the prompt
};

class GenerationMonitorTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    const std::string decoder = Record(
        R"({"model": {"name": "decoder"}, "gamma": 9, "targets": [{"tokens": {"ids": [1]}}, {"tokens": {"ids": [3, 4]}},
            {"tokens": {"ids": [3, 4, 5]}}, {"tokens": {"ids": [3, 4, 5, 6]}}, {"tokens": {"ids": [1, 4, 5, 6, 7]}}]})");
    const std::string units = Record(
        R"({"model": {"name": "decoder"}, "targets": [{"tokens": {"ids": [3, 4, 5]}}],
            "selection": {"layers": [1], "sites": ["FEED_FORWARD"], "units": [0, 2, 5, 11]}})");
    const std::string hashed = Record(
        R"({"model": {"name": "decoder"}, "kind": "HASHED", "targets": [{"tokens": {"ids": [3, 4, 5]}}, {"tokens": {"ids": [1]}}]})");
    const std::string translator = Record(
        R"({"model": {"name": "translator"}, "gamma": 4, "sources": [{"text": "abc"}, {"text": "abc"}, {"text": "abc"}],
            "targets": [{"tokens": {"ids": [1, 3]}}, {"tokens": {"ids": [1, 3, 4]}}, {"tokens": {"ids": [1, 3, 4, 5]}}]})");
    ServerOptions options = Options();
    for (const auto& [name, bytes] : {std::pair("whole", decoder), std::pair("units", units),
                                      std::pair("hashed", hashed), std::pair("t", translator)}) {
      folder_.Write(absl::StrCat(name, ".monitor"), bytes);
      options.monitors.push_back(absl::StrCat(folder_.path(), "/", name, ".monitor"));
    }
    Start(options);
  }

  std::string Record(const std::string& json) {
    grpc::ClientContext context;
    v1::RecordPatternsResponse response;
    const grpc::Status status = v1::MonitorService::NewStub(channel_)->RecordPatterns(
        &context, FromJson<v1::RecordPatternsRequest>(json), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.monitor();
  }

  const TempDir folder_;
};

TEST_F(GenerationMonitorTest, VerdictsAreThoseOfDecode) {
  int accepted = 0, compared = 0, ended = 0, hypotheses = 0;
  for (
      const Case& asked : std::vector<Case>{
          {"decoder", R"("maxNewTokens": 1, "monitor": {"name": "whole"})", "", {1}},
          {"decoder", R"("maxNewTokens": 4, "monitor": {"name": "whole"})", "", {1}},
          {"decoder",
           R"("prompt": {"text": "ab"}, "maxNewTokens": 3, "monitor": {"name": "whole", "gamma": 40})",
           "",
           {1, 3, 4}},
          {"decoder",
           R"("prompt": {"tokens": {"ids": [3, 4]}}, "maxNewTokens": 2, "monitor": {"name": "units"})",
           "",
           {3, 4}},
          {"decoder",
           R"("prompt": {"tokens": {"ids": [3, 4]}}, "maxNewTokens": 9, "stopIds": [0,1,2,3,4,5,6,7,8,9,10], "monitor": {"name": "whole"})",
           "",
           {3, 4}},
          {"decoder",
           R"("maxNewTokens": 6, "sample": {"seed": 5, "temperature": 3}, "monitor": {"name": "whole"})",
           "",
           {1}},
          {"decoder",
           R"("maxNewTokens": 3, "beam": {"width": 3, "numHypotheses": 3}, "monitor": {"name": "whole"})",
           "",
           {1}},
          {"decoder",
           R"("prompt": {"tokens": {"ids": [3, 4, 5]}}, "maxNewTokens": 3, "stopIds": [4, 5, 6, 7, 8], "beam": {"width": 4, "numHypotheses": 4}, "monitor": {"name": "whole"})",
           "",
           {3, 4, 5}},
          {"decoder", R"("maxNewTokens": 1, "monitor": {"name": "hashed"})", "", {1}},
          {"decoder", R"("maxNewTokens": 2, "monitor": {"name": "hashed"})", "", {1}},
          {"translator",
           R"("source": {"text": "abc"}, "maxNewTokens": 3, "monitor": {})",
           R"("sources": [{"text": "abc"}], )",
           {1}},
          {"translator",
           R"("source": {"text": "ab"}, "maxNewTokens": 3, "monitor": {})",
           R"("sources": [{"text": "ab"}], )",
           {1}},
          {"translator",
           R"("source": {"text": "abc"}, "maxNewTokens": 4, "beam": {"width": 3, "numHypotheses": 3}, "monitor": {"name": "t", "gamma": 12})",
           R"("sources": [{"text": "abc"}], )",
           {1}}}) {
    SCOPED_TRACE(asked.model + ": " + asked.rest);
    const std::string begin = absl::StrCat(R"({"model": {"name": ")", asked.model, R"("}, )");
    std::vector<v1::GenerateResponse> events;
    const grpc::Status status = Generate(begin + asked.rest + "}", &events);
    ASSERT_TRUE(status.ok()) << status.error_message();
    for (const v1::GenerateResponse& event : events) {
      EXPECT_TRUE(event.prompt_pieces().empty());
      EXPECT_FALSE(event.token().has_piece());
    }
    ASSERT_TRUE(events.back().has_result());
    for (const v1::Hypothesis& hypothesis : events.back().result().hypotheses()) {
      EXPECT_FALSE(hypothesis.has_end_piece());
      EXPECT_TRUE(hypothesis.sequence_id().empty());
      std::vector<int32_t> ids = asked.start;
      for (const v1::GeneratedToken& token : hypothesis.tokens()) {
        EXPECT_FALSE(token.has_piece());
        ids.push_back(token.id());
      }
      if (hypothesis.finish_reason() == v1::Hypothesis::LENGTH) ids.pop_back();
      v1::DecodeResponse decoded;
      const grpc::Status decode = Decode(
          absl::StrCat(begin, asked.source, R"("targets": [{"tokens": {"ids": [)", absl::StrJoin(ids, ","),
                       "]}}], ", asked.rest.substr(asked.rest.find(R"("monitor")")), "}"),
          &decoded);
      ASSERT_TRUE(decode.ok()) << decode.error_message();
      const v1::MonitorVerdict& verdict = hypothesis.monitor();
      EXPECT_GT(verdict.gates(), 0u);
      EXPECT_EQ(verdict.ShortDebugString(), decoded.results(0).monitor().ShortDebugString());
      accepted += verdict.accepted() ? 1 : 0;
      compared += verdict.has_own() ? 1 : 0;
      ended += hypothesis.finish_reason() != v1::Hypothesis::LENGTH &&
               asked.rest.find("beam") != std::string::npos;
      ++hypotheses;
    }
  }
  // The test says something about each of them.
  EXPECT_GT(accepted, 0);
  EXPECT_GT(compared, accepted);
  EXPECT_GT(hypotheses, compared);
  EXPECT_GT(ended, 0);  // of beams, which end at different positions
}

TEST_F(GenerationMonitorTest, PiecesAreWhatWasAskedForWhateverTheMonitorNeeds) {
  int pieces_of_tokens = 0;
  for (const std::string pieces :
       {R"("pieces": {"detail": "ID"})", R"("pieces": {"detail": "COUNTS", "layers": [0], "margins": true})",
        R"("pieces": {"detail": "BITS", "sites": ["FEED_FORWARD"]})", R"("pieces": {"detail": "BITS"})",
        R"("maxNewTokens": 4)"}) {
    for (const std::string search :
         {R"("greedy": {})", R"("stopIds": [7], "beam": {"width": 3, "numHypotheses": 2})"}) {
      const std::string request =
          absl::StrCat(R"({"model": {"name": "decoder"}, "prompt": {"text": "ab"}, )", search, ", ", pieces,
                       pieces[1] == 'p' ? R"(, "maxNewTokens": 4)" : "");
      std::vector<v1::GenerateResponse> plain, monitored;
      ASSERT_TRUE(Generate(request + "}", &plain).ok()) << request;
      ASSERT_TRUE(Generate(request + R"(, "monitor": {"name": "units"}})", &monitored).ok());
      ASSERT_EQ(monitored.size(), plain.size());
      for (size_t i = 0; i < plain.size(); ++i) {
        ASSERT_EQ(monitored[i].has_result(), plain[i].has_result());
        if (plain[i].has_result()) {  // one of `event`: to name it would put it in the token's place
          plain[i].mutable_result()->clear_timing();
          monitored[i].mutable_result()->clear_timing();
          for (v1::Hypothesis& hypothesis : *monitored[i].mutable_result()->mutable_hypotheses()) {
            EXPECT_TRUE(hypothesis.has_monitor());
            hypothesis.clear_monitor();
          }
        }
        pieces_of_tokens += plain[i].token().has_piece() ? 1 : 0;
        EXPECT_EQ(monitored[i].SerializeAsString(), plain[i].SerializeAsString())
            << request << " event " << i;
      }
    }
  }
  EXPECT_GT(pieces_of_tokens, 10);
}

// 18 MB of gates go through the stream's queue, which holds 8 MiB for a client that does not read; none of
// them is sent.
TEST_F(GenerationMonitorTest, GatesThatOnlyTheMonitorWantsDoNotCountAsUnread) {
  testing::AddModel(repository_, "wide", kWideConfig, 6);
  Start(Options());
  folder_.Write("wide.monitor",
                Record(R"({"model": {"name": "wide"}, "targets": [{"tokens": {"ids": [1]}}]})"));
  ServerOptions options = Options();
  options.monitors.push_back(folder_.path() + "/wide.monitor");
  Start(options);
  grpc::ClientContext context;
  const auto reader = inference_->Generate(
      &context,
      FromJson<v1::GenerateRequest>(R"({"model": {"name": "wide"}, "maxNewTokens": 500, "monitor": {}})"));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  ASSERT_TRUE(reader->Read(&event));  // by the second token the engine counts the generation
  while (server_->engine().stats().active_generations > 0) std::this_thread::yield();
  while (reader->Read(&event)) {
  }
  const grpc::Status status = reader->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_GT(event.result().hypotheses(0).monitor().gates(), 300'000u * 500);
}

TEST_F(GenerationMonitorTest, Refusals) {
  const auto expect = [&](const std::string& json, grpc::StatusCode code, const std::string& text) {
    const grpc::Status status = Generate(json);
    EXPECT_EQ(status.error_code(), code) << json;
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  };
  expect(R"({"model": {"name": "decoder"}, "monitor": {}})", grpc::StatusCode::INVALID_ARGUMENT,
         "monitor.name: expected one of hashed, units, whole, the monitors of model decoder for Decode or "
         "Generate");
  expect(R"({"model": {"name": "decoder"}, "monitor": {"name": "t"}})", grpc::StatusCode::NOT_FOUND,
         "hashed, units, whole");
  expect(R"({"model": {"name": "decoder"}, "monitor": {"name": "hashed", "gamma": 1}})",
         grpc::StatusCode::INVALID_ARGUMENT, "monitor.gamma: expected 0");
  expect(R"({"model": {"name": "vectors"}, "monitor": {}})", grpc::StatusCode::INVALID_ARGUMENT,
         "expected a decoder");
  expect(R"({"model": {"name": "encoder"}, "monitor": {}})", grpc::StatusCode::INVALID_ARGUMENT,
         "expected a decoder, found an encoder");
}

}  // namespace
}  // namespace splineserve::testing
