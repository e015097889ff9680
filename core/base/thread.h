// Starting a thread may fail: a limit on processes, or no memory for its stack.
#ifndef SPLINESERVE_CORE_BASE_THREAD_H_
#define SPLINESERVE_CORE_BASE_THREAD_H_

#include <system_error>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/base/float_environment.h"

namespace splineserve {

// A thread that runs `body` in the default floating-point environment, whatever its maker's, or
// RESOURCE_EXHAUSTED. std::thread says it with an exception, which ends here.
template <typename Body>
absl::StatusOr<std::thread> StartThread(Body body) {
  try {
    return std::thread([body = std::move(body)]() mutable {
      const DefaultFloatEnvironment environment;
      body();
    });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot start a thread: ", error.code().message(),
                     "; use fewer threads, or allow this process more of them and more memory"));
  }
}

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_THREAD_H_
