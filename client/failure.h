// What to tell a person about a failed call.
#ifndef SPLINESERVE_CLIENT_FAILURE_H_
#define SPLINESERVE_CLIENT_FAILURE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace splineserve::client {

// "CODE: message", and on a second line what to do next where that is known:
//   UNAVAILABLE: failed to connect to all addresses; ...
//   No server answers at localhost:8001. Start one (...) or name another with --server HOST:PORT.
std::string Explain(const absl::Status& status, std::string_view server);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_FAILURE_H_
