#include "client/smoothing_text.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/table.h"

namespace splineserve::client {
namespace {

// Three digits say enough of an error.
std::string ErrorText(double error) { return absl::StrFormat("%.3g", error); }

}  // namespace

std::string SmoothingText(const v1::Smoothing& smoothing) {
  return absl::StrFormat("SoftPlus with beta %.7g for the ReLU of %s", smoothing.beta(), smoothing.spline());
}

std::string SmoothingErrorText(const v1::SmoothingError& error, const std::vector<std::string>& labels,
                               bool full, std::string_view indent) {
  Table table({{"", Align::kRight},
               {"", Align::kLeft},
               {"measured", Align::kRight},
               {"proven at its gates", Align::kRight},
               {"proven", Align::kRight}});
  table.AddRow({"largest", "", ErrorText(error.max_measured()), ErrorText(error.max_proven_at_gates()),
                ErrorText(error.max_proven())});
  constexpr int kMostRows = 16;
  // An answer may be damaged: lists of different lengths.
  const int rows = std::min({error.measured_size(), error.proven_size(), error.proven_at_gates_size()});
  if (rows > 1 && (full || rows <= kMostRows)) {
    for (int r = 0; r < rows; ++r) {
      const auto row = static_cast<size_t>(r);
      table.AddRow({absl::StrCat(r), row < labels.size() ? labels[row] : "", ErrorText(error.measured(r)),
                    ErrorText(error.proven_at_gates(r)), ErrorText(error.proven(r))});
    }
  }
  const std::string start(indent);
  return absl::StrCat(start, "distance from the spline, whose outputs go up to ",
                      ErrorText(error.largest_output()), "\n", table.ToString(indent));
}

std::string SmoothingErrorNote() {
  return "The distance is that of the two functions, evaluated in float64 at the same input. Proven: ln "
         "2/beta at "
         "every gate,\ncarried through the model. Proven at its gates: the same with what each gate can "
         "differ where "
         "its argument lies.\n";
}

}  // namespace splineserve::client
