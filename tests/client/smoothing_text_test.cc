#include "client/smoothing_text.h"

#include <algorithm>
#include <limits>
#include <string>

#include "client/model_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace splineserve::client {
namespace {

v1::SmoothingError SampleError(int rows) {
  v1::SmoothingError error;
  for (int r = 0; r < rows; ++r) {
    error.add_measured(1e-7 * (r + 1));
    error.add_proven_at_gates(0.0012345 * (r + 1));
    error.add_proven(4200.0 * (r + 1));
  }
  error.set_max_measured(1e-7 * rows);
  error.set_max_proven_at_gates(0.0012345 * rows);
  error.set_max_proven(4200.0 * rows);
  error.set_largest_output(33.2668);
  return error;
}

TEST(SmoothingErrorText, TheLargestAndEveryRow) {
  EXPECT_EQ(SmoothingErrorText(SampleError(2), {"h", "i"}, false, "  "),
            "  distance from the spline, whose outputs go up to 33.3\n"
            "              measured  proven at its gates   proven\n"
            "  largest        2e-07              0.00247  8.4e+03\n"
            "        0  h     1e-07              0.00123  4.2e+03\n"
            "        1  i     2e-07              0.00247  8.4e+03\n");
}

TEST(SmoothingErrorText, OneRowIsTheLargest) {
  v1::SmoothingError error = SampleError(1);
  error.set_max_proven(std::numeric_limits<double>::infinity());
  EXPECT_EQ(SmoothingErrorText(error, {}, true, ""),
            "distance from the spline, whose outputs go up to 33.3\n"
            "         measured  proven at its gates  proven\n"
            "largest     1e-07              0.00123     inf\n");
}

TEST(SmoothingErrorText, ManyRowsAreShownIfAllAreWanted) {
  const auto lines = [](int rows, bool full) {
    const std::string text = SmoothingErrorText(SampleError(rows), {}, full, "");
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(lines(16, false), 3 + 16);
  EXPECT_EQ(lines(17, false), 3);
  EXPECT_EQ(lines(17, true), 3 + 17);
  // Damaged: lists of different lengths.
  v1::SmoothingError error = SampleError(3);
  error.mutable_proven()->RemoveLast();
  const std::string text = SmoothingErrorText(error, {}, true, "");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3 + 2);
}

TEST(ModelText, SaysWhatASmoothingIsOf) {
  v1::ModelInfo model;
  EXPECT_THAT(ModelText(model), testing::Not(testing::HasSubstr("smoothing")));
  model.mutable_smoothing()->set_spline("digits");
  model.mutable_smoothing()->set_beta(0.1f);
  EXPECT_THAT(ModelText(model),
              testing::HasSubstr("smoothing     SoftPlus with beta 0.1 for the ReLU of digits"));
}

}  // namespace
}  // namespace splineserve::client
