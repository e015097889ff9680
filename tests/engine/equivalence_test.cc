// The engine equals the slow reference on hundreds of tiny random models: outputs, piece ids, bits, margins.
//
// SPLINESERVE_TEST_SEED chooses other models; a failure prints the seed of its model, its config.json and the
// kernel set.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/random_model.h"
#include "tests/testing/comparison.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

constexpr size_t kModelsPerTest = 60;

// Unnormalised models can grow without bound, a power with every layer. Exact models are dropped where the
// reference overflows (a test of its own); of the others, where rounding would be amplified beyond any
// tolerance.
constexpr double kLargestInexact = 300;

class EquivalenceTest : public ::testing::TestWithParam<Architecture> {
 protected:
  EquivalenceTest() {
    for (const KernelSet* kernels : AvailableKernelSets()) engines_.push_back(MakeEngine(*kernels, 2));
  }

  void CompareModels(bool exact) {
    size_t dropped = 0;
    for (size_t i = 0; i < kModelsPerTest; ++i) {
      const uint64_t seed = TestSeed() + 1000 * static_cast<uint64_t>(GetParam()) + i;
      Random random(seed);
      const std::string config = RandomConfig(&random, GetParam(), exact);
      SCOPED_TRACE(absl::StrCat("model seed ", seed, ", config ", config));
      const TestModel model(config, {.seed = seed, .optional_tensors = random.Pick<double>({0, 0.5, 1})});
      ASSERT_EQ(exact, model.loaded()->spline_class() == SplineClass::kExact);
      if (model.config().has_encoder()) dropped += !CompareStack(model, /*decode=*/false, exact, &random);
      if (model.config().has_decoder()) dropped += !CompareStack(model, /*decode=*/true, exact, &random);
      if (HasFailure()) return;  // one model tells enough
    }
    RecordProperty("dropped", static_cast<int>(dropped));
    EXPECT_LT(dropped, kModelsPerTest / 3) << "too few of the random models can be used";
  }

 private:
  // False if the model grows too much to be used.
  bool CompareStack(const TestModel& model, bool decode, bool exact, Random* random) {
    std::vector<Example> examples;
    std::vector<ReferenceResult<float>> exact_expected;
    std::vector<ReferenceResult<double>> expected;
    for (size_t i = random->Between(1, 4); i > 0; --i) {
      examples.push_back(RandomExample(random, model.config(), decode));
      const Example& example = examples.back();
      if (exact) {
        exact_expected.push_back(model.Reference<float>(example.source, example.input, decode));
        if (exact_expected.back().overflowed) return false;
      } else {
        expected.push_back(model.Reference<double>(example.source, example.input, decode));
        if (!(LargestEntry(expected.back().hidden) <= kLargestInexact)) return false;
      }
    }
    for (const std::unique_ptr<Engine>& engine : engines_) {
      const auto actual = RunAll(engine.get(), model, examples, decode);
      if (!actual.ok()) {
        ADD_FAILURE() << actual.status();
        return true;
      }
      for (size_t i = 0; i < examples.size(); ++i) {
        SCOPED_TRACE(absl::StrCat(engine->kernels().name, decode ? " decoder" : " encoder", ", sequence ", i,
                                  " of ", examples.size(), ", ", examples[i].input.size(), " tokens, source ",
                                  examples[i].source.size()));
        if (exact) {
          ExpectExact(exact_expected[i], (*actual)[i]);
        } else {
          ExpectNear(expected[i], (*actual)[i]);
        }
      }
    }
    return true;
  }

  std::vector<std::unique_ptr<Engine>> engines_;
};

TEST_P(EquivalenceTest, ExactModelsEqualTheFloatReferenceBitForBit) { CompareModels(/*exact=*/true); }

TEST_P(EquivalenceTest, OtherModelsAgreeWithTheDoubleReference) { CompareModels(/*exact=*/false); }

INSTANTIATE_TEST_SUITE_P(Architectures, EquivalenceTest,
                         ::testing::Values(Architecture::kEncoder, Architecture::kDecoder,
                                           Architecture::kEncoderDecoder),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace splineserve::testing
