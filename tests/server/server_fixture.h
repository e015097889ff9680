// A real server on a free port of the loopback interface, and real channels to it.
#ifndef SPLINESERVE_TESTS_SERVER_SERVER_FIXTURE_H_
#define SPLINESERVE_TESTS_SERVER_SERVER_FIXTURE_H_

#include <google/protobuf/util/json_util.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/server.h"
#include "splineserve/v1/inference.grpc.pb.h"
#include "splineserve/v1/model.grpc.pb.h"
#include "tests/server/test_models.h"

namespace splineserve::testing {

class ServerFixture : public ::testing::Test {
 protected:
  static constexpr size_t kMaxNewTokens = 200'000;  // seconds of work: ends only by cancellation in a test

  static ServerOptions Options() {
    ServerOptions options;
    options.listen = "127.0.0.1:0";
    options.metrics.clear();
    options.engine.threads = 2;
    options.engine.max_new_tokens = kMaxNewTokens;
    options.engine.max_tokens_per_sequence = 2 * kMaxNewTokens;
    options.engine.max_tokens_per_request = 4 * kMaxNewTokens;
    options.engine.max_queue_bytes = size_t{4} << 30;
    return options;
  }

  void Start(const ServerOptions& options) {
    server_.reset();
    auto registry = ModelRegistry::Load(repository_.path(), {}, options.precision, options.smoothing);
    ASSERT_TRUE(registry.ok()) << registry.status();
    auto server = Server::Start(options, *std::move(registry));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // no connection of an earlier test's server
    channel_ = grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments);
    inference_ = v1::InferenceService::NewStub(channel_);
    models_ = v1::ModelService::NewStub(channel_);
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }
  void SetUp() override { Start(Options()); }

  template <typename Message>
  static Message FromJson(const std::string& json) {
    Message message;
    const auto status = google::protobuf::util::JsonStringToMessage(json, &message);
    EXPECT_TRUE(status.ok()) << status.ToString() << json;
    return message;
  }

  grpc::Status Encode(const std::string& json, v1::EncodeResponse* response) {
    grpc::ClientContext context;
    return inference_->Encode(&context, FromJson<v1::EncodeRequest>(json), response);
  }
  grpc::Status Encode(const std::string& json) {
    v1::EncodeResponse response;
    return Encode(json, &response);
  }
  grpc::Status Decode(const std::string& json, v1::DecodeResponse* response) {
    grpc::ClientContext context;
    return inference_->Decode(&context, FromJson<v1::DecodeRequest>(json), response);
  }
  grpc::Status Decode(const std::string& json) {
    v1::DecodeResponse response;
    return Decode(json, &response);
  }
  grpc::Status Generate(const std::string& json, std::vector<v1::GenerateResponse>* events) {
    grpc::ClientContext context;
    const auto reader = inference_->Generate(&context, FromJson<v1::GenerateRequest>(json));
    v1::GenerateResponse event;
    while (reader->Read(&event)) events->push_back(event);
    return reader->Finish();
  }
  grpc::Status Generate(const std::string& json) {
    std::vector<v1::GenerateResponse> events;
    return Generate(json, &events);
  }

  const TempDir repository_ = MakeRepository();
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> inference_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_SERVER_SERVER_FIXTURE_H_
