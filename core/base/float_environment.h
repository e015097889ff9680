// The floating-point environment that results are promised in: rounding to the nearest, subnormal numbers
// kept, no traps. A program may have set another one in its own threads.
#ifndef SPLINESERVE_CORE_BASE_FLOAT_ENVIRONMENT_H_
#define SPLINESERVE_CORE_BASE_FLOAT_ENVIRONMENT_H_

#include <cfenv>
#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace splineserve {

// Sets it in the calling thread, and sets back what was there. Some 100 ns, where it is set already 5
// (x86-64), and then exceptions that are noted meanwhile stay noted.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() : is_set_already_(IsSet()) {
    if (is_set_already_) return;
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatEnvironment() {
    if (!is_set_already_) {
      std::fesetenv(&before_);
    } else if (!IsSet()) {
      std::fesetenv(FE_DFL_ENV);  // somebody has changed it meanwhile
    }
  }
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

  // Whether it certainly is; false where nothing quick tells.
  static bool IsSet() {
#if defined(__x86_64__)
    constexpr uint32_t kDefault = 0x1F80, kNoted = 0x3F;  // all exceptions masked
    constexpr uint16_t kDefaultX87 = 0x37F;
    uint16_t x87;
    asm volatile("fnstcw %0" : "=m"(x87));
    return (_mm_getcsr() & ~kNoted) == kDefault && x87 == kDefaultX87;
#else
    return false;
#endif
  }

 private:
  const bool is_set_already_;
  std::fenv_t before_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_FLOAT_ENVIRONMENT_H_
