#include "client/table.h"

#include "client/matrix_text.h"
#include "gtest/gtest.h"

namespace splineserve::client {
namespace {

TEST(DisplayWidth, CountsCodePoints) {
  EXPECT_EQ(DisplayWidth(""), 0u);
  EXPECT_EQ(DisplayWidth("abc"), 3u);
  EXPECT_EQ(DisplayWidth("…é"), 2u);
}

TEST(Table, AlignsColumnsAndLeavesNoSpacesAtTheEnd) {
  Table table({{"name", Align::kLeft}, {"open", Align::kRight}});
  table.AddRow({"é", "1234567"});
  table.AddRow({"feed-forward", "12"});
  table.AddRow({"no cell"});
  EXPECT_EQ(table.ToString("> "),
            "> name             open\n"
            "> é             1234567\n"
            "> feed-forward       12\n"
            "> no cell\n");
}

TEST(Table, WithoutTitlesOrText) {
  Table table({{"", Align::kRight}, {"", Align::kLeft}, {"", Align::kRight}});
  table.AddRow({"1", "", "2"});
  table.AddRow({"", "", "10"});
  EXPECT_EQ(table.ToString(), "1   2\n   10\n");
  EXPECT_EQ(Table({{"only titles"}}).ToString(), "only titles\n");
}

v1::Matrix MakeMatrix(uint32_t rows, uint32_t cols) {
  v1::Matrix matrix;
  matrix.set_rows(rows);
  matrix.set_cols(cols);
  for (uint32_t i = 0; i < rows * cols; ++i) matrix.add_values(static_cast<float>(i));
  return matrix;
}

TEST(MatrixText, ShortensWhatIsLarge) {
  EXPECT_EQ(MatrixText(MakeMatrix(2, 3), {"a", "b"}, false), "  0  a  0  1  2\n  1  b  3  4  5\n");
  const std::string text = MatrixText(MakeMatrix(40, 12), {}, false);
  EXPECT_NE(text.find("0    0    1    2    3    4    5    6  …   10   11\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n   …\n"), std::string::npos) << text;
  EXPECT_NE(text.find("478  479\n"), std::string::npos) << text;
}

TEST(MatrixText, FullDeterminesEveryNumber) {
  v1::Matrix matrix = MakeMatrix(1, 1);
  matrix.set_values(0, 0.1f);
  EXPECT_EQ(MatrixText(matrix, {}, true), "  0  0.100000001\n");
  const std::string text = MatrixText(MakeMatrix(30, 20), {}, true);
  EXPECT_EQ(text.find("…"), std::string::npos);
}

TEST(MatrixText, DescribesADamagedMatrix) {
  v1::Matrix matrix = MakeMatrix(2, 2);
  matrix.set_rows(3);
  EXPECT_EQ(MatrixText(matrix, {}, false), "a damaged answer: 4 values for 3 x 2\n");
  EXPECT_EQ(TopClassesText(matrix, {}), "a damaged answer: 4 values for 3 x 2\n");
}

TEST(TopClassesText, TheFirstOfEqualsWins) {
  v1::Matrix matrix = MakeMatrix(1, 3);
  matrix.set_values(0, 2);
  EXPECT_EQ(ArgMax({2, 1, 2}), 0u);
  EXPECT_EQ(TopClassesText(matrix, {}), "  class  output  next\n      0       2  2: 2, 1: 1\n");
}

}  // namespace
}  // namespace splineserve::client
