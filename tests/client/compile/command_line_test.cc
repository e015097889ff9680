#include "client/compile/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "client/compile/model_check.h"
#include "client/compile/report.h"
#include "core/format/model_directory.h"
#include "nlohmann/json.hpp"
#include "tests/testing/temp_dir.h"

namespace splineserve::client {
namespace {

using splineserve::testing::TempDir;
using ::testing::HasSubstr;

// |x - 1| + 1 on [0, 3].
constexpr char kCorner[] = R"({"x": [0, 1, 3], "c": [[-1, 1], [2, 1]]})";

struct Outcome {
  int status = 0;
  std::string out, err;
};

Outcome Invoke(std::vector<std::string> arguments, const std::string& input = "") {
  std::istringstream in(input);
  std::ostringstream out, err;
  const int status = RunCompile(std::move(arguments), in, out, err);
  return {status, out.str(), err.str()};
}

TEST(CompileCommand, MakesAModelAndTellsAboutIt) {
  const TempDir folder;
  const std::string path = folder.Path("repository/corner/1");
  const Outcome done = Invoke({folder.Write("corner.json", kCorner), "--out", path});
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.err, "");
  for (const char* line :
       {"piecewise polynomial, 1 variable, 1 output, 2 pieces", "degree         1 (3 layers allow 27)",
        "layers         3", "heads          1 of 1", "error bound", "on [0, 3]",
        "1000 random points, and at, below and above 3 knots (9 points)", "largest error"}) {
    EXPECT_THAT(done.out, HasSubstr(line));
  }
  EXPECT_TRUE(ModelDirectory::Open(path).ok());
}

TEST(CompileCommand, Json) {
  const TempDir folder;
  const Outcome done = Invoke(
      {"-", "--out", folder.Path("m"), "--json", "--extrapolate=constant", "--points", "17", "--domain=-1:4"},
      kCorner);
  ASSERT_EQ(done.status, 0) << done.err;
  const nlohmann::json report = nlohmann::json::parse(done.out);
  EXPECT_EQ(report.at("extrapolation"), "constant");
  EXPECT_EQ(report.at("pieces"), nlohmann::json({2}));
  EXPECT_EQ(report.at("check").at("random_points"), 17);
  EXPECT_EQ(report.at("check").at("knot_points"), 9);
  EXPECT_EQ(report.at("domain"), nlohmann::json::parse("[[-1, 4]]"));
  EXPECT_LE(report.at("check").at("largest_error").at(0).get<double>(),
            report.at("error_bound").at(0).get<double>());
  EXPECT_EQ(report.at("digest").get<std::string>().size(), 32u);
}

TEST(CompileCommand, SeveralVariables) {
  const TempDir folder;
  const char expression[] = R"({"variables": 2, "outputs": [{"min": [{"polynomial": {"terms":
      [{"coefficient": 1, "powers": [2, 1]}]}}, 1]}]})";
  Outcome done = Invoke({"-", "--out", folder.Path("m"), "--domain", "-2:2,0:3"}, expression);
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("max-min expression of polynomials, 2 variables, 1 output"));
  EXPECT_THAT(done.out, HasSubstr("[-2, 2] x [0, 3]"));
  done = Invoke({"-", "--out", folder.Path("n"), "--domain", "-2:2", "--domain", "0:3"}, expression);
  EXPECT_EQ(done.status, 0) << done.err;
  done = Invoke({"-", "--out", folder.Path("o"), "--domain", "-2:2"}, expression);
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("an interval for each of 2 variables, found 1"));
}

TEST(CompileCommand, FailuresLeaveNothingBehind) {
  const TempDir folder;
  const std::string path = folder.Path("repository/m/1");
  Outcome done = Invoke({"-", "--out", path}, R"({"x": [0, 1, 2], "c": [[0, 1]]})");
  EXPECT_EQ(done.status, 1);
  EXPECT_EQ(done.out, "");
  EXPECT_THAT(done.err, HasSubstr("knot x[1] = 1: expected pieces that join"));
  done = Invoke({folder.Path("absent.npz"), "--out", path});
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("absent.npz"));
  done = Invoke({"-", "--out", path, "--max-bytes", "1k"}, kCorner);
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err, HasSubstr("at most 1024 bytes"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(CompileCommand, BadUsage) {
  const TempDir folder;
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"-"},
                                             {"--out", folder.Path("m")},
                                             {"-", "--out", folder.Path("m"), "--extrapolate", "zero"},
                                             {"-", "--out", folder.Path("m"), "--domain", "1:0"},
                                             {"-", "--out", folder.Path("m"), "--domain", "1"},
                                             {"-", "--out", folder.Path("m"), "--domain", "a:b"},
                                             {"-", "--out", folder.Path("m"), "--join-tolerance", "-1"},
                                             {"-", "--out", folder.Path("m"), "--points", "-1"},
                                             {"-", "--out", folder.Path("m"), "--what"}}) {
    const Outcome done = Invoke(arguments, kCorner);
    EXPECT_EQ(done.status, 2);
    EXPECT_NE(done.err, "");
  }
  const Outcome help = Invoke({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.out, HasSubstr("Examples:"));
  EXPECT_THAT(help.out, HasSubstr("--extrapolate"));
  EXPECT_THAT(Invoke({"--version"}).out, HasSubstr("splineserve-compile "));
}

// A model that is not the spline is found out.
TEST(ModelCheckTest, ADifferentSplineDoesNotPass) {
  const PiecewisePolynomial spline = {{0, 1, 3}, 1, 1, {-1, 1, 2, 1}};
  const auto compiled = CompileSpline(spline, {});
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  const TempDir folder;
  for (const auto& [name, contents] : compiled->files) folder.Write(name, contents);
  const auto check = CheckModel(folder.path(), spline, Extrapolation::kPolynomial, *compiled, {});
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_TRUE(check->passed());
  EXPECT_EQ(check->knots, 3u);
  // Off by a thousandth at a knot alone, and only there.
  PiecewisePolynomial other = spline;
  other.knots = {0, 1.001, 3};
  other.coefficients = {-1, 2.001 / 1.999, 2, 0.999};
  const auto failed = CheckModel(folder.path(), other, Extrapolation::kPolynomial, *compiled, {});
  ASSERT_TRUE(failed.ok()) << failed.status();
  EXPECT_FALSE(failed->passed());
  EXPECT_GT(failed->error, 1e-4);
  EXPECT_NEAR(failed->point[0], 1, 0.01);
  EXPECT_THAT(FailureText(*failed), HasSubstr("output 0 at "));
}

}  // namespace
}  // namespace splineserve::client
