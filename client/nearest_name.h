// "Did you mean ...?"
#ifndef SPLINESERVE_CLIENT_NEAREST_NAME_H_
#define SPLINESERVE_CLIENT_NEAREST_NAME_H_

#include <string>
#include <string_view>
#include <vector>

namespace splineserve::client {

// The name that `wanted` is most probably a misspelling of: fewest edits, regardless of case, and at most a
// third of its length (at least 2). Empty if none is that near.
std::string NearestName(std::string_view wanted, const std::vector<std::string>& names);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_NEAREST_NAME_H_
