// Says what is wrong with a request that is not a message at all.
#ifndef SPLINESERVE_SERVER_MALFORMED_REQUESTS_H_
#define SPLINESERVE_SERVER_MALFORMED_REQUESTS_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>

#include "server/telemetry.h"

namespace splineserve {

// gRPC's callback API never shows a handler a request that does not parse (wrong bytes, text that is not
// UTF-8), and answers UNIMPLEMENTED without a word. This interceptor makes that INVALID_ARGUMENT, and counts
// it in `telemetry`, which must outlive it, as a call of "Malformed".
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeMalformedRequestInterceptor(
    Telemetry& telemetry);

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_MALFORMED_REQUESTS_H_
