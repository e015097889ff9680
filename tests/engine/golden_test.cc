// The engine equals the golden vectors: every kernel set that this machine has, with one thread and with two.
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/testing/comparison.h"
#include "tests/testing/golden.h"

namespace splineserve::testing {
namespace {

class EngineGoldenTest : public ::testing::TestWithParam<std::string> {};

void ExpectGoldenExact(const GoldenCase& expected, const ReferenceResult<float>& actual) {
  EXPECT_TRUE(RowsEqual(expected.hidden, actual.hidden));
  EXPECT_TRUE(RowsEqual(expected.head, actual.head));
  EXPECT_TRUE(GroupsEqual(expected.first_token, actual.tokens.front().groups));
  EXPECT_TRUE(GroupsEqual(expected.last_token, actual.tokens.back().groups));
  ASSERT_EQ(expected.piece_ids.size(), actual.tokens.size());
  for (size_t i = 0; i < actual.tokens.size(); ++i)
    EXPECT_EQ(expected.piece_ids[i], actual.tokens[i].id) << i;
  EXPECT_EQ(expected.sequence_id, actual.sequence_id);
}

void ExpectGoldenNear(const GoldenCase& expected, const ReferenceResult<float>& actual) {
  EXPECT_TRUE(RowsNear(Widen(expected.hidden), Widen(actual.hidden), kSmoothTolerance));
  EXPECT_TRUE(RowsNear(Widen(expected.head), Widen(actual.head), kSmoothTolerance));
  const double tolerance = kSmoothTolerance * LargestEntry(Widen(expected.hidden));
  EXPECT_TRUE(GroupsNear(expected.first_token, actual.tokens.front().groups, tolerance));
  EXPECT_TRUE(GroupsNear(expected.last_token, actual.tokens.back().groups, tolerance));
  ASSERT_EQ(expected.piece_ids.size(), actual.tokens.size());
  for (size_t i = 0; i < actual.tokens.size(); ++i) {
    if (!Decided(actual.tokens[i], tolerance)) continue;
    EXPECT_EQ(expected.piece_ids[i], actual.tokens[i].id) << i;
  }
}

TEST_P(EngineGoldenTest, EveryKernelSetAndThreadCount) {
  const GoldenModel golden = ReadGolden(GetParam());
  const TestModel model(golden.directory);
  const bool decode = model.config().has_decoder();
  std::vector<Example> examples;
  for (const GoldenCase& golden_case : golden.cases)
    examples.push_back({golden_case.source, golden_case.input});
  for (const KernelSet* kernels : AvailableKernelSets()) {
    for (const size_t threads : {1, 2}) {
      const std::unique_ptr<Engine> engine = MakeEngine(*kernels, threads);
      EXPECT_EQ(kernels, &engine->kernels());
      EXPECT_EQ(threads, engine->threads());
      const auto results = RunAll(engine.get(), model, examples, decode);
      ASSERT_TRUE(results.ok()) << results.status();
      for (size_t i = 0; i < golden.cases.size(); ++i) {
        SCOPED_TRACE(absl::StrCat(kernels->name, ", ", threads, " threads, case ", i));
        golden.exact ? ExpectGoldenExact(golden.cases[i], (*results)[i])
                     : ExpectGoldenNear(golden.cases[i], (*results)[i]);
      }
    }
  }
}

TEST_P(EngineGoldenTest, ModelDescription) {
  const GoldenModel golden = ReadGolden(GetParam());
  const TestModel model(golden.directory);
  EXPECT_EQ(golden.digest, model.loaded()->digest());
  EXPECT_EQ(golden.degree_bound, model.loaded()->degree_bound());
  EXPECT_EQ(golden.exact, model.loaded()->spline_class() == SplineClass::kExact);
}

INSTANTIATE_TEST_SUITE_P(All, EngineGoldenTest, ::testing::ValuesIn(GoldenNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace splineserve::testing
