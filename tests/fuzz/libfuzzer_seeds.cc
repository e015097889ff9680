// libFuzzer starts from an empty corpus: this gives it the built-in seeds, by turning tiny inputs into them.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tests/fuzz/fuzzer.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  static const auto* const kSeeds = new std::vector<std::string>(splineserve::testing::FuzzerSeeds());
  if (size < 4 || seed % 256 == 0) {
    const std::string& input = (*kSeeds)[seed / 256 % kSeeds->size()];
    if (input.size() <= max_size) {
      std::memcpy(data, input.data(), input.size());
      size = input.size();
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
