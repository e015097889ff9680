#include "client/commands/session.h"

#include "client/failure.h"

namespace splineserve::client {

int Session::FailCall(const absl::Status& status, std::string_view server) {
  out.flush();
  err << Explain(status, server) << "\n";
  return kFailedCall;
}

int Session::FailUsage(std::string_view message, std::string_view command) {
  out.flush();
  err << message << "\nSee `splineserve-client " << command << " --help`.\n";
  return kBadUsage;
}

int Session::FailUsage(const absl::Status& status, std::string_view command) {
  return FailUsage(std::string_view(status.message().data(), status.message().size()), command);
}

}  // namespace splineserve::client
