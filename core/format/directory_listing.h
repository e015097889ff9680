// The names in a directory.
#ifndef SPLINESERVE_CORE_FORMAT_DIRECTORY_LISTING_H_
#define SPLINESERVE_CORE_FORMAT_DIRECTORY_LISTING_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace splineserve {

// Sorted. NOT_FOUND if there is no such directory, INVALID_ARGUMENT if it cannot be listed.
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& directory);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_DIRECTORY_LISTING_H_
