// Trace and Differentiate over the wire: what they answer agrees with Encode and Decode, and what they
// refuse.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "splineserve/v1/spline.grpc.pb.h"
#include "tests/server/server_fixture.h"

namespace splineserve::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TraceServiceTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    splines_ = v1::SplineService::NewStub(channel_);
  }

  grpc::Status Trace(const v1::TraceRequest& request, std::vector<v1::TraceResponse>* events) {
    grpc::ClientContext context;
    const auto reader = splines_->Trace(&context, request);
    v1::TraceResponse event;
    while (reader->Read(&event)) events->push_back(event);
    return reader->Finish();
  }
  grpc::Status Trace(const std::string& json, std::vector<v1::TraceResponse>* events) {
    return Trace(FromJson<v1::TraceRequest>(json), events);
  }
  grpc::Status Differentiate(const std::string& json, v1::DifferentiateResponse* response) {
    grpc::ClientContext context;
    return splines_->Differentiate(&context, FromJson<v1::DifferentiateRequest>(json), response);
  }

  static std::vector<v1::TracePiece> Pieces(const std::vector<v1::TraceResponse>& events) {
    std::vector<v1::TracePiece> pieces;
    for (const v1::TraceResponse& event : events) {
      pieces.insert(pieces.end(), event.pieces().pieces().begin(), event.pieces().pieces().end());
    }
    return pieces;
  }
  // Of CHEBYSHEV form at the piece's beginning (-1) or end (+1).
  static double AtEnd(const v1::TracePiece& piece, size_t output, int end) {
    double sum = 0;
    const size_t terms = piece.degree() + 1;
    for (size_t k = 0; k < terms; ++k) {
      sum += piece.coefficients(static_cast<int>(output * terms + k)) * (end < 0 && k % 2 == 1 ? -1 : 1);
    }
    return sum;
  }

  static void Expect(const grpc::Status& status, grpc::StatusCode code,
                     const ::testing::Matcher<std::string>& message) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), message);
  }
  void ExpectTraceFails(const std::string& json, grpc::StatusCode code,
                        const ::testing::Matcher<std::string>& message) {
    std::vector<v1::TraceResponse> events;
    Expect(Trace(json, &events), code, message);
    EXPECT_TRUE(events.empty());
  }
  void ExpectDifferentiateFails(const std::string& json, grpc::StatusCode code,
                                const ::testing::Matcher<std::string>& message) {
    v1::DifferentiateResponse response;
    Expect(Differentiate(json, &response), code, message);
  }

  std::unique_ptr<v1::SplineService::Stub> splines_;
};

constexpr char kTrace[] = R"({"model": {"name": "encoder"}, "from": {"source": {"text": "abc"}},
    "to": {"source": {"text": "bcd"}}, "integrated_gradients": true, "top_output": true})";

TEST_F(TraceServiceTest, TraceLeadsFromOneAnswerOfEncodeToTheOther) {
  std::vector<v1::TraceResponse> events;
  const grpc::Status status = Trace(kTrace, &events);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_GE(events.size(), 3u);
  const v1::TraceHeader& header = events.front().header();
  EXPECT_EQ(header.model().name(), "encoder");
  EXPECT_EQ(header.outputs_size(), 5);
  EXPECT_EQ(header.basis(), v1::PolynomialBasis::CHEBYSHEV);
  EXPECT_EQ(header.degree_bound(), 9u);
  EXPECT_EQ(header.gates(), 2u * (3 * 2 * 3 + 3 * 12));
  const std::vector<v1::TracePiece> pieces = Pieces(events);
  ASSERT_FALSE(pieces.empty());
  const v1::TraceSummary& summary = events.back().summary();
  EXPECT_EQ(summary.pieces(), pieces.size());
  EXPECT_EQ(summary.reached(), 1);
  EXPECT_TRUE(summary.resume().empty());
  EXPECT_GT(summary.evaluations(), 0u);

  v1::EncodeResponse encoded;
  ASSERT_TRUE(Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"}, {"text": "bcd"}],
                         "pieces": {"detail": "ID"}})",
                     &encoded)
                  .ok());
  for (size_t o = 0; o < 5; ++o) {
    const int i = static_cast<int>(o);
    EXPECT_NEAR(AtEnd(pieces.front(), o, -1), encoded.results(0).output().values(i), 1e-4);
    EXPECT_NEAR(AtEnd(pieces.back(), o, 1), encoded.results(1).output().values(i), 1e-4);
    const v1::IntegratedGradient& gradient = summary.integrated_gradients(i);
    EXPECT_NEAR(gradient.sum(), gradient.difference(), 1e-10);
    EXPECT_NEAR(gradient.difference(), AtEnd(pieces.back(), o, 1) - AtEnd(pieces.front(), o, -1), 1e-12);
    EXPECT_EQ(gradient.source().rows(), 3u);
    EXPECT_EQ(gradient.source().cols(), 8u);
  }
  EXPECT_EQ(pieces.front().sequence_id(), encoded.results(0).sequence_id());
  EXPECT_EQ(pieces.back().sequence_id(), encoded.results(1).sequence_id());
  for (size_t i = 1; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces[i].begin(), pieces[i - 1].end());
    EXPECT_GT(pieces[i].flips_size(), 0);
    for (size_t o = 0; o < 5; ++o) {  // pieces join
      EXPECT_NEAR(AtEnd(pieces[i], o, -1), AtEnd(pieces[i - 1], o, 1), 1e-9);
    }
  }
}

TEST_F(TraceServiceTest, ATraceGoesOnWhereItStopped) {
  std::vector<v1::TraceResponse> whole;
  ASSERT_TRUE(Trace(kTrace, &whole).ok());
  v1::TraceRequest request = FromJson<v1::TraceRequest>(kTrace);
  request.set_max_pieces(3);
  std::vector<v1::TracePiece> pieces;
  double sum = 0;
  do {
    std::vector<v1::TraceResponse> events;
    const grpc::Status status = Trace(request, &events);
    ASSERT_TRUE(status.ok()) << status.error_message();
    const std::vector<v1::TracePiece> part = Pieces(events);
    ASSERT_LE(part.size(), 3u);
    pieces.insert(pieces.end(), part.begin(), part.end());
    sum += events.back().summary().integrated_gradients(0).sum();
    request.set_resume(events.back().summary().resume());
  } while (!request.resume().empty());
  const std::vector<v1::TracePiece> expected = Pieces(whole);
  ASSERT_EQ(pieces.size(), expected.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces[i].SerializeAsString(), expected[i].SerializeAsString());
  }
  EXPECT_NEAR(sum, whole.back().summary().integrated_gradients(0).sum(), 1e-10);

  request.set_resume("abc");
  std::vector<v1::TraceResponse> events;
  Expect(Trace(request, &events), grpc::StatusCode::INVALID_ARGUMENT,
         HasSubstr("resume: expected the token"));
}

TEST_F(TraceServiceTest, BernsteinFormBeginsAndEndsWithTheValues) {
  v1::TraceRequest request = FromJson<v1::TraceRequest>(kTrace);
  std::vector<v1::TraceResponse> chebyshev, bernstein;
  ASSERT_TRUE(Trace(request, &chebyshev).ok());
  request.set_basis(v1::PolynomialBasis::BERNSTEIN);
  ASSERT_TRUE(Trace(request, &bernstein).ok());
  const v1::TracePiece a = Pieces(chebyshev)[0], b = Pieces(bernstein)[0];
  ASSERT_EQ(a.degree(), b.degree());
  for (size_t o = 0; o < 5; ++o) {
    const int first = static_cast<int>(o * (b.degree() + 1));
    EXPECT_NEAR(b.coefficients(first), AtEnd(a, o, -1), 1e-12);
    EXPECT_NEAR(b.coefficients(first + static_cast<int>(b.degree())), AtEnd(a, o, 1), 1e-12);
  }
}

TEST_F(TraceServiceTest, EveryStackMayMove) {
  for (
      const char* json :
      {R"({"model": {"name": "decoder"}, "from": {"target": {"text": "ab"}}, "to": {"target": {"text": "cd"}},
            "max_pieces": 5})",
       R"({"model": {"name": "translator"}, "from": {"source": {"text": "ab"}, "target": {"tokens": {"ids": [1, 3]}}},
            "to": {"source": {"text": "cd"}, "target": {"tokens": {"ids": [1, 3]}}}, "max_pieces": 5})",
       R"({"model": {"name": "translator"}, "from": {"source": {"text": "ab"}, "target": {"tokens": {"ids": [1, 3]}}},
            "to": {"source": {"text": "ab"}, "target": {"tokens": {"ids": [1, 4]}}}, "max_pieces": 5})",
       R"({"model": {"name": "translator"}, "from": {"source": {"text": "ab"}}, "to": {"source": {"text": "cd"}},
            "max_pieces": 5})"}) {
    std::vector<v1::TraceResponse> events;
    const grpc::Status status = Trace(json, &events);
    ASSERT_TRUE(status.ok()) << json << status.error_message();
    EXPECT_FALSE(Pieces(events).empty()) << json;
  }
}

TEST_F(TraceServiceTest, TraceRefusals) {
  const auto invalid = grpc::StatusCode::INVALID_ARGUMENT;
  ExpectTraceFails(R"({"model": {"name": "vectors"}, "from": {"source": {"vectors": {"rows": 1, "cols": 3,
      "values": [1, 2, 3]}}}, "to": {"source": {"vectors": {"rows": 1, "cols": 3, "values": [1, 2, 4]}}}})",
                   grpc::StatusCode::FAILED_PRECONDITION,
                   AllOf(HasSubstr("class EXACT"), HasSubstr("REGIONAL"), HasSubstr("norm layer_norm")));
  ExpectTraceFails(R"({"model": {"name": "nothing"}})", grpc::StatusCode::NOT_FOUND, HasSubstr("nothing"));
  ExpectTraceFails(R"({"model": {"name": "encoder"}})", invalid, HasSubstr("from.source: expected"));
  ExpectTraceFails(R"({"model": {"name": "encoder"}, "from": {"source": {"text": "ab"}},
      "to": {"source": {"text": "abc"}}})",
                   invalid, HasSubstr("to.source: expected as many tokens as from.source has, 2, found 3"));
  ExpectTraceFails(
      R"({"model": {"name": "encoder"}, "from": {"source": {"text": "ab"}, "target": {"text": "ab"}},
      "to": {"source": {"text": "ab"}}})",
      invalid, HasSubstr("from.target: expected nothing"));
  ExpectTraceFails(R"({"model": {"name": "decoder"}, "from": {"source": {"text": "ab"}}})", invalid,
                   HasSubstr("from.source: expected nothing"));
  ExpectTraceFails(R"({"model": {"name": "encoder"}, "from": {"source": {"text": "ab"}},
      "to": {"source": {"text": "cd"}}, "outputs": {"indices": [{"row": 1, "col": 0}]}})",
                   invalid, HasSubstr("outputs.indices[0]"));
  ExpectTraceFails(R"({"model": {"name": "encoder"}, "from": {"source": {"text": "ab"}},
      "to": {"source": {"text": "cd"}}, "max_pieces": 100001})",
                   invalid, HasSubstr("max_pieces: expected at most 100000"));
  ExpectTraceFails(R"({"model": {"name": "encoder"}, "from": {"source": {"text": "abcdefgh"}},
      "to": {"source": {"text": "bcdefgha"}}, "outputs": {"output": "HIDDEN"}, "integrated_gradients": true})",
                   invalid, HasSubstr("at most 16 outputs"));
  v1::TraceRequest request = FromJson<v1::TraceRequest>(kTrace);
  request.set_basis(static_cast<v1::PolynomialBasis::Value>(7));
  std::vector<v1::TraceResponse> events;
  Expect(Trace(request, &events), invalid, HasSubstr("basis: expected CHEBYSHEV or BERNSTEIN, found 7"));
}

TEST_F(TraceServiceTest, ACancelledTraceEnds) {
  v1::TraceRequest request = FromJson<v1::TraceRequest>(R"({"model": {"name": "encoder"},
      "from": {"source": {"text": "abcdefghabcdefghabcd"}}, "to": {"source": {"text": "hgfedcbahgfedcbahgfe"}},
      "max_pieces": 100000})");
  grpc::ClientContext context;
  const auto reader = splines_->Trace(&context, request);
  v1::TraceResponse event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_->Drain(absl::Seconds(60));  // waits for analyses: a trace that went on would hold it up
}

TEST_F(TraceServiceTest, AnalysesAreBounded) {
  ServerOptions options = Options();
  options.max_analyses = 1;
  Start(options);
  splines_ = v1::SplineService::NewStub(channel_);
  // One that stays: its answers are not read.
  grpc::ClientContext context;
  const auto reader = splines_->Trace(&context, FromJson<v1::TraceRequest>(R"({"model": {"name": "encoder"},
      "from": {"source": {"text": "abcdefghabcdefghabcd"}}, "to": {"source": {"text": "hgfedcbahgfedcbahgfe"}},
      "max_pieces": 100000})"));
  v1::TraceResponse event;
  ASSERT_TRUE(reader->Read(&event));
  v1::DifferentiateResponse response;
  Expect(Differentiate(R"({"model": {"name": "encoder"}, "at": {"source": {"text": "ab"}}})", &response),
         grpc::StatusCode::RESOURCE_EXHAUSTED, HasSubstr("--max-analyses"));
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  reader->Finish();
}

TEST_F(TraceServiceTest, AClientThatDoesNotReadLosesItsPlace) {
  ServerOptions options = Options();
  options.max_analyses = 1;
  options.stall_timeout = absl::Seconds(1);
  Start(options);
  splines_ = v1::SplineService::NewStub(channel_);
  // A connection that holds 64 KiB of what is not read, and does not grow with its speed.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto slow = v1::SplineService::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  const auto reader = slow->Trace(&context, FromJson<v1::TraceRequest>(R"({"model": {"name": "encoder"},
      "from": {"source": {"text": "abcdefghabcdefghabcd"}}, "to": {"source": {"text": "hgfedcbahgfedcbahgfe"}},
      "max_pieces": 100000, "outputs": {"output": "HIDDEN"}})"));  // 3 MB
  v1::TraceResponse event;
  ASSERT_TRUE(reader->Read(&event));
  // While the trace has its place others are refused; only the guard can end it.
  v1::DifferentiateResponse response;
  grpc::Status status;
  const absl::Time last = absl::Now() + absl::Seconds(60);
  do {
    status = Differentiate(R"({"model": {"name": "encoder"}, "at": {"source": {"text": "ab"}}})", &response);
  } while (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED && absl::Now() < last);
  EXPECT_TRUE(status.ok()) << status.error_message();
  bool summary = false;
  while (reader->Read(&event)) summary = summary || event.has_summary();
  EXPECT_FALSE(summary);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(TraceServiceTest, AClientThatReadsKeepsItsPlaceHoweverLongItTakes) {
  ServerOptions options = Options();
  options.stall_timeout = absl::Milliseconds(250);
  Start(options);
  splines_ = v1::SplineService::NewStub(channel_);
  grpc::ClientContext context;
  const auto reader = splines_->Trace(&context, FromJson<v1::TraceRequest>(R"({"model": {"name": "encoder"},
      "from": {"source": {"text": "abcdefghabcdefghabcdefghabcdefgh"}},
      "to": {"source": {"text": "hgfedcbahgfedcbahgfedcbahgfedcba"}}, "max_pieces": 100000})"));
  const absl::Time start = absl::Now();
  v1::TraceResponse event;
  bool summary = false;
  while (reader->Read(&event)) summary = summary || event.has_summary();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(summary);
  EXPECT_GT(absl::Now() - start, options.stall_timeout);  // or the test says nothing
}

TEST_F(TraceServiceTest, DifferentiateAgreesWithItself) {
  v1::DifferentiateResponse response;
  const grpc::Status status =
      Differentiate(R"({"model": {"name": "encoder"}, "at": {"source": {"text": "abc"}},
      "jacobian": true, "cotangent": [1, 0, 0, 0, -2], "nearest_gates": 4,
      "direction": {"source": {"rows": 3, "cols": 8, "values": [1,0,0,0,0,0,0,0, 0,1,0,0,0,0,0,0, 0,0,2,0,0,0,0,0]}}})",
                    &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model().name(), "encoder");
  ASSERT_EQ(response.values_size(), 5);
  v1::EncodeResponse encoded;
  ASSERT_TRUE(
      Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"}], "pieces": {"detail": "ID"}})",
             &encoded)
          .ok());
  EXPECT_EQ(response.sequence_id(), encoded.results(0).sequence_id());
  const v1::Matrix64& jacobian = response.source_jacobian();
  ASSERT_EQ(jacobian.rows(), 5u);
  ASSERT_EQ(jacobian.cols(), 24u);
  for (int o = 0; o < 5; ++o) {
    EXPECT_NEAR(response.values(o), encoded.results(0).output().values(o), 1e-4);
    const double along =
        jacobian.values(o * 24) + jacobian.values(o * 24 + 9) + 2 * jacobian.values(o * 24 + 18);
    EXPECT_NEAR(response.directional(o), along, 1e-12);
    EXPECT_EQ(response.taylor().coefficients().values(o * 10), response.values(o));
    EXPECT_NEAR(response.taylor().coefficients().values(o * 10 + 1), response.directional(o), 1e-12);
  }
  for (int i = 0; i < 24; ++i) {
    EXPECT_NEAR(response.source_gradient().values(i), jacobian.values(i) - 2 * jacobian.values(4 * 24 + i),
                1e-12);
  }
  EXPECT_LT(response.taylor().lower(), 0);
  EXPECT_GT(response.taylor().upper(), 0);
  ASSERT_EQ(response.nearest_size(), 3 * 4);
  for (int i = 1; i < 4; ++i) {
    EXPECT_GE(response.nearest(i).distance(), response.nearest(i - 1).distance());
    EXPECT_EQ(response.nearest(i).gate().token(), 0u);
    EXPECT_EQ(response.nearest(i).open(), response.nearest(i).argument() > 0);
  }
}

// Far out the scores of the second layer, of degree 6, have gradients of some 1e165, whose squares overflow.
TEST_F(TraceServiceTest, SteepGatesHaveDistances) {
  v1::DifferentiateResponse response;
  const grpc::Status status = Differentiate(
      R"({"model": {"name": "encoder"}, "nearest_gates": 1000, "at": {"source": {"vectors": {"rows": 1, "cols": 8,
      "values": [1e33, -2e33, 1e33, 3e33, -1e33, 2e33, 1e33, -1e33]}}}})",
      &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  double steepest = 0;
  for (const v1::GateDistance& gate : response.nearest()) {
    EXPECT_TRUE(gate.argument() == 0 || gate.distance() > 0) << gate.ShortDebugString();
    steepest = std::max(steepest, std::abs(gate.argument()) / gate.distance());
  }
  EXPECT_GT(steepest, 1e155);
}

TEST_F(TraceServiceTest, DifferentiateRefusals) {
  const auto invalid = grpc::StatusCode::INVALID_ARGUMENT;
  ExpectDifferentiateFails(
      R"({"model": {"name": "vectors"}, "at": {"source": {"vectors": {"rows": 1, "cols": 3,
      "values": [1, 2, 3]}}}})",
      grpc::StatusCode::FAILED_PRECONDITION, HasSubstr("Differentiate: expected a model of class"));
  ExpectDifferentiateFails(
      R"({"model": {"name": "encoder"}, "at": {"source": {"text": "ab"}}, "cotangent": [1]})", invalid,
      HasSubstr("cotangent: expected 5 weights"));
  ExpectDifferentiateFails(R"({"model": {"name": "encoder"}, "at": {"source": {"text": "ab"}},
      "direction": {"source": {"rows": 1, "cols": 8, "values": [1,2,3,4,5,6,7,8]}}})",
                           invalid, HasSubstr("direction.source: expected [2, 8] numbers"));
  ExpectDifferentiateFails(R"({"model": {"name": "encoder"}, "at": {"source": {"text": "ab"}},
      "direction": {"source": {"rows": 2, "cols": 8, "values": [1]}}})",
                           invalid, HasSubstr("direction.source.values: expected rows * cols"));
  ExpectDifferentiateFails(
      R"({"model": {"name": "encoder"}, "at": {"source": {"text": "ab"}}, "nearest_gates": 1001})", invalid,
      HasSubstr("nearest_gates: expected at most 1000"));
  ExpectDifferentiateFails(R"({"model": {"name": "encoder"}, "at": {"source": {"text": "a?"}}})", invalid,
                           HasSubstr("at.source.text"));
}

TEST_F(TraceServiceTest, EmbeddingsMayBeGivenAsVectors) {
  // Zero embeddings are none of the vocabulary's.
  v1::DifferentiateResponse response;
  ASSERT_TRUE(
      Differentiate(R"({"model": {"name": "encoder"}, "at": {"source": {"vectors": {"rows": 1, "cols": 8,
      "values": [0,0,0,0,0,0,0,0]}}}, "jacobian": true})",
                    &response)
          .ok());
  EXPECT_EQ(response.values_size(), 5);
  ExpectDifferentiateFails(
      R"({"model": {"name": "encoder"}, "at": {"source": {"vectors": {"rows": 1, "cols": 3,
      "values": [0,0,0]}}}})",
      grpc::StatusCode::INVALID_ARGUMENT, HasSubstr("at.source.vectors.cols: expected 8"));
}

}  // namespace
}  // namespace splineserve::testing
