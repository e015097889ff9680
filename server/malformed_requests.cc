#include "server/malformed_requests.h"

#include "server/status_mapping.h"

namespace splineserve {
namespace {

using grpc::experimental::InterceptionHookPoints;

class Interceptor final : public grpc::experimental::Interceptor {
 public:
  explicit Interceptor(Telemetry& telemetry) : telemetry_(telemetry) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
      malformed_ = methods->GetRecvMessage() == nullptr;
    }
    if (malformed_ && methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      CallRecord record;
      record.method = "Malformed";
      record.status = absl::InvalidArgumentError(
          "request: expected a message of the method's request type, its strings in UTF-8; found bytes that "
          "do not parse as one");
      methods->ModifySendStatus(ToGrpcStatus(record.status));
      telemetry_.CallStarted(record.method);
      telemetry_.CallEnded(record);
      malformed_ = false;
    }
    methods->Proceed();
  }

 private:
  Telemetry& telemetry_;
  bool malformed_ = false;
};

class Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(Telemetry& telemetry) : telemetry_(telemetry) {}

  // gRPC owns the interceptor, one a call.
  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    return info->type() == grpc::experimental::ServerRpcInfo::Type::BIDI_STREAMING
               ? nullptr
               : new Interceptor(telemetry_);
  }

 private:
  Telemetry& telemetry_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeMalformedRequestInterceptor(
    Telemetry& telemetry) {
  return std::make_unique<Factory>(telemetry);
}

}  // namespace splineserve
