// A trace as a picture, drawn by gnuplot.
#ifndef SPLINESERVE_CLIENT_TRACE_PLOT_H_
#define SPLINESERVE_CLIENT_TRACE_PLOT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "splineserve/v1/spline.pb.h"

namespace splineserve::client {

// More outputs than this are not drawn: those that vary most are.
inline constexpr size_t kMaxCurves = 12;

struct TracePlot {
  std::string title;
  std::vector<v1::OutputSelection::Index> outputs;  // in the order of the pieces' coefficients
  std::vector<v1::TracePiece> pieces;               // in CHEBYSHEV form
};

// Value of one output of a piece at t, from its Chebyshev coefficients.
double ValueAt(const v1::TracePiece& piece, size_t output, double t);

// gnuplot's program: the outputs against t, a thin line at each knot, points at the knots on the curves, and
// a dot where the top output changes. `path` ends in .svg, .png or .pdf, which picks the terminal.
std::string PlotScript(const TracePlot& plot, const std::string& path);

// Whether Draw can draw into it. Errors are Draw's.
absl::Status CheckPlotPath(const std::string& path);

// Runs it. INVALID_ARGUMENT for another ending of `path`, NOT_FOUND if there is no gnuplot (and how to
// install it), UNKNOWN if it fails.
absl::Status Draw(const TracePlot& plot, const std::string& path);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_TRACE_PLOT_H_
