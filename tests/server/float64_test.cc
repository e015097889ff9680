// Float64 evaluation on request, over the wire.
#include <gmock/gmock.h>

#include <cmath>

#include "tests/server/server_fixture.h"

namespace splineserve::testing {
namespace {

using ::testing::HasSubstr;

class Float64Test : public ServerFixture {};

TEST_F(Float64Test, BoundsWhatFloat32Rounds) {
  v1::EncodeResponse response;
  const grpc::Status status = Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "abcdefgh"},
      {"text": "a"}], "float64": {"max_gates": 5}, "pieces": {"detail": "ID"}})",
                                     &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.results_size(), 2);
  for (const v1::SequenceResult& result : response.results()) {
    const v1::Float64Result& exact = result.float64();
    ASSERT_EQ(exact.output().values_size(), result.output().values_size());
    EXPECT_TRUE(exact.bounded());
    double difference = 0;
    for (int i = 0; i < result.output().values_size(); ++i) {
      difference = std::max(
          difference, std::abs(static_cast<double>(result.output().values(i)) - exact.output().values(i)));
    }
    EXPECT_EQ(exact.max_difference(), difference);
    EXPECT_GT(difference, 0);  // float32 does round
    EXPECT_LE(difference, exact.max_error_bound());
    EXPECT_LT(exact.max_error_bound(), 0.1);  // and the bound says something
    EXPECT_LE(exact.uncertain_size(), 5);
    EXPECT_LE(static_cast<uint64_t>(exact.uncertain_size()), exact.uncertain_gates());
    for (const v1::UncertainGate& gate : exact.uncertain()) {
      EXPECT_LE(std::abs(gate.argument()), gate.bound());
      EXPECT_EQ(gate.gate().stack(), v1::GateRef::ENCODER);
    }
    EXPECT_EQ(result.sequence_id().size(), 16u);
  }
  EXPECT_EQ(response.results(0).float64().gates(), 2u * (8 * 2 * 8 + 8 * 12));
}

TEST_F(Float64Test, CountsTheGatesOfBothStacks) {
  v1::DecodeResponse response;
  ASSERT_TRUE(Decode(R"({"model": {"name": "translator"}, "sources": [{"text": "abc"}],
      "targets": [{"tokens": {"ids": [1, 3, 4]}}], "float64": {}})",
                     &response)
                  .ok());
  const v1::Float64Result& exact = response.results(0).float64();
  EXPECT_TRUE(exact.bounded());
  // Encoder: one layer of 2 heads over 3 tokens and 12 units; decoder: two with causal and cross-attention.
  EXPECT_EQ(exact.gates(), (3u * 2 * 3 + 3 * 12) + 2 * (2 * 6 + 3 * 2 * 3 + 3 * 12));
}

TEST_F(Float64Test, OtherClassesHaveNoBound) {
  v1::EncodeResponse response;
  ASSERT_TRUE(Encode(R"({"model": {"name": "vectors"}, "inputs": [{"vectors": {"rows": 2, "cols": 3,
      "values": [1, 2, 3, 4, 5, 7]}}], "float64": {}})",
                     &response)
                  .ok());
  const v1::Float64Result& exact = response.results(0).float64();
  EXPECT_FALSE(exact.bounded());
  EXPECT_EQ(exact.output().values_size(), 16);
  EXPECT_LT(exact.max_difference(), 1e-4);
}

TEST_F(Float64Test, Refusals) {
  const grpc::Status status =
      Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "a"}], "float64": {"max_gates": 10001}})");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("float64.max_gates: expected at most 10000, found 10001"));
  // Not asked for, not there.
  v1::EncodeResponse response;
  ASSERT_TRUE(Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "a"}]})", &response).ok());
  EXPECT_FALSE(response.results(0).has_float64());
}

}  // namespace
}  // namespace splineserve::testing
