// absl::Status -> grpc::Status: the one place where codes of core become codes of the wire.
#ifndef SPLINESERVE_SERVER_STATUS_MAPPING_H_
#define SPLINESERVE_SERVER_STATUS_MAPPING_H_

#include <grpcpp/support/status.h>

#include <string_view>

#include "absl/status/status.h"

namespace splineserve {

// gRPC sends messages as headers, which clients bound to 8 KiB by default: longer ones are cut.
inline constexpr size_t kMaxStatusMessageBytes = 4096;

grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_STATUS_MAPPING_H_
