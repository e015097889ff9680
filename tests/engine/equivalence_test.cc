// The engine equals the slow reference on hundreds of tiny random models: outputs, piece ids, bits, margins.
//
// SPLINESERVE_TEST_SEED chooses other models; a failure prints the seed of its model, its config.json and the kernel set.
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

// Unnormalised models can grow without bound, a power with every layer. Beyond this the draw is dropped: exact models
// would come near overflow (a test of its own), rounding of the others would be amplified beyond any tolerance.
double LargestAllowed(bool exact) { return exact ? 1e8 : 300; }

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
    EXPECT_LT(dropped, kModelsPerTest / 4) << "too few of the random models can be used";
  }

 private:
  // False if the model grows too much to be used.
  bool CompareStack(const TestModel& model, bool decode, bool exact, Random* random) {
    std::vector<Example> examples;
    std::vector<ReferenceResult<double>> expected;
    for (size_t i = random->Between(1, 4); i > 0; --i) {
      examples.push_back(RandomExample(random, model.config(), decode));
      expected.push_back(model.Reference<double>(examples.back().source, examples.back().input, decode));
      if (!(LargestEntry(expected.back().hidden) <= LargestAllowed(exact))) return false;
    }
    for (const std::unique_ptr<Engine>& engine : engines_) {
      const auto actual = RunAll(engine.get(), model, examples, decode);
      if (!actual.ok()) {
        ADD_FAILURE() << actual.status();
        return true;
      }
      for (size_t i = 0; i < examples.size(); ++i) {
        SCOPED_TRACE(absl::StrCat(engine->kernels().name, decode ? " decoder" : " encoder", ", sequence ", i, " of ",
                                  examples.size(), ", ", examples[i].input.size(), " tokens, source ",
                                  examples[i].source.size()));
        if (exact) {
          ExpectExact(model.Reference<float>(examples[i].source, examples[i].input, decode), (*actual)[i]);
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
