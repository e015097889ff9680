// Asserts that a call failed as the format layer promises: a code, and a message that holds every given
// piece.
#ifndef SPLINESERVE_TESTS_FORMAT_FAILURE_H_
#define SPLINESERVE_TESTS_FORMAT_FAILURE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

namespace splineserve::testing {

inline ::testing::AssertionResult FailsWith(const absl::Status& status, absl::StatusCode code,
                                            const std::vector<std::string>& pieces) {
  if (status.code() != code) {
    return ::testing::AssertionFailure()
           << "expected " << absl::StatusCodeToString(code) << ", found " << status;
  }
  for (const std::string& piece : pieces) {
    if (std::string(status.message()).find(piece) == std::string::npos) {
      return ::testing::AssertionFailure() << "expected \"" << piece << "\" in: " << status;
    }
  }
  return ::testing::AssertionSuccess();
}

// The same with INVALID_ARGUMENT, the code of nearly all failures here.
inline ::testing::AssertionResult Refused(const absl::Status& status,
                                          const std::vector<std::string>& pieces) {
  return FailsWith(status, absl::StatusCode::kInvalidArgument, pieces);
}

template <typename T>
::testing::AssertionResult Refused(const absl::StatusOr<T>& result, const std::vector<std::string>& pieces) {
  return Refused(result.status(), pieces);
}

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_FORMAT_FAILURE_H_
