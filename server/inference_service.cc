#include "server/inference_service.h"

#include <utility>

#include "server/evaluation_call.h"
#include "server/generate_call.h"

namespace splineserve {

grpc::ServerUnaryReactor* InferenceService::Encode(grpc::CallbackServerContext* context,
                                                   const v1::EncodeRequest* request,
                                                   v1::EncodeResponse* response) {
  return EvaluationCall<v1::EncodeResponse>::Start(
      parts_, *context, "Encode", *request, response, [this](auto&&... arguments) {
        return parts_.engine.Encode(std::forward<decltype(arguments)>(arguments)...);
      });
}

grpc::ServerUnaryReactor* InferenceService::Decode(grpc::CallbackServerContext* context,
                                                   const v1::DecodeRequest* request,
                                                   v1::DecodeResponse* response) {
  return EvaluationCall<v1::DecodeResponse>::Start(
      parts_, *context, "Decode", *request, response, [this](auto&&... arguments) {
        return parts_.engine.Decode(std::forward<decltype(arguments)>(arguments)...);
      });
}

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  return GenerateCall::Start(parts_, *context, *request);
}

}  // namespace splineserve
