// Putting text that nobody vouches for into a message. Private to core.
#ifndef SPLINESERVE_CORE_FORMAT_UNTRUSTED_TEXT_H_
#define SPLINESERVE_CORE_FORMAT_UNTRUSTED_TEXT_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace splineserve {

// `text` as it may stand in a message: control characters, quotes and malformed bytes escaped, at most about
// a hundred bytes, with "..." where it was cut.
std::string Excerpt(std::string_view text);

// INVALID_ARGUMENT "FILE: PROBLEM".
absl::Status FileError(std::string_view file, const std::string& problem);
// INVALID_ARGUMENT "FILE: tensor NAME: PROBLEM".
absl::Status TensorError(std::string_view file, std::string_view tensor, const std::string& problem);

// Whether `name` can only mean an entry of the directory that it is looked up in: not empty, not "." or "..",
// no separator of any platform, no control character, at most 255 bytes.
bool IsPlainFileName(std::string_view name);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_UNTRUSTED_TEXT_H_
