#include "core/base/cpu_cache.h"

#include <unistd.h>

namespace splineserve {

size_t SecondLevelCacheBytes() {
  static const size_t bytes = [] {
    long said = 0;
#ifdef _SC_LEVEL2_CACHE_SIZE
    said = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    return said > 0 ? static_cast<size_t>(said) : size_t{1} << 20;
  }();
  return bytes;
}

}  // namespace splineserve
