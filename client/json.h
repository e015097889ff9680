// Protobuf messages as JSON and back.
#ifndef SPLINESERVE_CLIENT_JSON_H_
#define SPLINESERVE_CLIENT_JSON_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace splineserve::client {

enum class JsonLayout { kIndented, kOneLine };

// Protobuf's JSON form with the names of the .proto files: bytes in base64, 64-bit integers as strings. No
// final newline.
std::string ToJson(const google::protobuf::Message& message, JsonLayout layout);

// Fills `message`, which is cleared first. INVALID_ARGUMENT says where the mistake is and what was expected:
// for text that is not JSON its line and column, for an unknown field or enum value the names that exist and
// the one that was probably meant.
absl::Status FromJson(std::string_view json, google::protobuf::Message& message);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_JSON_H_
