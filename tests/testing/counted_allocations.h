// Counts what a test's process allocates, on all threads, by replacing the global operator new. Only binaries
// that link the library pay for it.
#ifndef SPLINESERVE_TESTS_TESTING_COUNTED_ALLOCATIONS_H_
#define SPLINESERVE_TESTS_TESTING_COUNTED_ALLOCATIONS_H_

#include <cstddef>

namespace splineserve::testing {

// Calls of operator new, in any of its forms, since the process started. Thread-safe. malloc, which nothing
// in core calls, and buffers of 2 MiB or more, which are mapped, are not seen.
size_t CountedAllocations();

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_COUNTED_ALLOCATIONS_H_
