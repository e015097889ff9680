// Calls any method of the API by name, with JSON in and JSON out.
#ifndef SPLINESERVE_CLIENT_METHOD_CALL_H_
#define SPLINESERVE_CLIENT_METHOD_CALL_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "grpcpp/grpcpp.h"

namespace splineserve::client {

// Full names ("splineserve.v1.InferenceService/Encode") of all methods that this client knows.
std::vector<std::string> MethodNames();

// The method called "InferenceService/Encode", "splineserve.v1.InferenceService/Encode" (a "." or a leading
// "/" will do, too, as in grpcurl), or "Encode" where only one service has it. INVALID_ARGUMENT lists the
// methods that exist.
absl::StatusOr<const google::protobuf::MethodDescriptor*> FindMethod(std::string_view name);

// Sends `requests` (one, unless the client streams) and calls `on_response` for every response in order, on
// this thread. Returns the call's status. INVALID_ARGUMENT, without a call, for a number of requests that the
// method does not take.
absl::Status CallMethod(const google::protobuf::MethodDescriptor& method,
                        const std::vector<std::unique_ptr<google::protobuf::Message>>& requests,
                        std::shared_ptr<grpc::ChannelInterface> channel, absl::Duration deadline,
                        absl::FunctionRef<void(const google::protobuf::Message&)> on_response);

// A new message of the given generated type.
std::unique_ptr<google::protobuf::Message> NewMessage(const google::protobuf::Descriptor& type);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_METHOD_CALL_H_
