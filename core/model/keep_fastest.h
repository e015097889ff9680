// Times of microseconds, measured at load to choose between ways of computing the same.
#ifndef SPLINESERVE_CORE_MODEL_KEEP_FASTEST_H_
#define SPLINESERVE_CORE_MODEL_KEEP_FASTEST_H_

#include <algorithm>
#include <chrono>

namespace splineserve {

// Runs body() once and lowers `fastest` to the seconds that it took. An interrupt or a change of clock
// doubles a time: let the bodies that are compared take turns, some times, so that the fastest of each
// counts.
template <typename Body>
void KeepFastest(double& fastest, const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  fastest =
      std::min(fastest, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_KEEP_FASTEST_H_
