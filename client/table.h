// Aligned columns of text.
#ifndef SPLINESERVE_CLIENT_TABLE_H_
#define SPLINESERVE_CLIENT_TABLE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace splineserve::client {

// Columns that a text takes on a terminal: one for each UTF-8 code point (a byte that is not UTF-8 counts as
// one).
size_t DisplayWidth(std::string_view text);

enum class Align { kLeft, kRight };

//   Table table({{"name", Align::kLeft}, {"open", Align::kRight}});
//   table.AddRow({"feed-forward", "12"});
//   out << table.ToString();
//
// name          open
// feed-forward    12
//
// Columns are as wide as their widest cell and two spaces apart; no line ends in spaces.
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns);

  // Missing cells are empty; further ones than there are columns are dropped.
  void AddRow(std::vector<std::string> cells);

  size_t rows() const { return rows_.size(); }
  // Every line starts with `indent` and ends with a newline. Titles are left out if all are empty, and so is
  // a column that has neither a title nor text.
  std::string ToString(std::string_view indent = "") const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_TABLE_H_
