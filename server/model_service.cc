#include "server/model_service.h"

#include "core/base/status_macros.h"

namespace splineserve {
namespace {

// Runs `body(state)` as the whole of a call.
template <typename Body>
grpc::ServerUnaryReactor* Answer(const ServerParts& parts, grpc::CallbackServerContext* context,
                                 std::string_view method, Body body) {
  grpc::Status status;
  {
    CallState state(parts, *context, method);
    status = state.End(body(state));
  }
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(std::move(status));
  return reactor;
}

absl::Status NotInThisVersion(const char* call) {
  return absl::UnimplementedError(absl::StrCat(
      call, ": not in this version; models are loaded from --model-repository when the server starts"));
}

}  // namespace

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* context,
                                                   const v1::ListModelsRequest* request,
                                                   v1::ListModelsResponse* response) {
  return Answer(parts_, context, "ListModels", [&](CallState&) {
    for (const auto& model : parts_.registry.List())
      *response->add_models() = ToModelInfo(*model, parts_.facts);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* context,
                                                 const v1::GetModelRequest* request,
                                                 v1::GetModelResponse* response) {
  return Answer(parts_, context, "GetModel", [&](CallState& state) -> absl::Status {
    SPLINESERVE_RETURN_IF_ERROR(state.FindModel(request->model()));
    *response->mutable_model() = ToModelInfo(*state.model(), parts_.facts);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelService::LoadModel(grpc::CallbackServerContext* context,
                                                  const v1::LoadModelRequest* request,
                                                  v1::LoadModelResponse* response) {
  return Answer(parts_, context, "LoadModel", [](CallState&) { return NotInThisVersion("LoadModel"); });
}

grpc::ServerUnaryReactor* ModelService::UnloadModel(grpc::CallbackServerContext* context,
                                                    const v1::UnloadModelRequest* request,
                                                    v1::UnloadModelResponse* response) {
  return Answer(parts_, context, "UnloadModel", [](CallState&) { return NotInThisVersion("UnloadModel"); });
}

}  // namespace splineserve
