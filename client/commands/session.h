// What every command works with, and how it ends.
#ifndef SPLINESERVE_CLIENT_COMMANDS_SESSION_H_
#define SPLINESERVE_CLIENT_COMMANDS_SESSION_H_

#include <functional>
#include <istream>
#include <ostream>
#include <string_view>

#include "absl/status/status.h"

namespace splineserve::client {

inline constexpr int kSuccess = 0;
inline constexpr int kFailedCall = 1;
inline constexpr int kBadUsage = 2;

struct Session {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;

  // Set when the command line is parsed; returns the exit status.
  std::function<int()> action;

  // Says on `err` what went wrong and what to do next, and returns the exit status.
  int FailCall(const absl::Status& status, std::string_view server);
  int FailUsage(std::string_view message, std::string_view command);
  int FailUsage(const absl::Status& status, std::string_view command);  // its message
};

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMANDS_SESSION_H_
