// What blocks of work are sized by.
#ifndef SPLINESERVE_CORE_BASE_CPU_CACHE_H_
#define SPLINESERVE_CORE_BASE_CPU_CACHE_H_

#include <cstddef>

namespace splineserve {

// Bytes of one core's second-level cache, as the system says; 1 MiB where it does not. Asked once.
// Thread-safe. Results must not depend on it, but for their time.
size_t SecondLevelCacheBytes();

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_CPU_CACHE_H_
