// Everything that the command line and the environment of `splineserve` can say, parsed and checked in one
// place.
#ifndef SPLINESERVE_SERVER_OPTIONS_H_
#define SPLINESERVE_SERVER_OPTIONS_H_

#include <cstddef>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "core/engine/engine.h"
#include "server/precision_choice.h"
#include "server/smoothing_choice.h"

namespace splineserve {

struct ServerOptions {
  std::string model_repository;
  std::vector<std::string> monitors;     // files, beside those that lie beside the models
  std::string listen = "0.0.0.0:8001";   // HOST:PORT of gRPC; port 0 for any free one
  std::string metrics = "0.0.0.0:8002";  // HOST:PORT of HTTP metrics; empty: none
  EngineOptions engine;
  size_t max_message_bytes = size_t{64} << 20;        // of one received message
  size_t max_analyses = 64;                           // calls of SplineService under way at a time
  absl::Duration stall_timeout = absl::Seconds(120);  // of a message that its client does not read
  absl::Duration drain_grace = absl::Seconds(30);
  PrecisionChoice precision;
  SmoothingChoice smoothing;
  std::string log_level = "info";   // trace, debug, info, warn, error, off
  std::string log_format = "text";  // text, json
  std::string simd_target;          // SPLINESERVE_TARGET: a kernel set's name; empty for the best
  std::string check_health;         // HOST:PORT to ask instead of serving; empty: serve
};

// The program has nothing (more) to do: --help, --version or bad usage.
struct EarlyExit {
  int status = 0;  // 0 or 2
  std::string out;
  std::string err;
};

// Parses and validates; prints nothing, exits never. `simd_target` is the value of SPLINESERVE_TARGET or
// empty.
std::variant<ServerOptions, EarlyExit> ParseServerOptions(const std::vector<std::string>& arguments,
                                                          const std::string& simd_target);

// Every option in force by name, as the log shows them at start.
std::vector<std::pair<std::string, std::string>> DescribeOptions(const ServerOptions& options);

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_OPTIONS_H_
