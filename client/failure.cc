#include "client/failure.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace splineserve::client {
namespace {

// gRPC gives UNAVAILABLE both for "nobody listens there" and for a server that says so itself.
bool IsUnreachable(absl::string_view message) {
  return absl::StrContains(message, "connect") || absl::StrContains(message, "resol") ||
         absl::StrContains(message, "DNS") || absl::StrContains(message, "Socket closed");
}

std::string NextStep(const absl::Status& status, std::string_view server) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      if (IsUnreachable(status.message())) {
        return absl::StrCat(
            "No SplineServe server answers at ", std::string(server),
            ". Start one with `splineserve --model-repository DIR`, or name another with --server "
            "HOST:PORT (or SPLINESERVE_SERVER).");
      }
      return "The server is starting or stopping. Try again in a moment.";
    case absl::StatusCode::kNotFound:
      if (absl::StartsWith(status.message(), "monitor")) {
        return "`splineserve-client monitor list` lists the monitors that the server holds.";
      }
      return "`splineserve-client models` lists the models that the server holds.";
    case absl::StatusCode::kResourceExhausted:
      return "The server has as much to do as it may take. Try again later, or with less at a time.";
    case absl::StatusCode::kDeadlineExceeded:
      return "The answer took longer than allowed. Allow more with --deadline, or ask for less at a time.";
    case absl::StatusCode::kCancelled:
      return "The call was ended on the way: by its caller, or by the server because a message stayed unread "
             "for longer than its --stall-timeout.";
    case absl::StatusCode::kUnimplemented:
      return "The server does not know this method. Is it of the same version as this client?";
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return "The server wants credentials for this call.";
    case absl::StatusCode::kInternal:
      return "This should not happen. The server's log says more.";
    case absl::StatusCode::kOk:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss:
    default:  // abseil asks for one: codes may be added
      return "";
  }
}

}  // namespace

std::string Explain(const absl::Status& status, std::string_view server) {
  std::string text =
      absl::StrCat(absl::StatusCodeToString(status.code()), ": ", std::string(status.message()));
  if (std::string next = NextStep(status, server); !next.empty()) absl::StrAppend(&text, "\n", next);
  return text;
}

}  // namespace splineserve::client
