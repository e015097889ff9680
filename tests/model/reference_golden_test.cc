// The reference itself equals the golden vectors, which were made by other hands. What the engine is compared
// with elsewhere is thereby anchored outside this project.
#include <optional>
#include <string>

#include "core/format/model_directory.h"
#include "core/spline/spline_class.h"
#include "gtest/gtest.h"
#include "tests/testing/comparison.h"
#include "tests/testing/golden.h"
#include "tests/testing/reference_model.h"

namespace splineserve::testing {
namespace {

class ReferenceGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    golden_ = ReadGolden(GetParam());
    absl::StatusOr<ModelDirectory> directory = ModelDirectory::Open(golden_.directory);
    ASSERT_TRUE(directory.ok()) << directory.status();
    directory_.emplace(*std::move(directory));
  }

  template <typename T>
  ReferenceResult<T> Evaluate(const GoldenCase& golden_case) const {
    const ReferenceModel<T> model(*directory_);
    return directory_->config().has_decoder() ? model.Decode(golden_case.source, golden_case.input)
                                              : model.Encode(golden_case.input);
  }

  GoldenModel golden_;
  std::optional<ModelDirectory> directory_;
};

void ExpectExact(const GoldenCase& expected, const ReferenceResult<float>& actual) {
  EXPECT_TRUE(RowsEqual(expected.hidden, actual.hidden));
  EXPECT_TRUE(RowsEqual(expected.head, actual.head));
  EXPECT_TRUE(GroupsEqual(expected.first_token, actual.tokens.front().groups));
  EXPECT_TRUE(GroupsEqual(expected.last_token, actual.tokens.back().groups));
  ASSERT_EQ(expected.piece_ids.size(), actual.tokens.size());
  for (size_t i = 0; i < actual.tokens.size(); ++i)
    EXPECT_EQ(expected.piece_ids[i], actual.tokens[i].id) << i;
  EXPECT_EQ(expected.sequence_id, actual.sequence_id);
}

void ExpectNear(const GoldenCase& expected, const ReferenceResult<double>& actual) {
  EXPECT_TRUE(RowsNear(Widen(expected.hidden), actual.hidden, kSmoothTolerance));
  EXPECT_TRUE(RowsNear(Widen(expected.head), actual.head, kSmoothTolerance));
  const double tolerance = kSmoothTolerance * LargestEntry(actual.hidden);
  EXPECT_TRUE(GroupsNear(expected.first_token, actual.tokens.front().groups, tolerance));
  EXPECT_TRUE(GroupsNear(expected.last_token, actual.tokens.back().groups, tolerance));
  ASSERT_EQ(expected.piece_ids.size(), actual.tokens.size());
  bool all_decided = true;
  for (size_t i = 0; i < actual.tokens.size(); ++i) {
    const bool decided = Decided(actual.tokens[i], tolerance);
    all_decided = all_decided && decided;
    if (decided) {
      EXPECT_EQ(expected.piece_ids[i], actual.tokens[i].id) << i;
    }
  }
  if (all_decided) {
    EXPECT_EQ(expected.sequence_id, actual.sequence_id);
  }
}

TEST_P(ReferenceGoldenTest, Cases) {
  ASSERT_FALSE(golden_.cases.empty());
  for (size_t i = 0; i < golden_.cases.size(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    const GoldenCase& golden_case = golden_.cases[i];
    if (golden_.exact) ExpectExact(golden_case, Evaluate<float>(golden_case));
    ExpectNear(golden_case, Evaluate<double>(golden_case));
  }
}

TEST_P(ReferenceGoldenTest, DigestAndDegreeBound) {
  EXPECT_EQ(golden_.digest, directory_->digest());
  EXPECT_EQ(golden_.exact, ClassOf(directory_->config()) == SplineClass::kExact);
  EXPECT_EQ(golden_.degree_bound, DegreeBound(directory_->config()));
}

INSTANTIATE_TEST_SUITE_P(All, ReferenceGoldenTest, ::testing::ValuesIn(GoldenNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace splineserve::testing
