// splineserve.v1.ModelService over the registry.
#ifndef SPLINESERVE_SERVER_MODEL_SERVICE_H_
#define SPLINESERVE_SERVER_MODEL_SERVICE_H_

#include "server/call.h"
#include "splineserve/v1/model.grpc.pb.h"

namespace splineserve {

// Answers from memory, on gRPC's threads. `parts` must outlive the service.
class ModelService final : public v1::ModelService::CallbackService {
 public:
  explicit ModelService(const ServerParts& parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;
  grpc::ServerUnaryReactor* LoadModel(grpc::CallbackServerContext* context,
                                      const v1::LoadModelRequest* request,
                                      v1::LoadModelResponse* response) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context,
                                        const v1::UnloadModelRequest* request,
                                        v1::UnloadModelResponse* response) override;

 private:
  const ServerParts& parts_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_MODEL_SERVICE_H_
