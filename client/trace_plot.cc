#include "client/trace_plot.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace splineserve::client {
namespace {

// Enough for a smooth curve of a trace of few pieces, and few enough for one of thousands.
constexpr size_t kPoints = 2000;
// Of more pieces than this, knots are not marked on every curve.
constexpr size_t kMaxMarked = 200;

// In single quotes, where gnuplot substitutes nothing: between double ones it runs what is in backquotes, and
// the title has the model's name from the server.
std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}, {"\n", " "}, {"\r", " "}}), "'");
}

const char* Terminal(const std::string& path) {
  if (absl::EndsWith(path, ".svg")) return "svg size 960,540 dynamic background rgb 'white' font 'sans,13'";
  if (absl::EndsWith(path, ".png")) return "pngcairo size 1440,810 font 'sans,14'";
  if (absl::EndsWith(path, ".pdf")) return "pdfcairo size 9,5 font 'sans,12'";
  return nullptr;
}

// The outputs that vary most, in order.
std::vector<size_t> Curves(const TracePlot& plot) {
  std::vector<double> range(plot.outputs.size());
  for (size_t o = 0; o < range.size(); ++o) {
    double low = ValueAt(plot.pieces.front(), o, plot.pieces.front().begin()), high = low;
    for (const v1::TracePiece& piece : plot.pieces) {
      const double value = ValueAt(piece, o, piece.end());
      low = std::min(low, value);
      high = std::max(high, value);
    }
    range[o] = high - low;
  }
  std::vector<size_t> curves(range.size());
  std::iota(curves.begin(), curves.end(), size_t{0});
  std::stable_sort(curves.begin(), curves.end(), [&](size_t a, size_t b) { return range[a] > range[b]; });
  if (curves.size() > kMaxCurves) curves.resize(kMaxCurves);
  std::sort(curves.begin(), curves.end());
  return curves;
}

void AppendRow(const v1::TracePiece& piece, const std::vector<size_t>& curves, double t, std::string& data) {
  absl::StrAppendFormat(&data, "%.17g", t);
  for (size_t o : curves) absl::StrAppendFormat(&data, " %.9g", ValueAt(piece, o, t));
  data += "\n";
}

}  // namespace

double ValueAt(const v1::TracePiece& piece, size_t output, double t) {
  const size_t terms = piece.degree() + 1;
  if (static_cast<size_t>(piece.coefficients_size()) < (output + 1) * terms) return 0;
  const double* const c = piece.coefficients().data() + output * terms;
  const double x = 2 * (t - piece.begin()) / (piece.end() - piece.begin()) - 1;
  double b1 = 0, b2 = 0;
  for (size_t k = terms; k-- > 1;) {
    const double b0 = c[k] + 2 * x * b1 - b2;
    b2 = b1;
    b1 = b0;
  }
  return c[0] + x * b1 - b2;
}

std::string PlotScript(const TracePlot& plot, const std::string& path) {
  const std::vector<size_t> curves = Curves(plot);
  const size_t per_piece = std::max<size_t>(2, kPoints / plot.pieces.size());
  std::string values, knots, changes;
  for (const v1::TracePiece& piece : plot.pieces) {
    for (size_t k = 0; k <= per_piece; ++k) {
      const double share = static_cast<double>(k) / static_cast<double>(per_piece);
      AppendRow(piece, curves, piece.begin() + share * (piece.end() - piece.begin()), values);
    }
    if (piece.flips_size() > 0) AppendRow(piece, curves, piece.begin(), knots);
    for (const v1::TopChange& change : piece.top_changes()) {
      for (size_t o = 0; o < plot.outputs.size(); ++o) {
        if (plot.outputs[o].row() == change.row() && plot.outputs[o].col() == change.to()) {
          absl::StrAppendFormat(&changes, "%.17g %.9g\n", change.t(), ValueAt(piece, o, change.t()));
        }
      }
    }
  }
  std::string script = absl::StrCat(
      "set terminal ", Terminal(path), "\nset output ", Quoted(path), "\nset title ", Quoted(plot.title),
      " noenhanced\nset xlabel 't'\nset ylabel 'output'\nset key outside right\n",
      "set grid ytics lc rgb '#dddddd'\nset xrange [", plot.pieces.front().begin(), ":",
      plot.pieces.back().end(), "]\n$values << END\n", values, "END\n");
  if (!knots.empty()) absl::StrAppend(&script, "$knots << END\n", knots, "END\n");
  if (!changes.empty()) absl::StrAppend(&script, "$changes << END\n", changes, "END\n");
  if (!knots.empty()) {
    // Behind everything, over the whole height.
    absl::StrAppend(&script, "set y2range [0:1]\n");
  }
  std::vector<std::string> plots;
  if (!knots.empty()) {
    plots.push_back("$knots using 1:(1) axes x1y2 with impulses lc rgb '#bbbbbb' lw 0.5 title 'knots'");
  }
  for (size_t i = 0; i < curves.size(); ++i) {
    const v1::OutputSelection::Index& index = plot.outputs[curves[i]];
    // Eight colours; the ninth curve has the first one's, dashed.
    const std::string style = absl::StrCat(" lc ", i % 8 + 1);
    plots.push_back(absl::StrCat("$values using 1:", i + 2, " with lines lw 2", i < 8 ? "" : " dt 2", style,
                                 " title 'row ", index.row(), " col ", index.col(), "'"));
    if (!knots.empty() && plot.pieces.size() < kMaxMarked) {
      plots.push_back(absl::StrCat("$knots using 1:", i + 2, " with points pt 7 ps 0.3", style, " notitle"));
    }
  }
  if (!changes.empty()) {
    plots.push_back("$changes using 1:2 with points pt 6 ps 1.2 lw 2 lc rgb 'black' title 'top changes'");
  }
  absl::StrAppend(&script, "plot ");
  for (size_t i = 0; i < plots.size(); ++i) absl::StrAppend(&script, i == 0 ? "" : ", \\\n     ", plots[i]);
  return script + "\n";
}

absl::Status CheckPlotPath(const std::string& path) {
  if (Terminal(path) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--plot: expected a file that ends in .svg, .png or .pdf, found \"", path, "\""));
  }
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0) {
    return absl::NotFoundError(
        "--plot: gnuplot is not installed; on Debian and Ubuntu: apt-get install gnuplot-nox");
  }
  // Else gnuplot would draw on its standard output.
  std::error_code error;
  const bool new_file = !std::filesystem::exists(path, error);
  FILE* const file = std::fopen(path.c_str(), "ab");
  if (file == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("--plot: cannot write into \"", path, "\""));
  std::fclose(file);
  if (new_file) std::filesystem::remove(path, error);
  return absl::OkStatus();
}

absl::Status Draw(const TracePlot& plot, const std::string& path) {
  if (absl::Status status = CheckPlotPath(path); !status.ok()) return status;
  if (plot.pieces.empty()) return absl::InvalidArgumentError("--plot: there are no pieces to draw");
  FILE* const gnuplot = popen("gnuplot", "w");
  if (gnuplot == nullptr) return absl::UnknownError("--plot: gnuplot does not start");
  const std::string script = PlotScript(plot, path);
  // A gnuplot that has ended must not end this process.
  const auto handler = std::signal(SIGPIPE, SIG_IGN);
  const bool written = std::fwrite(script.data(), 1, script.size(), gnuplot) == script.size();
  const bool drawn = pclose(gnuplot) == 0 && written;
  std::signal(SIGPIPE, handler);
  return drawn ? absl::OkStatus()
               : absl::UnknownError(absl::StrCat("--plot: gnuplot cannot draw into \"", path, "\""));
}

}  // namespace splineserve::client
