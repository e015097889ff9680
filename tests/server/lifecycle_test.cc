// Cancellation, deadlines, health, reflection, drain, metrics, and many clients at once.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>

#include <chrono>
#include <future>
#include <thread>

#include "server/generate_call.h"
#include "server/health_probe.h"
#include "tests/server/server_fixture.h"

namespace splineserve::testing {
namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

constexpr char kEndless[] = R"({"model": {"name": "decoder"}, "maxNewTokens": 200000})";
constexpr char kShort[] = R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"}]})";

class LifecycleTest : public ServerFixture {
 protected:
  // A generation of which the first token has arrived.
  struct Running {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;

    grpc::Status ReadToEnd() {
      v1::GenerateResponse event;
      while (reader->Read(&event)) {
      }
      return reader->Finish();
    }
  };
  std::unique_ptr<Running> StartEndless() {
    auto running = std::make_unique<Running>();
    running->reader = inference_->Generate(&running->context, FromJson<v1::GenerateRequest>(kEndless));
    v1::GenerateResponse event;
    EXPECT_TRUE(running->reader->Read(&event));
    EXPECT_TRUE(event.has_token());
    return running;
  }

  // Bytes of the answer to one request of server reflection. Its messages have no header to include.
  std::string Reflect(const std::string& request) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto call =
        stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
    const auto wait = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    grpc::Slice slice(request);
    grpc::ByteBuffer sent(&slice, 1), received;
    call->StartCall(nullptr);
    EXPECT_TRUE(wait());
    call->WriteLast(sent, grpc::WriteOptions(), nullptr);
    EXPECT_TRUE(wait());
    call->Read(&received, nullptr);
    EXPECT_TRUE(wait());
    grpc::Status status;
    call->Finish(&status, nullptr);
    EXPECT_TRUE(wait());
    EXPECT_TRUE(status.ok()) << status.error_message();
    std::vector<grpc::Slice> slices;
    EXPECT_TRUE(received.Dump(&slices).ok());
    std::string bytes;
    for (const grpc::Slice& part : slices)
      bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
    return bytes;
  }
};

TEST_F(LifecycleTest, CancellationStopsTheWork) {
  const auto running = StartEndless();
  running->context.TryCancel();
  EXPECT_EQ(running->ReadToEnd().error_code(), grpc::StatusCode::CANCELLED);
  server_->Drain(absl::InfiniteDuration());  // returns once nothing runs any more
  EXPECT_LT(server_->engine().stats().tokens, kMaxNewTokens);
}

TEST_F(LifecycleTest, DeadlinesStopTheWork) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  const auto reader = inference_->Generate(&context, FromJson<v1::GenerateRequest>(kEndless));
  v1::GenerateResponse event;
  while (reader->Read(&event)) EXPECT_FALSE(event.has_result());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  server_->Drain(absl::InfiniteDuration());
  EXPECT_LT(server_->engine().stats().tokens, kMaxNewTokens);
}

TEST_F(LifecycleTest, AClientThatDoesNotReadLosesItsStream) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "20 MB cross the uninstrumented gRPC, a false report every 8 bytes: half an hour";
#endif
  // 37.5 kB of sign bits a token, 75 MB in all: more than the queue and the sockets hold.
  testing::AddModel(repository_, "wide", kWideConfig, 6);
  Start(Options());
  grpc::ClientContext context;
  const auto request = FromJson<v1::GenerateRequest>(
      R"({"model": {"name": "wide"}, "maxNewTokens": 2000, "pieces": {"detail": "BITS"}})");
  const auto reader = inference_->Generate(&context, request);
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  ASSERT_TRUE(reader->Read(&event));  // by the second token the engine counts the generation
  while (server_->engine().stats().active_generations > 0) std::this_thread::yield();
  while (reader->Read(&event)) EXPECT_FALSE(event.has_result());
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("reads too slowly"));
}

TEST_F(LifecycleTest, AnEventLargerThanTheQueueReachesAClientThatReads) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "11 MB cross the uninstrumented gRPC, a false report every 8 bytes: a quarter of an hour";
#endif
  // Two hypotheses with 37.5 kB of sign bits a token, in one message of 11 MB behind those of the tokens.
  testing::AddModel(repository_, "wide", kWideConfig, 6);
  Start(Options());
  std::vector<v1::GenerateResponse> events;
  const grpc::Status status =
      Generate(R"({"model": {"name": "wide"}, "maxNewTokens": 150, "pieces": {"detail": "BITS"},
          "beam": {"width": 2, "numHypotheses": 2}})",
               &events);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(events.back().result().hypotheses_size(), 2);
  EXPECT_GT(events.back().ByteSizeLong(), GenerateCall::kMaxQueuedBytes);
}

TEST_F(LifecycleTest, HealthChecksEveryService) {
  for (const char* service : {"", "splineserve.v1.InferenceService", "splineserve.v1.ModelService"}) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    ASSERT_TRUE(health_->Check(&context, request, &response).ok()) << service;
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING) << service;
  }
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service("nobody");
  HealthCheckResponse response;
  EXPECT_EQ(health_->Check(&context, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(CheckHealth(server_->address(), absl::Seconds(60)).ok());
}

TEST_F(LifecycleTest, DrainTellsWatchersRefusesNewcomersAndWaitsForTheRest) {
  const auto running = StartEndless();
  grpc::ClientContext watch_context;
  HealthCheckRequest request;
  request.set_service("splineserve.v1.InferenceService");
  const auto watch = health_->Watch(&watch_context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);

  std::future<void> drained =
      std::async(std::launch::async, [this] { server_->Drain(absl::InfiniteDuration()); });
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(CheckHealth(server_->address(), absl::Seconds(60)).code(), absl::StatusCode::kUnavailable);

  // The engine closes just after the health changes.
  grpc::Status refused;
  do {
    refused = Encode(kShort);
  } while (refused.ok());
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE) << refused.error_message();
  v1::GenerateResponse event;
  EXPECT_TRUE(running->reader->Read(&event));  // the running one goes on

  running->context.TryCancel();
  watch_context.TryCancel();
  EXPECT_EQ(running->ReadToEnd().error_code(), grpc::StatusCode::CANCELLED);
  drained.get();
}

TEST_F(LifecycleTest, DrainWithoutGraceEndsWhatRuns) {
  const auto running = StartEndless();
  std::future<void> drained =
      std::async(std::launch::async, [this] { server_->Drain(absl::ZeroDuration()); });
  EXPECT_EQ(running->ReadToEnd().error_code(), grpc::StatusCode::UNAVAILABLE);
  drained.get();
  server_->Drain(absl::ZeroDuration());  // idempotent
  EXPECT_EQ(Encode(kShort).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(LifecycleTest, ReflectionListsAndDescribesTheServices) {
  const std::string listed = Reflect(std::string("\x3a\x00", 2));  // list_services (7): ""
  for (const char* service : {"splineserve.v1.InferenceService", "splineserve.v1.ModelService"}) {
    EXPECT_THAT(listed, HasSubstr(service));
    const std::string name = service;
    const std::string described = Reflect(std::string("\x22") + static_cast<char>(name.size()) + name);
    EXPECT_THAT(described, HasSubstr("splineserve/v1/types.proto"));  // file_containing_symbol (4)
  }
  EXPECT_THAT(Reflect(std::string("\x22\x15") + "grpc.health.v1.Health"), HasSubstr("HealthCheckRequest"));
}

TEST_F(LifecycleTest, ManyClientsGetWhatOneGets) {
  v1::EncodeResponse alone;
  ASSERT_TRUE(Encode(kShort, &alone).ok());
  std::vector<v1::GenerateResponse> stream;
  const char* const generate =
      R"({"model": {"name": "translator"}, "source": {"text": "abc"}, "maxNewTokens": 8})";
  ASSERT_TRUE(Generate(generate, &stream).ok());
  const std::string hypothesis = stream.back().result().hypotheses(0).SerializeAsString();
  const std::string output = alone.results(0).output().SerializeAsString();

  std::vector<std::thread> clients;
  for (int client = 0; client < 8; ++client) {
    clients.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        v1::EncodeResponse response;
        const grpc::Status status = Encode(kShort, &response);
        ASSERT_TRUE(status.ok()) << status.error_message();
        EXPECT_EQ(response.results(0).output().SerializeAsString(), output);
        std::vector<v1::GenerateResponse> events;
        const grpc::Status generated = Generate(generate, &events);
        ASSERT_TRUE(generated.ok()) << generated.error_message();
        EXPECT_EQ(events.back().result().hypotheses(0).SerializeAsString(), hypothesis);
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(LifecycleTest, ASecondServerOnThePortFails) {
  ServerOptions options = Options();
  options.listen = server_->address();
  auto registry = ModelRegistry::Load(repository_.path());
  const auto second = Server::Start(options, *std::move(registry));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("cannot listen on " + server_->address()));
  EXPECT_TRUE(Encode(kShort).ok());
}

TEST_F(LifecycleTest, AnUnknownTargetFails) {
  ServerOptions options = Options();
  options.simd_target = "abacus";
  const auto server = Server::Start(options, *ModelRegistry::Load(repository_.path()));
  EXPECT_FALSE(server.ok());
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("SPLINESERVE_TARGET"));
}

}  // namespace
}  // namespace splineserve::testing
