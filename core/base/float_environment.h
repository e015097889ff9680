// The floating-point environment that results are promised in: rounding to the nearest, subnormal numbers
// kept, no traps. A program may have set another one in its own threads.
#ifndef SPLINESERVE_CORE_BASE_FLOAT_ENVIRONMENT_H_
#define SPLINESERVE_CORE_BASE_FLOAT_ENVIRONMENT_H_

#include <cfenv>

namespace splineserve {

// Sets it in the calling thread, and sets back what was there. Some 50 ns.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatEnvironment() { std::fesetenv(&before_); }
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
  std::fenv_t before_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_FLOAT_ENVIRONMENT_H_
