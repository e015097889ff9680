// Tiny random models and inputs for randomised tests: every option of the model format is drawn sooner or
// later.
#ifndef SPLINESERVE_TESTS_ENGINE_RANDOM_MODEL_H_
#define SPLINESERVE_TESTS_ENGINE_RANDOM_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/format/model_config.h"
#include "tests/testing/reference_model.h"

namespace splineserve::testing {

// Portable draws: the standard library's distributions differ between platforms, its engines do not.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t Next() { return engine_(); }
  size_t Between(size_t low, size_t high) { return low + engine_() % (high - low + 1); }  // inclusive
  bool Chance(double probability) { return Uniform() < probability; }
  double Uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }  // in [0, 1)
  float Normal();                                                              // about: mean 0, variance 1
  template <typename T>
  const T& Pick(const std::vector<T>& choices) {
    return choices[engine_() % choices.size()];
  }

 private:
  std::mt19937_64 engine_;
};

inline constexpr size_t kMaxRandomLength = 80;  // random models take at least this many tokens

// config.json of a model of class EXACT (`exact`) or of one that is not. Sizes are odd and small; head_dim is
// often not d / h. Inexact models are at least 8 wide and shallow, so that rounding is not amplified beyond
// the tolerance.
std::string RandomConfig(Random* random, Architecture architecture, bool exact);

// The same as an exact one, but of class REGIONAL.
std::string RegionalConfig(Random* random, Architecture architecture);

// A model that can generate: tokens in, one logit a vocabulary entry out, bos 1, eos 2, a vocabulary of
// characters.
std::string GeneratorConfig(Random* random, Architecture architecture);

// One sequence of `length` tokens for this input.
ReferenceInput RandomInput(Random* random, const InputConfig& input, size_t length);

// Mostly 1..20, now and then up to kMaxRandomLength: crosses every vector width and panel.
size_t RandomLength(Random* random);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_ENGINE_RANDOM_MODEL_H_
