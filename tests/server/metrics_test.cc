#include <CivetServer.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/kernels/kernel_set.h"
#include "server/metrics_endpoint.h"
#include "server/telemetry.h"

namespace splineserve {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class MetricsTest : public ::testing::Test {
 protected:
  static CallRecord Record(absl::Status status) {
    CallRecord record;
    record.method = "Encode";
    record.status = std::move(status);
    record.duration = absl::Milliseconds(3);
    record.tokens = 5;
    record.pieces = 7;
    if (record.status.ok()) record.timing = Timing{};
    return record;
  }

  // The whole answer to GET `path`.
  static std::string Get(int port, const std::string& path) {
    char error[256] = "";
    mg_connection* const connection =
        mg_download("127.0.0.1", port, 0, error, sizeof(error), "GET %s HTTP/1.0\r\n\r\n", path.c_str());
    if (connection == nullptr) return error;
    std::string answer = std::to_string(mg_get_response_info(connection)->status_code) + "\n";
    char buffer[4096];
    for (int n; (n = mg_read(connection, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
    mg_close_connection(connection);
    return answer;
  }

  const std::unique_ptr<Engine> engine_ =
      Engine::Create({.threads = 1}, **SelectKernelSet("portable")).value();
  Telemetry telemetry_{*engine_, 3};
};

TEST_F(MetricsTest, CallsAreCounted) {
  telemetry_.CallStarted("Encode");
  telemetry_.CallStarted("Encode");
  telemetry_.CallStarted("Encode");
  EXPECT_THAT(telemetry_.Metrics(), HasSubstr("splineserve_requests_in_flight{method=\"Encode\"} 3"));
  telemetry_.CallEnded(Record(absl::OkStatus()));
  telemetry_.CallEnded(Record(absl::InvalidArgumentError("x")));
  EXPECT_THAT(
      telemetry_.Metrics(),
      AllOf(HasSubstr("splineserve_requests_in_flight{method=\"Encode\"} 1"),
            HasSubstr("splineserve_requests_total{code=\"OK\",method=\"Encode\"} 1"),
            HasSubstr("splineserve_requests_total{code=\"INVALID_ARGUMENT\",method=\"Encode\"} 1"),
            HasSubstr("splineserve_request_duration_seconds_bucket{method=\"Encode\",le=\"0.0025\"} 0"),
            HasSubstr("splineserve_request_duration_seconds_bucket{method=\"Encode\",le=\"0.005\"} 2"),
            HasSubstr("splineserve_generated_tokens_total 10"), HasSubstr("splineserve_pieces_total 14"),
            HasSubstr("splineserve_queued_requests 0"), HasSubstr("splineserve_models 3"),
            HasSubstr("simd_target=\"portable\"")));
}

TEST_F(MetricsTest, OnlyAnswersOfTheEngineCountAsQueued) {
  CallRecord listing = Record(absl::OkStatus());
  listing.method = "ListModels";
  listing.timing.reset();
  telemetry_.CallStarted(listing.method);
  telemetry_.CallEnded(listing);
  telemetry_.CallStarted("Encode");
  telemetry_.CallEnded(Record(absl::OkStatus()));
  EXPECT_THAT(telemetry_.Metrics(),
              AllOf(HasSubstr("splineserve_request_queue_seconds_count{method=\"Encode\"} 1"),
                    Not(HasSubstr("splineserve_request_queue_seconds_count{method=\"ListModels\"}"))));
}

TEST_F(MetricsTest, HttpAnswers) {
  const auto endpoint = MetricsEndpoint::Start("127.0.0.1:0", telemetry_);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  const int port = (*endpoint)->port();
  ASSERT_GT(port, 0);
  EXPECT_THAT(Get(port, "/metrics"), AllOf(HasSubstr("200\n"), HasSubstr("splineserve_tokens_total 0")));
  EXPECT_THAT(Get(port, "/healthz"), HasSubstr("503\nnot serving")) << "the server does not listen yet";
  telemetry_.SetServing(true);
  EXPECT_THAT(Get(port, "/healthz"), HasSubstr("200\nserving"));
  telemetry_.SetServing(false);
  EXPECT_THAT(Get(port, "/healthz"), HasSubstr("503\nnot serving"));
  EXPECT_THAT(Get(port, "/elsewhere"), HasSubstr("404"));
  const auto second = MetricsEndpoint::Start("127.0.0.1:" + std::to_string(port), telemetry_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace splineserve
