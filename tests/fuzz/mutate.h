// Seeded damage to bytes, for runs without libFuzzer and for its first inputs.
#ifndef SPLINESERVE_TESTS_FUZZ_MUTATE_H_
#define SPLINESERVE_TESTS_FUZZ_MUTATE_H_

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>

namespace splineserve::testing {

// Applies one to four of: flip a bit, set a byte to an interesting one, remove, repeat or move a run, change
// a digit, cut.
inline std::string Mutate(std::string input, std::mt19937_64& random) {
  const auto below = [&random](size_t bound) {
    return bound == 0 ? 0 : static_cast<size_t>(random() % bound);
  };
  for (size_t step = 1 + below(4); step > 0; --step) {
    const size_t at = below(input.size());
    const size_t run = std::min(input.size() - at, 1 + below(below(4) == 0 ? 64 : 4));
    switch (input.empty() ? 0 : 1 + below(7)) {
      case 0:
        input.push_back(static_cast<char>(random()));
        break;
      case 1:
        input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 2:
        input[at] = "\0\xff\x7f\x80{}[]\",:-9.eE\\u"[below(19)];
        break;
      case 3:
        input.erase(at, run);
        break;
      case 4:
        input.insert(at, std::string(input, at, run));
        break;
      case 5: {
        const std::string moved = input.substr(at, run);
        input.erase(at, run);
        input.insert(below(input.size() + 1), moved);
        break;
      }
      case 6: {  // numbers are what a header and a config consist of
        const size_t digit = input.find_first_of("0123456789", at);
        if (digit != std::string::npos) input[digit] = static_cast<char>('0' + below(10));
        break;
      }
      case 7:
        if (below(8) == 0) input.resize(at);
        break;
    }
  }
  return input;
}

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_FUZZ_MUTATE_H_
