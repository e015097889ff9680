// Evaluation on pieces and comparisons, over the wire.
#include <gmock/gmock.h>

#include <thread>
#include <vector>

#include "splineserve/v1/spline.grpc.pb.h"
#include "tests/server/server_fixture.h"

namespace splineserve::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::HasSubstr;

constexpr char kSmoothConfig[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_encoder_layers": 1,
"attention_activation": "softmax", "hidden_act": "gelu", "input": {"kind": "tokens", "vocab_size": 11}})";

class AnalysesTest : public ServerFixture {
 protected:
  void SetUp() override {
    AddModel(repository_, "smooth", kSmoothConfig, 6);
    Begin(Options());
  }
  void Begin(const ServerOptions& options) {
    Start(options);
    splines_ = v1::SplineService::NewStub(channel_);
  }
  grpc::Status OnPiece(const v1::EvaluateOnPieceRequest& request, v1::EvaluateOnPieceResponse* response) {
    grpc::ClientContext context;
    return splines_->EvaluateOnPiece(&context, request, response);
  }
  grpc::Status OnPiece(const std::string& json, v1::EvaluateOnPieceResponse* response) {
    return OnPiece(FromJson<v1::EvaluateOnPieceRequest>(json), response);
  }
  grpc::Status OnPiece(const std::string& json) {
    v1::EvaluateOnPieceResponse response;
    return OnPiece(json, &response);
  }
  grpc::Status Compare(const std::string& json, v1::CompareResponse* response) {
    grpc::ClientContext context;
    return splines_->Compare(&context, FromJson<v1::CompareRequest>(json), response);
  }
  grpc::Status Compare(const std::string& json) {
    v1::CompareResponse response;
    return Compare(json, &response);
  }
  static void Expect(const grpc::Status& status, grpc::StatusCode code,
                     const ::testing::Matcher<std::string>& message) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), message);
  }
  static void ExpectInvalid(const grpc::Status& status, const ::testing::Matcher<std::string>& message) {
    Expect(status, grpc::StatusCode::INVALID_ARGUMENT, message);
  }

  std::unique_ptr<v1::SplineService::Stub> splines_;
};

TEST_F(AnalysesTest, AtItsOwnPieceTheAnswerIsThatOfEncode) {
  v1::EncodeResponse encoded;
  ASSERT_TRUE(Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "abcd"}],
      "pieces": {"detail": "BITS", "margins": true}})",
                     &encoded)
                  .ok());
  v1::EvaluateOnPieceResponse response;
  const grpc::Status status = OnPiece(R"({"model": {"name": "encoder"}, "input": {"source": {"text": "abcd"}},
      "verify": true, "pieces": {"detail": "BITS", "margins": true}})",
                                      &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.result().SerializeAsString(), encoded.results(0).SerializeAsString());
  EXPECT_EQ(response.model().SerializeAsString(), encoded.model().SerializeAsString());
  EXPECT_EQ(response.encoder_sequence_id(), encoded.results(0).sequence_id());
  EXPECT_EQ(response.decoder_sequence_id(), "");
  EXPECT_TRUE(response.polynomial());
  EXPECT_EQ(response.degree_bound(), 9u);
  ASSERT_EQ(response.disagreement_size(), 1);
  EXPECT_EQ(response.disagreement(0).stack(), v1::GateRef::ENCODER);
  EXPECT_EQ(response.disagreement(0).total().differing(), 0u);
  EXPECT_EQ(response.disagreement(0).total().compared(), 2u * 4 * (2 * 4 + 12));
  EXPECT_EQ(response.disagreement(0).groups_size(), 6);
  EXPECT_TRUE(response.verification().equal());
  EXPECT_FALSE(response.verification().has_first());
  EXPECT_EQ(response.timing().batch_tokens(), 8);
}

TEST_F(AnalysesTest, PiecesComeBackAsTheyWereSent) {
  v1::EncodeResponse encoded;
  v1::DecodeResponse decoded;
  ASSERT_TRUE(Encode(R"({"model": {"name": "translator"}, "inputs": [{"text": "ab"}],
      "pieces": {"detail": "BITS"}})",
                     &encoded)
                  .ok());
  ASSERT_TRUE(Decode(R"({"model": {"name": "translator"}, "sources": [{"text": "ab"}],
      "targets": [{"tokens": {"ids": [1, 3, 4]}}], "pieces": {"detail": "BITS"}})",
                     &decoded)
                  .ok());
  v1::EvaluateOnPieceRequest request = FromJson<v1::EvaluateOnPieceRequest>(
      R"({"model": {"name": "translator"}, "input": {"source": {"text": "ab"},
      "target": {"tokens": {"ids": [1, 3, 4]}}}, "verify": true, "pieces": {"detail": "BITS"}})");
  *request.mutable_given()->mutable_encoder() = encoded.results(0).pieces();
  *request.mutable_given()->mutable_decoder() = decoded.results(0).pieces();
  v1::EvaluateOnPieceResponse response;
  const grpc::Status status = OnPiece(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.result().SerializeAsString(), decoded.results(0).SerializeAsString());
  EXPECT_EQ(response.encoder_sequence_id(), encoded.results(0).sequence_id());
  EXPECT_EQ(response.decoder_sequence_id(), decoded.results(0).sequence_id());
  EXPECT_TRUE(response.verification().equal());

  request.mutable_given()->mutable_decoder(1)->mutable_layers(1)->mutable_groups(0)->set_site(
      static_cast<v1::Site::Value>(7));
  ExpectInvalid(OnPiece(request, &response),
                HasSubstr("given.decoder[1].layers[1].groups[0].site: expected"));
  request.mutable_given()->mutable_decoder()->RemoveLast();
  *request.mutable_given()->mutable_decoder(1) = decoded.results(0).pieces(1);
  ExpectInvalid(OnPiece(request, &response),
                HasSubstr("given.decoder: expected a piece for each of the input's 3 tokens, found 2"));
}

TEST_F(AnalysesTest, AtAnothersPieceItSaysHowFarItIsFromIt) {
  v1::EvaluateOnPieceResponse response;
  const grpc::Status status = OnPiece(R"({"model": {"name": "vectors"},
      "input": {"source": {"vectors": {"rows": 2, "cols": 3, "values": [1, 2, 3, 4, 5, 6]}}},
      "gatesOf": {"source": {"vectors": {"rows": 2, "cols": 3, "values": [-1, 2, -3, 4, -5, 6]}}},
      "verify": true})",
                                      &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(response.polynomial());  // REGIONAL
  EXPECT_EQ(response.degree_bound(), 0u);
  EXPECT_EQ(response.result().pieces_size(), 0);
  EXPECT_EQ(response.result().output().rows(), 2u);
  EXPECT_THAT(response.disagreement(0).total().differing(), Gt(0u));
  const v1::PieceVerification& verification = response.verification();
  EXPECT_FALSE(verification.equal());
  EXPECT_THAT(verification.gates().differing(), Gt(0u));
  EXPECT_THAT(verification.differing(), Gt(0u));
  ASSERT_TRUE(verification.has_first());
  EXPECT_EQ(verification.first().on_piece(),
            response.result().output().values(
                static_cast<int>(verification.first().row() * 8 + verification.first().col())));
  EXPECT_NE(verification.first().own(), verification.first().on_piece());
  EXPECT_THAT(verification.largest_difference(), Gt(0.0));
}

TEST_F(AnalysesTest, RefusalsOfEvaluateOnPiece) {
  Expect(OnPiece(R"({"model": {"name": "smooth"}, "input": {"source": {"tokens": {"ids": [1]}}}})"),
         grpc::StatusCode::FAILED_PRECONDITION,
         AllOf(HasSubstr("SMOOTH"), HasSubstr("attention_activation softmax and hidden_act gelu")));
  Expect(OnPiece(R"({"model": {"name": "x"}})"), grpc::StatusCode::NOT_FOUND, HasSubstr("not loaded"));
  ExpectInvalid(OnPiece("{}"), HasSubstr("model.name"));
  ExpectInvalid(OnPiece(R"({"model": {"name": "encoder"}})"), HasSubstr("input.source"));
  ExpectInvalid(OnPiece(R"({"model": {"name": "encoder"}, "input": {"source": {"text": "a"}}, "given": {}})"),
                HasSubstr("given.encoder: expected a piece for each of the input's 1 tokens, found 0"));
  ExpectInvalid(OnPiece(R"({"model": {"name": "encoder"}, "input": {"source": {"text": "a"}}, "output": 9})"),
                HasSubstr("output"));
  ExpectInvalid(OnPiece(R"({"model": {"name": "vectors"},
      "input": {"source": {"vectors": {"rows": 2, "cols": 3, "values": [1]}}}})"),
                HasSubstr("input.source.vectors.values"));
}

TEST_F(AnalysesTest, ComparesPiecesOfAllArchitectures) {
  v1::CompareResponse response;
  grpc::Status status = Compare(R"({"model": {"name": "translator"}, "inputs": [
      {"source": {"text": "ab"}, "target": {"tokens": {"ids": [1, 3]}}},
      {"source": {"text": "cd"}, "target": {"tokens": {"ids": [1, 5]}}},
      {"source": {"text": "ab"}, "target": {"tokens": {"ids": [1, 3]}}}]})",
                                &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model().name(), "translator");
  ASSERT_EQ(response.stacks_size(), 2);
  EXPECT_EQ(response.stacks(0).stack(), v1::GateRef::ENCODER);
  EXPECT_EQ(response.stacks(1).stack(), v1::GateRef::DECODER);
  for (const v1::StackComparison& stack : response.stacks()) {
    EXPECT_THAT(stack.tokens(), ElementsAre(2, 2, 2));
    EXPECT_THAT(stack.same_as(), ElementsAre(0, 1, 0));
    EXPECT_EQ(stack.distinct_pieces(), 2u);
    ASSERT_EQ(stack.differing_size(), 9);
    EXPECT_EQ(stack.differing(0 * 3 + 2), 0u);
    EXPECT_THAT(stack.differing(1), Gt(0u));
    EXPECT_EQ(stack.differing(1), stack.differing(3));
    EXPECT_EQ(stack.same_tokens(2), 2u);
    ASSERT_EQ(stack.pairs_size(), 3);
    const v1::PairComparison& pair = stack.pairs(0);
    EXPECT_EQ(pair.first(), 0u);
    EXPECT_EQ(pair.second(), 1u);
    EXPECT_EQ(pair.total().differing(), stack.differing(1));
    EXPECT_DOUBLE_EQ(pair.share(), static_cast<double>(pair.total().differing()) /
                                       static_cast<double>(pair.total().compared()));
    uint64_t by_group = 0, by_token = 0;
    for (const v1::GroupDistance& group : pair.groups()) by_group += group.distance().differing();
    for (const v1::HammingDistance& token : pair.tokens()) by_token += token.differing();
    EXPECT_EQ(by_group, pair.total().differing());
    EXPECT_EQ(by_token, pair.total().differing());
    EXPECT_EQ(pair.tokens_size(), 2);
  }
  EXPECT_EQ(response.stacks(0).pairs(0).groups_size(), 3);
  EXPECT_EQ(response.stacks(1).pairs(0).groups_size(), 10);
  EXPECT_EQ(response.timing().batch_tokens(), 12);

  status = Compare(R"({"model": {"name": "decoder"}, "inputs": [{"target": {"text": "abc"}},
      {"target": {"text": "a"}}]})",
                   &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.stacks(0).same_tokens(1), 1u);
  EXPECT_EQ(response.stacks(0).unmatched(1), 2u * (2 * (2 + 3) + 2 * 12));
}

TEST_F(AnalysesTest, RefusalsOfCompare) {
  Expect(Compare(R"({"model": {"name": "smooth"}})"), grpc::StatusCode::FAILED_PRECONDITION,
         HasSubstr("expected a model with gates"));
  Expect(Compare(R"({"model": {"name": "x"}})"), grpc::StatusCode::NOT_FOUND, HasSubstr("not loaded"));
  ExpectInvalid(Compare(R"({"model": {"name": "encoder"}, "inputs": [{"source": {"text": "a"}}]})"),
                HasSubstr("inputs: expected 2 to 64, found 1"));
  ExpectInvalid(Compare(R"({"model": {"name": "encoder"}, "inputs": [{"source": {"text": "a"}}, {}]})"),
                HasSubstr("inputs[1].source"));
}

TEST_F(AnalysesTest, TheirMemoryIsBounded) {
  ServerOptions options = Options();
  options.engine.max_queue_bytes = 1000;
  Begin(options);
  Expect(OnPiece(R"({"model": {"name": "encoder"}, "input": {"source": {"text": "abc"}}})"),
         grpc::StatusCode::RESOURCE_EXHAUSTED, HasSubstr("ask for less"));
  Expect(Compare(R"({"model": {"name": "encoder"}, "inputs": [{"source": {"text": "a"}},
      {"source": {"text": "b"}}]})"),
         grpc::StatusCode::RESOURCE_EXHAUSTED, HasSubstr("byte budget"));
}

TEST_F(AnalysesTest, ManyAtOnceAnswerAsOne) {
  const char* const request =
      R"({"model": {"name": "encoder"}, "input": {"source": {"text": "abcdefgh"}},
      "gatesOf": {"source": {"text": "hgfedcba"}}, "verify": true})";
  v1::EvaluateOnPieceResponse alone;
  ASSERT_TRUE(OnPiece(request, &alone).ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int call = 0; call < 10; ++call) {
        v1::EvaluateOnPieceResponse response;
        const grpc::Status status = OnPiece(request, &response);
        EXPECT_TRUE(status.ok()) << status.error_message();
        EXPECT_EQ(response.result().SerializeAsString(), alone.result().SerializeAsString());
        EXPECT_EQ(response.verification().SerializeAsString(), alone.verification().SerializeAsString());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(AnalysesTest, ADeadlineEndsThem) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() - std::chrono::seconds(1));
  v1::CompareResponse response;
  const auto request = FromJson<v1::CompareRequest>(
      R"({"model": {"name": "encoder"}, "inputs": [{"source": {"text": "a"}}, {"source": {"text": "b"}}]})");
  EXPECT_EQ(splines_->Compare(&context, request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
}

}  // namespace
}  // namespace splineserve::testing
