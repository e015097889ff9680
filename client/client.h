// Typed, blocking calls to a SplineServe server.
//
//   Client client({.server = "localhost:8001", .deadline = absl::Seconds(10)});
//   v1::EncodeRequest request = ...;
//   absl::StatusOr<v1::EncodeResponse> response = client.Encode(request);
//
// A request with a string that is not UTF-8 is INVALID_ARGUMENT, with the field's path, and never sent. A
// failed call's status has gRPC's code and the server's message; Explain (failure.h) says what to do about
// it.
#ifndef SPLINESERVE_CLIENT_CLIENT_H_
#define SPLINESERVE_CLIENT_CLIENT_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "splineserve/v1/inference.grpc.pb.h"
#include "splineserve/v1/model.grpc.pb.h"
#include "splineserve/v1/monitor.grpc.pb.h"
#include "splineserve/v1/spline.grpc.pb.h"

namespace splineserve::client {

struct ClientOptions {
  std::string server = "localhost:8001";               // HOST:PORT
  absl::Duration deadline = absl::InfiniteDuration();  // of each call, from its start; <= 0 fails at once
};

// An insecure channel to `server` that receives messages of any size. Connects when first used. Proxies named
// by the environment are passed over for addresses of this machine.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& server);

// gRPC's codes and abseil's are the same numbers.
absl::Status ToAbslStatus(const grpc::Status& status);

// Sets the deadline of a call that starts now; absl::InfiniteDuration() sets none.
void SetDeadline(absl::Duration deadline, grpc::ClientContext& context);

// Thread-safe: calls of several threads share one channel.
class Client {
 public:
  explicit Client(const ClientOptions& options);
  Client(std::shared_ptr<grpc::ChannelInterface> channel, absl::Duration deadline);

  absl::StatusOr<v1::ListModelsResponse> ListModels() const;
  absl::StatusOr<v1::ModelInfo> GetModel(const v1::ModelRef& model) const;
  absl::StatusOr<v1::EncodeResponse> Encode(const v1::EncodeRequest& request) const;
  absl::StatusOr<v1::DecodeResponse> Decode(const v1::DecodeRequest& request) const;
  absl::StatusOr<v1::ListMonitorsResponse> ListMonitors(const v1::ListMonitorsRequest& request) const;
  absl::StatusOr<v1::RecordPatternsResponse> RecordPatterns(const v1::RecordPatternsRequest& request) const;
  absl::StatusOr<v1::EvaluateOnPieceResponse> EvaluateOnPiece(
      const v1::EvaluateOnPieceRequest& request) const;
  absl::StatusOr<v1::CompareResponse> Compare(const v1::CompareRequest& request) const;

  // Calls `on_event` for every message in order, on this thread; if it returns false the call is cancelled
  // and the status is CANCELLED. Returns the last message, which holds the result, or INTERNAL if the server
  // ended the stream without one. The first message's prompt_pieces and the pieces of tokens that came one by
  // one are put into the returned message, so that it holds all there is to know.
  absl::StatusOr<v1::GenerateResponse> Generate(
      const v1::GenerateRequest& request,
      absl::FunctionRef<bool(const v1::GenerateResponse&)> on_event) const;
  absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request) const;

  // Calls `on_event` for every message in order, on this thread.
  absl::Status Trace(const v1::TraceRequest& request,
                     absl::FunctionRef<void(const v1::TraceResponse&)> on_event) const;
  absl::StatusOr<v1::DifferentiateResponse> Differentiate(const v1::DifferentiateRequest& request) const;

 private:
  absl::Duration deadline_;
  std::unique_ptr<v1::InferenceService::Stub> inference_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<v1::SplineService::Stub> splines_;
  std::unique_ptr<v1::MonitorService::Stub> monitors_;
};

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_CLIENT_H_
