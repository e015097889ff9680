// splineserve.v1.InferenceService over the engine.
#ifndef SPLINESERVE_SERVER_INFERENCE_SERVICE_H_
#define SPLINESERVE_SERVER_INFERENCE_SERVICE_H_

#include "server/call.h"
#include "splineserve/v1/inference.grpc.pb.h"

namespace splineserve {

// Handlers run on gRPC's threads and return at once: they check, submit to the engine and leave. `parts` must
// outlive the service.
class InferenceService final : public v1::InferenceService::CallbackService {
 public:
  explicit InferenceService(const ServerParts& parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* Encode(grpc::CallbackServerContext* context, const v1::EncodeRequest* request,
                                   v1::EncodeResponse* response) override;
  grpc::ServerUnaryReactor* Decode(grpc::CallbackServerContext* context, const v1::DecodeRequest* request,
                                   v1::DecodeResponse* response) override;
  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* request) override;

 private:
  const ServerParts& parts_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_INFERENCE_SERVICE_H_
