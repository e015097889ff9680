// Every call and every refusal, over the wire.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/server/server_fixture.h"

namespace splineserve::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class RequestsTest : public ServerFixture {
 protected:
  static void Expect(const grpc::Status& status, grpc::StatusCode code,
                     const ::testing::Matcher<std::string>& message) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), message);
  }
  static void ExpectInvalid(const grpc::Status& status, const ::testing::Matcher<std::string>& message) {
    Expect(status, grpc::StatusCode::INVALID_ARGUMENT, message);
  }
};

TEST_F(RequestsTest, EncodeAnswersEveryInputInOrder) {
  v1::EncodeResponse response;
  const grpc::Status status = Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"},
      {"tokens": {"ids": [3]}}], "pieces": {"detail": "BITS", "margins": true}})",
                                     &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model().name(), "encoder");
  EXPECT_EQ(response.model().version(), 3u);
  EXPECT_EQ(response.model().digest().size(), 32u);
  EXPECT_EQ(response.model().precision(), "float32");
  ASSERT_EQ(response.results_size(), 2);
  const v1::SequenceResult& first = response.results(0);
  EXPECT_EQ(first.output().rows(), 1u);  // the head pools
  EXPECT_EQ(first.output().cols(), 5u);
  EXPECT_EQ(first.output().values_size(), 5);
  EXPECT_EQ(first.pieces_size(), 3);
  EXPECT_EQ(first.sequence_id().size(), 16u);
  const v1::TokenPiece& piece = first.pieces(0);
  EXPECT_EQ(piece.id().size(), 16u);
  ASSERT_EQ(piece.layers_size(), 2);
  ASSERT_EQ(piece.layers(0).groups_size(), 3);  // two heads, then the units
  EXPECT_EQ(piece.layers(0).groups(0).width(), 3u);
  EXPECT_EQ(piece.layers(0).groups(2).width(), 12u);
  EXPECT_EQ(piece.layers(0).groups(2).bits().size(), 2u);
  EXPECT_TRUE(piece.has_margin());
  EXPECT_EQ(response.results(1).pieces_size(), 1);
  EXPECT_GE(response.timing().batch_tokens(), 4);

  // The same sequence alone gives the same bits.
  v1::EncodeResponse alone;
  ASSERT_TRUE(
      Encode(R"({"model": {"name": "encoder"}, "inputs": [{"tokens": {"ids": [3, 4, 5]}}]})", &alone).ok());
  EXPECT_EQ(alone.results(0).output().SerializeAsString(), first.output().SerializeAsString());
  EXPECT_EQ(alone.results(0).pieces_size(), 0);
  EXPECT_TRUE(alone.results(0).sequence_id().empty());
}

TEST_F(RequestsTest, VersionsAndOutputKindsAndFilters) {
  v1::EncodeResponse old, current, hidden, filtered;
  ASSERT_TRUE(
      Encode(R"({"model": {"name": "encoder", "version": 1}, "inputs": [{"text": "a"}]})", &old).ok());
  ASSERT_TRUE(
      Encode(R"({"model": {"name": "encoder", "version": 3}, "inputs": [{"text": "a"}]})", &current).ok());
  EXPECT_EQ(old.model().version(), 1u);
  EXPECT_NE(old.model().digest(), current.model().digest());
  ASSERT_TRUE(
      Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "ab"}], "output": "HIDDEN"})", &hidden)
          .ok());
  EXPECT_EQ(hidden.results(0).output().rows(), 2u);
  EXPECT_EQ(hidden.results(0).output().cols(), 8u);
  ASSERT_TRUE(Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "ab"}],
      "pieces": {"detail": "COUNTS", "layers": [1], "sites": ["FEED_FORWARD"]}})",
                     &filtered)
                  .ok());
  const v1::TokenPiece& piece = filtered.results(0).pieces(0);
  ASSERT_EQ(piece.layers_size(), 1);
  EXPECT_EQ(piece.layers(0).layer(), 1u);
  ASSERT_EQ(piece.layers(0).groups_size(), 1);
  EXPECT_EQ(piece.layers(0).groups(0).site(), v1::Site::FEED_FORWARD);
  EXPECT_TRUE(piece.layers(0).groups(0).bits().empty());
}

TEST_F(RequestsTest, DecodeOfBothArchitectures) {
  v1::DecodeResponse decoder, translator;
  ASSERT_TRUE(Decode(R"({"model": {"name": "decoder"}, "targets": [{"text": "abc"}]})", &decoder).ok());
  EXPECT_EQ(decoder.results(0).output().rows(), 3u);
  EXPECT_EQ(decoder.results(0).output().cols(), 11u);
  ASSERT_TRUE(Decode(R"({"model": {"name": "translator"}, "sources": [{"text": "ab"}],
      "targets": [{"tokens": {"ids": [1, 3]}}], "pieces": {"detail": "COUNTS"}})",
                     &translator)
                  .ok());
  EXPECT_EQ(translator.results(0).output().cols(), 9u);
  // Two heads of self-attention, two of cross-attention, the units.
  EXPECT_EQ(translator.results(0).pieces(1).layers(0).groups_size(), 5);
}

TEST_F(RequestsTest, GenerateStreamsTokensAndThenTheResult) {
  std::vector<v1::GenerateResponse> events;
  const grpc::Status status =
      Generate(R"({"model": {"name": "decoder"}, "prompt": {"text": "ab"}, "maxNewTokens": 5,
      "pieces": {"detail": "ID"}})",
               &events);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(events[0].model().name(), "decoder");
  EXPECT_EQ(events[0].prompt_pieces_size(), 2);  // bos, a; that of b comes with the first token
  for (size_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(events[i].has_token());
    EXPECT_EQ(events[i].token().piece().id().size(), 16u);
    EXPECT_LE(events[i].token().log_probability(), 0);
    if (i > 0) {
      EXPECT_FALSE(events[i].has_model());
    }
  }
  ASSERT_TRUE(events[5].has_result());
  EXPECT_EQ(events[5].model().name(), "decoder");
  const v1::Hypothesis& hypothesis = events[5].result().hypotheses(0);
  ASSERT_EQ(hypothesis.tokens_size(), 5);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(hypothesis.tokens(i).id(), events[i].token().id());
  EXPECT_EQ(hypothesis.finish_reason(), v1::Hypothesis::LENGTH);
}

TEST_F(RequestsTest, GenerateWithBeamsAndSeeds) {
  std::vector<v1::GenerateResponse> beam;
  ASSERT_TRUE(Generate(R"({"model": {"name": "translator"}, "source": {"text": "abc"}, "maxNewTokens": 6,
      "beam": {"width": 3, "numHypotheses": 2}})",
                       &beam)
                  .ok());
  ASSERT_FALSE(beam.empty());
  const v1::GenerationResult& result = beam.back().result();
  ASSERT_GE(result.hypotheses_size(), 1);
  ASSERT_LE(result.hypotheses_size(), 2);
  if (result.hypotheses_size() == 2) {
    EXPECT_GE(result.hypotheses(0).score(), result.hypotheses(1).score());
  }

  std::vector<v1::GenerateResponse> one, two;
  const char* const sample =
      R"({"model": {"name": "decoder"}, "maxNewTokens": 20, "sample": {"temperature": 2, "seed": 9}})";
  ASSERT_TRUE(Generate(sample, &one).ok());
  ASSERT_TRUE(Generate(sample, &two).ok());
  ASSERT_EQ(one.size(), 21u);
  EXPECT_EQ(one.back().result().hypotheses(0).SerializeAsString(),
            two.back().result().hypotheses(0).SerializeAsString());
}

TEST_F(RequestsTest, ModelsDescribeThemselves) {
  grpc::ClientContext list_context, get_context, none_context;
  v1::ListModelsResponse list;
  ASSERT_TRUE(models_->ListModels(&list_context, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 5);
  EXPECT_EQ(list.models(0).name(), "decoder");
  EXPECT_EQ(list.models(2).version(), 3u);
  EXPECT_EQ(list.models(4).spline_class(), v1::ModelInfo::REGIONAL);
  EXPECT_EQ(list.models(4).degree_bound(), 0u);
  EXPECT_EQ(list.models(4).input().kind(), "vectors");

  v1::GetModelResponse got;
  ASSERT_TRUE(models_
                  ->GetModel(&get_context,
                             FromJson<v1::GetModelRequest>(R"({"model": {"name": "translator"}})"), &got)
                  .ok());
  const v1::ModelInfo& info = got.model();
  EXPECT_EQ(info.architecture(), v1::ModelInfo::ENCODER_DECODER);
  EXPECT_EQ(info.spline_class(), v1::ModelInfo::EXACT);
  EXPECT_GT(info.degree_bound(), 1u);
  EXPECT_EQ(info.norm(), "affine");
  EXPECT_EQ(info.input().vocabulary_split(), "characters");
  EXPECT_EQ(info.target_input().vocabulary_split(), "whitespace");
  EXPECT_EQ(info.head().size(), 9u);
  EXPECT_EQ(info.eos_token_id(), 2);
  EXPECT_EQ(info.encoder_gates().cross_attention_per_key(), 0u);
  EXPECT_EQ(info.decoder_gates().self_attention_per_key(), 2u);
  EXPECT_EQ(info.decoder_gates().total_cross_attention_per_key(), 4u);
  EXPECT_EQ(info.decoder_gates().total_feed_forward(), 24u);
  EXPECT_EQ(info.limits().max_positions(), 16u);
  EXPECT_EQ(info.limits().max_tokens_per_sequence(), 16u);
  EXPECT_EQ(info.precision(), "float32");
  EXPECT_EQ(info.simd_target(), server_->engine().kernels().name);
  EXPECT_GT(info.parameters(), 0u);

  EXPECT_EQ(
      models_->GetModel(&none_context, FromJson<v1::GetModelRequest>(R"({"model": {"name": "x"}})"), &got)
          .error_code(),
      grpc::StatusCode::NOT_FOUND);
  grpc::ClientContext load_context, unload_context;
  v1::LoadModelResponse loaded;
  v1::UnloadModelResponse unloaded;
  EXPECT_EQ(models_->LoadModel(&load_context, {}, &loaded).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(models_->UnloadModel(&unload_context, {}, &unloaded).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(RequestsTest, UnknownModelsAreNotFound) {
  Expect(Encode(R"({"model": {"name": "x"}, "inputs": [{"text": "a"}]})"), grpc::StatusCode::NOT_FOUND,
         HasSubstr("decoder (1), encoder (1, 3)"));
  Expect(Decode(R"({"model": {"name": "decoder", "version": 2}})"), grpc::StatusCode::NOT_FOUND,
         HasSubstr("loaded: 1"));
  Expect(Generate(R"({"model": {"name": "x"}})"), grpc::StatusCode::NOT_FOUND, HasSubstr("not loaded"));
  ExpectInvalid(Encode("{}"), HasSubstr("model.name"));
}

TEST_F(RequestsTest, RefusalsNamePlaceExpectedAndFound) {
  const auto encode = [this](const std::string& rest) {
    return Encode(R"({"model": {"name": "encoder"}, )" + rest + "}");
  };
  ExpectInvalid(encode(R"("inputs": [])"), HasSubstr("inputs"));
  ExpectInvalid(encode(R"("inputs": [{"text": "a"}, {}])"),
                AllOf(HasSubstr("inputs[1]"), HasSubstr("nothing")));
  ExpectInvalid(encode(R"("inputs": [{"text": ""}])"), HasSubstr("inputs[0]"));
  ExpectInvalid(encode(R"("inputs": [{"tokens": {"ids": []}}])"),
                AllOf(HasSubstr("inputs[0]"), HasSubstr("empty")));
  ExpectInvalid(encode(R"("inputs": [{"text": "a9"}])"), HasSubstr("inputs[0].text"));
  ExpectInvalid(encode(R"("inputs": [{"tokens": {"ids": [3, 11]}}])"),
                AllOf(HasSubstr("inputs[0].tokens.ids[1]"), HasSubstr("[0, 11)"), HasSubstr("found 11")));
  ExpectInvalid(encode(R"("inputs": [{"tokens": {"ids": [-1]}}])"), HasSubstr("found -1"));
  ExpectInvalid(encode(R"("inputs": [{"vectors": {"rows": 1, "cols": 1, "values": [0]}}])"),
                HasSubstr("inputs[0]"));
  ExpectInvalid(encode(R"("inputs": [{"text": "a"}], "output": 7)"), HasSubstr("output"));
  ExpectInvalid(encode(R"("inputs": [{"text": "a"}], "pieces": {"detail": 9})"), HasSubstr("pieces.detail"));
  ExpectInvalid(encode(R"("inputs": [{"text": "a"}], "pieces": {"detail": "ID", "sites": [4]})"),
                HasSubstr("pieces.sites[0]"));
  ExpectInvalid(encode(R"("inputs": [{"text": "a"}], "pieces": {"detail": "ID", "layers": [2]})"),
                HasSubstr("pieces.layers[0]"));
  ExpectInvalid(encode(R"("inputs": [{"text": "a"}], "pieces": {"margins": true})"),
                HasSubstr("pieces.margins"));
  const auto vectors = [this](const std::string& values) {
    return Encode(
        R"({"model": {"name": "vectors"}, "inputs": [{"vectors": {"rows": 1, "cols": 3, "values": )" +
        values + "}}]}");
  };
  EXPECT_TRUE(vectors("[1, 2, 3]").ok());
  ExpectInvalid(vectors("[1, 2]"), HasSubstr("inputs[0].vectors.values"));
  ExpectInvalid(vectors(R"([1, "NaN", 3])"), HasSubstr("inputs[0].vectors.values[1]"));
  ExpectInvalid(vectors(R"([1, 2, "-Infinity"])"), HasSubstr("inputs[0].vectors.values[2]"));
  ExpectInvalid(Encode(R"({"model": {"name": "vectors"}, "inputs": [{"text": "a"}]})"), HasSubstr("vectors"));
  ExpectInvalid(
      Encode(
          R"({"model": {"name": "vectors"}, "inputs": [{"vectors": {"rows": 1, "cols": 3, "values": [1, 2, 3]}}],
      "output": "HEAD"})"),
      HasSubstr("output"));
}

TEST_F(RequestsTest, RefusalsOfDecodeAndGenerate) {
  ExpectInvalid(Decode(R"({"model": {"name": "translator"}, "targets": [{"text": "a"}]})"),
                HasSubstr("sources"));
  ExpectInvalid(
      Decode(R"({"model": {"name": "decoder"}, "sources": [{"text": "a"}], "targets": [{"text": "a"}]})"),
      HasSubstr("sources"));
  ExpectInvalid(Generate(R"({"model": {"name": "translator"}})"), HasSubstr("source"));
  ExpectInvalid(Generate(R"({"model": {"name": "decoder"}, "source": {"text": "a"}})"), HasSubstr("source"));
  ExpectInvalid(Generate(R"({"model": {"name": "decoder"}, "stopIds": [99]})"), HasSubstr("stop_ids"));
  ExpectInvalid(Generate(R"({"model": {"name": "decoder"}, "maxNewTokens": 4000000000})"),
                HasSubstr("max_new_tokens"));
  ExpectInvalid(Generate(R"({"model": {"name": "decoder"}, "beam": {"width": 99}})"),
                HasSubstr("beam.width"));
  ExpectInvalid(Generate(R"({"model": {"name": "decoder"}, "sample": {"temperature": 0}})"),
                HasSubstr("temperature"));
  ExpectInvalid(Generate(R"({"model": {"name": "decoder"}, "sample": {"temperature": "NaN"}})"),
                HasSubstr("temperature"));
  std::string long_ids = "3";
  for (int i = 0; i < 16; ++i) long_ids += ", 3";
  ExpectInvalid(
      Encode(R"({"model": {"name": "translator"}, "inputs": [{"tokens": {"ids": [)" + long_ids + "]}}]}"),
      HasSubstr("16"));
}

TEST_F(RequestsTest, TheWrongCallForAnArchitecture) {
  for (const grpc::Status& status :
       {Encode(R"({"model": {"name": "decoder"}, "inputs": [{"text": "a"}]})"),
        Decode(R"({"model": {"name": "encoder"}, "targets": [{"text": "a"}]})"),
        Generate(R"({"model": {"name": "encoder"}, "prompt": {"text": "a"}})")}) {
    ExpectInvalid(status, HasSubstr("model"));
  }
}

TEST_F(RequestsTest, BytesThatAreNoMessageAreInvalid) {
  v1::EncodeRequest encode = FromJson<v1::EncodeRequest>(R"({"model": {"name": "encoder"}})");
  encode.add_inputs()->set_text("a\xff");  // not UTF-8: the client's library only complains in its log
  grpc::ClientContext encode_context, generate_context;
  v1::EncodeResponse response;
  ExpectInvalid(inference_->Encode(&encode_context, encode, &response), HasSubstr("UTF-8"));

  v1::GenerateRequest generate = FromJson<v1::GenerateRequest>(R"({"model": {"name": "decoder"}})");
  generate.mutable_prompt()->set_text("\xff");
  const auto reader = inference_->Generate(&generate_context, generate);
  v1::GenerateResponse event;
  EXPECT_FALSE(reader->Read(&event));
  ExpectInvalid(reader->Finish(), HasSubstr("UTF-8"));
}

TEST_F(RequestsTest, MessagesAreBounded) {
  ServerOptions options = Options();
  options.max_message_bytes = 1000;
  Start(options);
  EXPECT_TRUE(Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "a"}]})").ok());
  EXPECT_EQ(
      Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": ")" + std::string(2000, 'a') + "\"}]}")
          .error_code(),
      grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(RequestsTest, AFullQueueIsResourceExhausted) {
  ServerOptions options = Options();
  options.engine.max_queue_bytes = 1000;
  Start(options);
  Expect(Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": ")" + std::string(500, 'a') + "\"}]}"),
         grpc::StatusCode::RESOURCE_EXHAUSTED, HasSubstr("bytes"));
}

}  // namespace
}  // namespace splineserve::testing
