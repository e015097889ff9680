// Counts what a test's process allocates, and what of it is in use, on all threads, by replacing the global
// operator new. Only binaries that link the library pay for it.
#ifndef SPLINESERVE_TESTS_TESTING_COUNTED_ALLOCATIONS_H_
#define SPLINESERVE_TESTS_TESTING_COUNTED_ALLOCATIONS_H_

#include <cstddef>
#include <cstdint>
#include <ostream>

namespace splineserve::testing {

// Calls of operator new, in any of its forms, since the process started. Thread-safe. malloc, which nothing
// in core calls, and buffers of 2 MiB or more, which are mapped, are not seen.
size_t CountedAllocations();

// What came from operator new and was not given back; bytes as malloc rounded them. Thread-safe.
struct HeapUse {
  int64_t bytes = 0, blocks = 0;
  bool operator==(const HeapUse&) const = default;
};
inline std::ostream& operator<<(std::ostream& out, const HeapUse& use) {
  return out << use.bytes << " bytes in " << use.blocks << " blocks";
}
HeapUse HeapInUse();

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_COUNTED_ALLOCATIONS_H_
