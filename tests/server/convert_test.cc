#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include "server/convert_analysis.h"
#include "server/convert_request.h"
#include "server/convert_response.h"

namespace splineserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename Request>
Request FromJson(const std::string& json) {
  Request request;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &request);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return request;
}

std::string Refusal(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(ConvertRequestTest, EncodeKeepsEverything) {
  const auto request = FromProto(FromJson<v1::EncodeRequest>(R"({"model": {"name": "m"},
      "inputs": [{"text": "ab"}, {"tokens": {"ids": [1, -2]}}, {"vectors": {"rows": 2, "cols": 1, "values": [3, 4]}}, {}],
      "output": "HIDDEN", "pieces": {"detail": "BITS", "layers": [0, 7], "sites": ["FEED_FORWARD", "SELF_ATTENTION"],
      "margins": true}, "smoothing_error": true})"));
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_TRUE(request->smoothing_error);
  ASSERT_EQ(request->inputs.size(), 4u);
  EXPECT_EQ(std::get<Text>(request->inputs[0]).text, "ab");
  EXPECT_THAT(std::get<TokenIds>(request->inputs[1]).ids, ElementsAre(1, -2));
  const Matrix& matrix = std::get<Matrix>(request->inputs[2]);
  EXPECT_EQ(matrix.rows, 2u);
  EXPECT_EQ(matrix.cols, 1u);
  EXPECT_THAT(matrix.values, ElementsAre(3, 4));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(request->inputs[3]));
  EXPECT_EQ(request->output, OutputKind::kHidden);
  EXPECT_EQ(request->pieces.detail, PieceDetail::kBits);
  EXPECT_THAT(request->pieces.layers, ElementsAre(0, 7));
  EXPECT_THAT(request->pieces.sites, ElementsAre(Site::kFeedForward, Site::kSelfAttention));
  EXPECT_TRUE(request->pieces.margins);
}

TEST(ConvertRequestTest, DefaultsAreTheEngines) {
  const auto encode = FromProto(v1::EncodeRequest());
  ASSERT_TRUE(encode.ok());
  EXPECT_EQ(encode->output, OutputKind::kDefault);
  EXPECT_EQ(encode->pieces.detail, PieceDetail::kNone);
  EXPECT_FALSE(encode->smoothing_error);
  EXPECT_FALSE(FromProto(v1::DecodeRequest())->smoothing_error);
  EXPECT_TRUE(FromProto(FromJson<v1::DecodeRequest>(R"({"smoothing_error": true})"))->smoothing_error);
  const auto generate = FromProto(v1::GenerateRequest());
  ASSERT_TRUE(generate.ok());
  EXPECT_EQ(generate->strategy, GenerationStrategy::kGreedy);
  const auto beam = FromProto(FromJson<v1::GenerateRequest>(R"({"beam": {}})"));
  EXPECT_EQ(beam->strategy, GenerationStrategy::kBeam);
  EXPECT_EQ(beam->beam_width, GenerateRequest().beam_width);
  EXPECT_EQ(beam->num_hypotheses, 1u);
  EXPECT_EQ(beam->length_penalty, 1.0f);
  const auto sample = FromProto(FromJson<v1::GenerateRequest>(R"({"sample": {"seed": 5}})"));
  EXPECT_EQ(sample->strategy, GenerationStrategy::kSample);
  EXPECT_EQ(sample->temperature, 1.0f);
  EXPECT_EQ(sample->seed, 5u);
  // A zero that was written is a zero, and the engine's to refuse.
  EXPECT_EQ(FromProto(FromJson<v1::GenerateRequest>(R"({"sample": {"temperature": 0}})"))->temperature, 0.0f);
}

TEST(ConvertRequestTest, WhatOnlyTheWireCanGetWrongIsRefusedWithItsPlace) {
  EXPECT_EQ(
      Refusal(FromProto(FromJson<v1::EncodeRequest>(
                            R"({"inputs": [{}, {}, {"vectors": {"rows": 3, "cols": 4, "values": [1]}}]})"))
                  .status()),
      "inputs[2].vectors.values: expected rows * cols = 3 * 4 = 12 numbers, found 1");
  EXPECT_THAT(Refusal(FromProto(FromJson<v1::EncodeRequest>(
                                    R"({"inputs": [{"vectors": {"rows": 4294967295, "cols": 4294967295}}]})"))
                          .status()),
              HasSubstr("found 0"));
  EXPECT_THAT(
      Refusal(
          FromProto(FromJson<v1::DecodeRequest>(R"({"sources": [{"vectors": {"values": [1]}}]})")).status()),
      HasSubstr("sources[0].vectors.values"));
  EXPECT_THAT(
      Refusal(FromProto(FromJson<v1::GenerateRequest>(R"({"prompt": {"vectors": {"rows": 1, "cols": 1}}})"))
                  .status()),
      HasSubstr("prompt.vectors.values"));
  EXPECT_EQ(Refusal(FromProto(FromJson<v1::EncodeRequest>(R"({"output": 9})")).status()),
            "output: expected HIDDEN or HEAD, found 9");
  EXPECT_EQ(Refusal(FromProto(FromJson<v1::DecodeRequest>(R"({"pieces": {"detail": -1}})")).status()),
            "pieces.detail: expected NONE, ID, COUNTS or BITS, found -1");
  EXPECT_THAT(
      Refusal(
          FromProto(FromJson<v1::GenerateRequest>(R"({"pieces": {"sites": ["FEED_FORWARD", 0]}})")).status()),
      HasSubstr(
          "pieces.sites[1]: expected SELF_ATTENTION, CROSS_ATTENTION or FEED_FORWARD, found UNSPECIFIED"));
}

TEST(ConvertAnalysisTest, IdsOfGivenPiecesHaveSixteenBytes) {
  v1::EvaluateOnPieceRequest request =
      FromJson<v1::EvaluateOnPieceRequest>(R"({"input": {"source": {"tokens": {"ids": [1, 2]}}}})");
  request.mutable_given()->add_encoder();
  request.mutable_given()->add_encoder()->set_id(std::string(17, 'x'));
  EXPECT_THAT(Refusal(FromProto(request).status()),
              HasSubstr("given.encoder[1].id: expected none or 16 bytes, found 17 bytes"));
}

TEST(ConvertResponseTest, GroupsAreGatheredByLayer) {
  TokenPiece piece;
  piece.id = std::string(16, 'x');
  piece.margin = 0.5f;
  piece.groups = {{.layer = 0,
                   .site = Site::kSelfAttention,
                   .head = 1,
                   .width = 9,
                   .open = 2,
                   .bits = {0x81, 0x00},
                   .margin = 1},
                  {.layer = 0, .site = Site::kFeedForward, .width = 3, .open = 0, .bits = {0}},
                  {.layer = 2, .site = Site::kCrossAttention, .width = 1, .open = 1, .bits = {1}}};
  v1::TokenPiece out;
  ToProto(piece, /*margins=*/true, &out);
  EXPECT_EQ(out.id(), piece.id);
  EXPECT_EQ(out.margin(), 0.5f);
  ASSERT_EQ(out.layers_size(), 2);
  ASSERT_EQ(out.layers(0).groups_size(), 2);
  EXPECT_EQ(out.layers(1).layer(), 2u);
  const v1::TokenPiece::Group& group = out.layers(0).groups(0);
  EXPECT_EQ(group.site(), v1::Site::SELF_ATTENTION);
  EXPECT_EQ(group.head(), 1u);
  EXPECT_EQ(group.width(), 9u);
  EXPECT_EQ(group.open(), 2u);
  EXPECT_EQ(group.bits(), std::string("\x81\x00", 2));
  EXPECT_EQ(group.margin(), 1.0f);
  EXPECT_EQ(out.layers(0).groups(1).site(), v1::Site::FEED_FORWARD);
  EXPECT_EQ(out.layers(1).groups(0).site(), v1::Site::CROSS_ATTENTION);

  v1::TokenPiece plain;
  ToProto(piece, /*margins=*/false, &plain);
  EXPECT_FALSE(plain.has_margin());
  EXPECT_FALSE(plain.layers(0).groups(0).has_margin());
}

TEST(ConvertResponseTest, SmoothingErrorsHaveTheirLargestRows) {
  SequenceResult result;
  v1::SequenceResult out;
  ToProto(result, false, &out);
  EXPECT_FALSE(out.has_smoothing_error());
  result.smoothing_error = SmoothingError{{1, 3, 2}, {40, 50, 60}, {9, 8, 7}, 12};
  ToProto(result, false, &out);
  const v1::SmoothingError& error = out.smoothing_error();
  EXPECT_EQ(error.max_measured(), 3);
  EXPECT_EQ(error.max_proven(), 60);
  EXPECT_EQ(error.max_proven_at_gates(), 9);
  EXPECT_EQ(error.largest_output(), 12);
  EXPECT_THAT(error.measured(), ElementsAre(1, 3, 2));
  EXPECT_THAT(error.proven(), ElementsAre(40, 50, 60));
  EXPECT_THAT(error.proven_at_gates(), ElementsAre(9, 8, 7));
}

TEST(ConvertResponseTest, EventsOfAGeneration) {
  GenerateEvent event;
  event.prompt_pieces.resize(2);
  event.token = GeneratedToken{.id = 7, .text = "g", .log_probability = -0.5f};
  v1::GenerateResponse out;
  ToProto(event, false, &out);
  EXPECT_EQ(out.prompt_pieces_size(), 2);
  EXPECT_EQ(out.token().id(), 7);
  EXPECT_EQ(out.token().text(), "g");
  EXPECT_FALSE(out.token().has_piece());

  GenerateEvent last;
  last.final = true;
  last.hypotheses = {{.tokens = {{.id = 7}, {.id = 8}},
                      .text = "gh",
                      .score = -1.5f,
                      .finish_reason = FinishReason::kStopId}};
  last.timing = {1, 2, 3};
  v1::GenerateResponse final;
  ToProto(last, false, &final);
  ASSERT_EQ(final.result().hypotheses_size(), 1);
  EXPECT_EQ(final.result().hypotheses(0).tokens_size(), 2);
  EXPECT_EQ(final.result().hypotheses(0).finish_reason(), v1::Hypothesis::STOP_ID);
  EXPECT_EQ(final.result().timing().batch_tokens(), 3);
}

}  // namespace
}  // namespace splineserve
