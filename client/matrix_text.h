// Output matrices as text for people.
#ifndef SPLINESERVE_CLIENT_MATRIX_TEXT_H_
#define SPLINESERVE_CLIENT_MATRIX_TEXT_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "splineserve/v1/types.pb.h"

namespace splineserve::client {

// Rows as aligned lines. Compact: six significant digits, and of many rows or columns only the first and last
// ones with "…" between. Full: everything, with the nine digits that determine a float32. `labels` (may be
// empty) stand before the rows. A matrix whose values do not fill rows x cols is described, not printed.
std::string MatrixText(const v1::Matrix& matrix, const std::vector<std::string>& labels, bool full);

// Index of the largest value, the first of equals. `row` must not be empty.
size_t ArgMax(absl::Span<const float> row);

// For a head's rows, one line each: the class with the largest output, that output, and the next ones:
//   class  output  next
//       7   12.31  9: 4.2, 3: 1.15, 1: 0.8
std::string TopClassesText(const v1::Matrix& matrix, const std::vector<std::string>& labels);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_MATRIX_TEXT_H_
