// A server that computes nothing: it answers from what a test's inputs spell, and remembers what it was
// asked.
#ifndef SPLINESERVE_TESTS_CLIENT_FAKE_SERVER_H_
#define SPLINESERVE_TESTS_CLIENT_FAKE_SERVER_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "client/command_line.h"
#include "grpcpp/grpcpp.h"
#include "splineserve/v1/inference.grpc.pb.h"
#include "splineserve/v1/model.grpc.pb.h"
#include "splineserve/v1/monitor.grpc.pb.h"
#include "splineserve/v1/spline.grpc.pb.h"

namespace splineserve::client {

// Models: "pair" (encoder_decoder over text), "writer" (decoder over text), "ids" (decoder without
// vocabulary) and "rows" (encoder of vectors with a pooled head of 3). Encode, Decode: rows with the token's
// number in every column; the text "bad" is INVALID_ARGUMENT, "full" RESOURCE_EXHAUSTED, "stuck" lasts as
// long as the server; asked for the smoothing error, they answer as a smoothing of beta 20 whose rows are off
// by their number, with bounds 10 and 100 times as large. Generate: the letters of the source or prompt in
// capitals, one a token, with the seed behind where sampling is asked for. RecordPatterns: the monitor grows
// by a letter for each label, 'a' for 0, or by '.' for each input without one; verdicts accept distances up
// to gamma or 1, of input i distance i % 4. EvaluateOnPiece: one gate disagrees and one number differs where
// other gates than the input's own are asked for. Compare: inputs share a piece if their last sequences are
// as long.
class FakeServer final : public v1::InferenceService::Service,
                         public v1::ModelService::Service,
                         public v1::MonitorService::Service,
                         public v1::SplineService::Service {
 public:
  FakeServer();
  ~FakeServer() override;

  std::string address() const { return address_; }
  std::vector<v1::GenerateRequest> generate_requests() const;
  v1::EncodeRequest encode_request() const;  // the last one
  std::vector<v1::RecordPatternsRequest> record_requests() const;
  v1::EvaluateOnPieceRequest on_piece_request() const;
  v1::CompareRequest compare_request() const;

  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override;
  grpc::Status ListMonitors(grpc::ServerContext*, const v1::ListMonitorsRequest* request,
                            v1::ListMonitorsResponse* response) override;
  grpc::Status RecordPatterns(grpc::ServerContext*, const v1::RecordPatternsRequest* request,
                              v1::RecordPatternsResponse* response) override;
  grpc::Status Encode(grpc::ServerContext* context, const v1::EncodeRequest* request,
                      v1::EncodeResponse* response) override;
  grpc::Status Decode(grpc::ServerContext* context, const v1::DecodeRequest* request,
                      v1::DecodeResponse* response) override;
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status EvaluateOnPiece(grpc::ServerContext* context, const v1::EvaluateOnPieceRequest* request,
                               v1::EvaluateOnPieceResponse* response) override;
  grpc::Status Compare(grpc::ServerContext* context, const v1::CompareRequest* request,
                       v1::CompareResponse* response) override;

 private:
  // Refuses or holds up as the text asks.
  grpc::Status Judge(const v1::Sequence& sequence);

  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<v1::GenerateRequest> generate_requests_;
  v1::EncodeRequest encode_request_;
  std::vector<v1::RecordPatternsRequest> record_requests_;
  v1::EvaluateOnPieceRequest on_piece_request_;
  v1::CompareRequest compare_request_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

// What a command printed and how it ended.
struct Outcome {
  int status = 0;
  std::string out, err;
};

// Runs a command with `--server ADDRESS` at its end, if `address` is not empty.
Outcome RunCommand(std::vector<std::string> arguments, const std::string& address = "",
                   const std::string& input = "", bool err_is_terminal = false);

}  // namespace splineserve::client

#endif  // SPLINESERVE_TESTS_CLIENT_FAKE_SERVER_H_
