#include "client/compile/command_line.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/compile/model_check.h"
#include "client/compile/model_output.h"
#include "client/compile/report.h"
#include "core/base/status_macros.h"
#include "core/format/mapped_file.h"
#include "core/spline/compile/compile.h"
#include "core/spline/compile/spline_file.h"

namespace splineserve::client {
namespace {

constexpr char kDescription[] =
    "Turns a spline into a model directory whose encoder computes exactly it, and checks that it does.";

constexpr char kFooter[] =
    "\n"
    "The file holds, in JSON or as arrays of NumPy in .npz,\n"
    "  x, c                a piecewise polynomial, as SciPy's PPoly has it\n"
    "  t, k, c             B-splines of 1 to 3 variables, as SciPy's BSpline and NdBSpline have them\n"
    "  variables, outputs  max-min expressions of polynomials (JSON only)\n"
    "\n"
    "Examples:\n"
    "  python -c 'import numpy, scipy.interpolate as s; p = s.CubicSpline([0, 1, 2, 4], [0, 1, 3, 2]);\n"
    "             numpy.savez(\"wave.npz\", x=p.x, c=p.c)'\n"
    "  splineserve-compile wave.npz --out repository/wave/1\n"
    "  splineserve-compile wave.npz --out repository/wave/2 --extrapolate constant --json\n"
    "\n"
    "  echo '{\"variables\": 2, \"outputs\": [{\"max\": [0, {\"polynomial\": {\"terms\": [\n"
    "    {\"coefficient\": 1, \"powers\": [1, 1]}]}}]}]}' | splineserve-compile - --out repository/corner/1 "
    "\\\n"
    "    --domain -2:2,-2:2\n"
    "  splineserve --model-repository repository\n"
    "\n"
    "Exit status: 0, 1 (refused or failed; nothing is left behind) or 2 (bad usage).";

constexpr int kSuccess = 0, kFailed = 1, kBadUsage = 2;

struct Options {
  std::string input;
  std::string out;
  bool force = false;
  std::string extrapolate = "polynomial";
  std::vector<std::string> domain;
  std::vector<Interval> sides;
  double join_tolerance = -1;
  size_t max_bytes = CompileOptions().max_bytes;
  CheckOptions check;
  bool json = false;

  Extrapolation extrapolation() const {
    return extrapolate == "constant" ? Extrapolation::kConstant : Extrapolation::kPolynomial;
  }
};

// Empty, or what is wrong with LOW:HIGH.
std::string ParseSide(const std::string& text, Interval* side) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts.size() == 2 && absl::SimpleAtod(parts[0], &side->low) &&
      absl::SimpleAtod(parts[1], &side->high) && side->low < side->high) {
    return "";
  }
  return absl::StrCat("--domain: expected LOW:HIGH with numbers LOW < HIGH, found \"", text, "\"");
}

void Declare(CLI::App& app, Options& o) {
  app.footer(kFooter);
  app.set_version_flag("--version", "splineserve-compile " SPLINESERVE_VERSION);
  app.get_formatter()->column_width(34);
  app.add_option("INPUT", o.input, "File with the spline; - for standard input")->required()->type_name("");
  app.add_option("--out", o.out, "The model directory to make, as in REPOSITORY/NAME/1")
      ->required()
      ->type_name("DIR");
  app.add_flag("--force", o.force, "Replace a model that is there");
  app.add_option("--extrapolate", o.extrapolate,
                 "Beyond the knots: the end pieces go on, or their last value stays")
      ->check(CLI::IsMember({"polynomial", "constant"}))
      ->capture_default_str()
      ->type_name("NAME");
  app.add_option("--domain", o.domain,
                 "Where errors are bounded and checked, an interval for each variable; by default between "
                 "the knots, or "
                 "-1:1 for expressions")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LOW:HIGH,...");
  app.add_option("--join-tolerance", o.join_tolerance,
                 "How far pieces may miss each other at a knot, in proportion to their terms; by default "
                 "what rounding "
                 "explains")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("NUMBER");
  app.add_option("--points", o.check.random_points, "Random points to check")
      ->check(CLI::Range(0, 10'000'000))
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--seed", o.check.seed, "Of the random points")->capture_default_str()->type_name("N");
  app.add_option("--max-bytes", o.max_bytes, "Refuse larger weights; 512MiB, 2g")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->capture_default_str()
      ->type_name("BYTES");
  app.add_flag("--json", o.json, "Print JSON");
}

absl::StatusOr<SplineSource> ReadSpline(const Options& options, std::istream& in) {
  if (options.input == "-") {
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    return ParseSplineFile(text, "standard input");
  }
  SPLINESERVE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(options.input));
  return ParseSplineFile(file.text(), options.input);
}

absl::StatusOr<std::string> Compile(const Options& options, std::istream& in) {
  SPLINESERVE_ASSIGN_OR_RETURN(const SplineSource source, ReadSpline(options, in));
  CompileOptions compile;
  compile.extrapolation = options.extrapolation();
  compile.join_tolerance = options.join_tolerance;
  compile.domain = options.sides;
  compile.max_bytes = options.max_bytes;
  SPLINESERVE_ASSIGN_OR_RETURN(const CompiledSpline compiled, CompileSpline(source, compile));
  SPLINESERVE_ASSIGN_OR_RETURN(ModelOutput output,
                               ModelOutput::Write(options.out, options.force, compiled.files));
  SPLINESERVE_ASSIGN_OR_RETURN(
      const ModelCheck check,
      CheckModel(output.path(), source, compile.extrapolation, compiled, options.check));
  if (!check.passed()) return absl::InternalError(FailureText(check));
  SPLINESERVE_RETURN_IF_ERROR(output.Publish());
  const Report report = {options.input, options.out, source, compile.extrapolation, compiled, check};
  return options.json ? ReportJson(report) : ReportText(report);
}

}  // namespace

int RunCompile(std::vector<std::string> arguments, std::istream& in, std::ostream& out, std::ostream& err) {
  CLI::App app(kDescription, "splineserve-compile");
  Options options;
  Declare(app, options);
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    std::ostringstream message;
    const int status = app.exit(error, out, message);
    err << message.str();
    return status == 0 ? kSuccess : kBadUsage;
  }
  for (const std::string& text : options.domain) {
    if (const std::string problem = ParseSide(text, &options.sides.emplace_back()); !problem.empty()) {
      err << problem << "\nRun with --help for more information.\n";
      return kBadUsage;
    }
  }
  absl::StatusOr<std::string> report = absl::ResourceExhaustedError("out of memory");
  try {
    report = Compile(options, in);
  } catch (const std::bad_alloc&) {
    // Too large for this machine, whatever --max-bytes says.
  }
  if (!report.ok()) {
    err << "splineserve-compile: " << std::string(report.status().message()) << "\n";
    return kFailed;
  }
  out << *report;
  out.flush();
  if (!out) {
    err << "cannot write to the output\n";
    return kFailed;
  }
  return kSuccess;
}

}  // namespace splineserve::client
