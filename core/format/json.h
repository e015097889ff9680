// JSON from files nobody vouches for. Private to core.
#ifndef SPLINESERVE_CORE_FORMAT_JSON_H_
#define SPLINESERVE_CORE_FORMAT_JSON_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace splineserve {

// Parses one JSON value. INVALID_ARGUMENT, naming `file` and the byte offset, for malformed text, invalid
// UTF-8, nesting deeper than `max_depth`, an object with a repeated key, or more than `max_values` values (a
// small text can ask for much memory: "[0,0,0,...]" costs 16 bytes a value).
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, std::string_view file, size_t max_depth,
                                         size_t max_values);

// What stands in a message for a value that is not what it should be: scalars as JSON, cut where they are
// long.
std::string Shown(const nlohmann::json& value);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_JSON_H_
