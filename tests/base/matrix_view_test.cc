#include "core/base/matrix_view.h"

#include <gtest/gtest.h>

namespace splineserve {
namespace {

TEST(MatrixViewTest, RowsAndColumnsKeepTheStride) {
  float values[12];
  for (int i = 0; i < 12; ++i) values[i] = static_cast<float>(i);
  const MatrixView<float> view(values, 3, 4);
  EXPECT_EQ(view(2, 1), 9.0f);
  const MatrixView<float> part = view.Rows(1, 2).Cols(2, 2);
  EXPECT_EQ(part.rows, 2u);
  EXPECT_EQ(part.cols, 2u);
  EXPECT_EQ(part(0, 0), 6.0f);
  EXPECT_EQ(part(1, 1), 11.0f);
  const MatrixView<const float> read_only = part;
  EXPECT_EQ(read_only(1, 0), 10.0f);
  EXPECT_FALSE(read_only.empty());
  EXPECT_TRUE(view.Rows(0, 0).empty());
}

}  // namespace
}  // namespace splineserve
