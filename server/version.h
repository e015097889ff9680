// The version that --version and the metrics report; CMake defines it from the project's.
#ifndef SPLINESERVE_SERVER_VERSION_H_
#define SPLINESERVE_SERVER_VERSION_H_

namespace splineserve {

#ifndef SPLINESERVE_VERSION
#define SPLINESERVE_VERSION "unknown"
#endif
inline constexpr char kVersion[] = SPLINESERVE_VERSION;

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_VERSION_H_
