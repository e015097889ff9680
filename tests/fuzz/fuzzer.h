// What a fuzzer defines, whichever driver runs it.
#ifndef SPLINESERVE_TESTS_FUZZ_FUZZER_H_
#define SPLINESERVE_TESTS_FUZZ_FUZZER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// Must return 0 for any bytes. A broken promise ends in abort() or a sanitizer's report.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace splineserve::testing {

// Inputs that reach deep into the code, for mutation to start from. At least one.
std::vector<std::string> FuzzerSeeds();

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_FUZZ_FUZZER_H_
