#include "core/spline/compile/spline_file.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/format/failure.h"
#include "tests/testing/temp_dir.h"

namespace splineserve {
namespace {

using testing::ReadFile;
using testing::Refused;

std::string Sample(const std::string& name) {
  const char* const source = std::getenv("SPLINESERVE_SOURCE_DIR");
  return ReadFile(std::string(source == nullptr ? "." : source) + "/tests/spline/compile/data/" + name);
}

absl::StatusOr<SplineSource> Parse(std::string_view text) { return ParseSplineFile(text, "s.json"); }

// What data/make.py writes: (x - 1)^3 and |x|.
void ExpectPiecewise(const absl::StatusOr<SplineSource>& source) {
  ASSERT_TRUE(source.ok()) << source.status();
  const auto& spline = std::get<PiecewisePolynomial>(*source);
  EXPECT_EQ(spline.knots, (std::vector<double>{-1, 0, 2}));
  EXPECT_EQ(spline.degree, 3u);
  EXPECT_EQ(spline.outputs, 2u);
  EXPECT_EQ(spline.coefficients, (std::vector<double>{1, 0, 1, 0, -6, 0, -3, 0, 12, -1, 3, 1, -8, 1, -1, 0}));
}

void ExpectTensor(const absl::StatusOr<SplineSource>& source) {
  ASSERT_TRUE(source.ok()) << source.status();
  const auto& spline = std::get<TensorSpline>(*source);
  EXPECT_EQ(spline.knots, (std::vector<std::vector<double>>{{0, 0, 1, 1}, {0, 0, 2, 2}}));
  EXPECT_EQ(spline.degrees, (std::vector<size_t>{1, 1}));
  EXPECT_EQ(spline.outputs, 1u);
  EXPECT_EQ(spline.coefficients, (std::vector<double>{0, 0, 0, 2}));
}

TEST(SplineFile, ArchivesThatNumpyWrote) {
  ExpectPiecewise(ParseSplineFile(Sample("piecewise.npz"), "p.npz"));
  ExpectPiecewise(ParseSplineFile(Sample("piecewise_compressed.npz"), "p.npz"));
  ExpectTensor(ParseSplineFile(Sample("tensor.npz"), "t.npz"));
  ExpectTensor(ParseSplineFile(Sample("tensor_2d_knots.npz"), "t.npz"));
}

TEST(SplineFile, DamagedArchivesAreRefused) {
  for (const char* name : {"piecewise.npz", "piecewise_compressed.npz"}) {
    const std::string good = Sample(name);
    for (size_t length = 4; length < good.size(); ++length) {
      EXPECT_TRUE(Refused(ParseSplineFile(good.substr(0, length), "p.npz"), {"p.npz"}))
          << name << " " << length;
    }
    // A flipped bit is found by the checksum, or means another file that is refused, or is in what nobody
    // reads (times, attributes): then the spline is the same.
    size_t refused = 0;
    for (size_t at = 0; at < good.size(); ++at) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 0x10);
      const auto source = ParseSplineFile(bad, "p.npz");
      if (source.ok()) {
        ExpectPiecewise(source);
      } else {
        EXPECT_TRUE(Refused(source, {"p.npz"}));
        ++refused;
      }
    }
    EXPECT_GT(refused, good.size() / 2);
  }
}

TEST(SplineFile, JsonPiecewise) {
  ExpectPiecewise(Parse(R"({"x": [-1, 0, 2],
      "c": [[[1, 0], [1, 0]], [[-6, 0], [-3, 0]], [[12, -1], [3, 1]], [[-8, 1], [-1, 0]]]})"));
  const auto plain = Parse(R"({"c": [[1, 2.5e0]], "x": [0, 1, 2]})");
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(std::get<PiecewisePolynomial>(*plain).degree, 0u);
  EXPECT_EQ(std::get<PiecewisePolynomial>(*plain).outputs, 1u);
}

TEST(SplineFile, JsonTensor) {
  ExpectTensor(Parse(R"({"t": [[0, 0, 1, 1], [0, 0, 2, 2]], "k": [1, 1], "c": [[0, 0], [0, 2]]})"));
  ExpectTensor(Parse(R"({"t": [[0, 0, 1, 1], [0, 0, 2, 2]], "k": 1, "c": [[[0], [0]], [[0], [2]]]})"));
  const auto one = Parse(R"({"t": [0, 0, 1, 1], "k": 1, "c": [3, 4]})");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(std::get<TensorSpline>(*one).variables(), 1u);
}

TEST(SplineFile, JsonExpression) {
  const auto source = Parse(R"({"variables": 2, "outputs": [
      {"max": [1, {"scale": [-2, {"min": [{"polynomial": {"terms": [{"coefficient": 3, "powers": [1, 2]}]}}, 0]}]}]},
      {"sum": [{"scale": [0.5, 4]}, {"polynomial": {"terms": []}}]}]})");
  ASSERT_TRUE(source.ok()) << source.status();
  const auto values = Evaluate(*source, Extrapolation::kPolynomial, {-1.0, 2.0});
  EXPECT_EQ(values, (std::vector<double>{24, 2}));
  EXPECT_EQ(Evaluate(*source, Extrapolation::kPolynomial, {1.0, 2.0}), (std::vector<double>{1, 2}));
}

TEST(SplineFile, RefusalsNameTheFieldAndWhatIsExpected) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"", {"s.json", "malformed JSON"}},
      {"[1]", {"expected a JSON object"}},
      {"{\"x\": [0, 1], \"c\": [[NaN]]}", {"malformed JSON"}},
      {"{\"x\": [0, 1]}", {"x and c", "t, k and c", "variables and outputs", "found x"}},
      {"{\"x\": [0, 1], \"c\": [[1]], \"extrapolate\": true}", {"found c, extrapolate, x"}},
      {"{}", {"found none"}},
      {"{\"x\": 0, \"c\": [[1]]}", {"x: expected a list of knots"}},
      {"{\"x\": [0], \"c\": [[1]]}", {"x: expected at least 2 knots, found 1"}},
      {"{\"x\": [0, 1, 2], \"c\": [[1]]}", {"c: expected the shape [k + 1, 2, ...]", "found [1, 1]"}},
      {"{\"x\": [0, 1], \"c\": [1]}", {"c: expected an array of at least 2 axes"}},
      {"{\"x\": [0, 1], \"c\": []}", {"c: expected an array of at least 2 axes"}},
      {"{\"x\": [0, 1], \"c\": [[]]}", {"c: expected the shape"}},
      {"{\"x\": [0, 1], \"c\": [[1], [2, 3]]}", {"c[1]: expected a list of 1, as long as its neighbours"}},
      {"{\"x\": [0, 1], \"c\": [[1], 2]}", {"c[1]: expected a list, as its neighbours are"}},
      {"{\"x\": [0, 1], \"c\": [[[1], 2]]}", {"c[0][1]: expected a list"}},
      {"{\"x\": [0, 1], \"c\": [[1], [[2]]]}", {"c[1][0]: expected a number"}},
      {"{\"x\": [0, \"1\"], \"c\": [[1]]}", {"x[1]: expected numbers or lists of numbers, found \"1\""}},
      {"{\"x\": [0, null], \"c\": [[1]]}", {"x[1]"}},
      {"{\"t\": [0, 0, 1, 1], \"k\": 1.5, \"c\": [1, 2]}", {"k: expected whole numbers"}},
      {"{\"t\": [0, 0, 1, 1], \"k\": -1, \"c\": [1, 2]}", {"k: expected whole numbers"}},
      {"{\"t\": [0, 0, 1, 1], \"k\": [1, 1], \"c\": [1, 2]}", {"k: expected a degree, or one for each of 1"}},
      {"{\"t\": [0, 1], \"k\": 1, \"c\": [1]}", {"t[0]: expected at least 2 k + 2 = 4 knots, found 2"}},
      {"{\"t\": [0, 0, 1, 1], \"k\": 1, \"c\": [1, 2, 3]}", {"c: expected the shape [2]", "found [3]"}},
      {"{\"t\": [[0, 1], [0, 1], [0, 1], [0, 1]], \"k\": 0, \"c\": [[[[1]]]]}",
       {"1 to 3 variables, found 4"}},
      {"{\"t\": [[0, 0, 1, 1], [[0]]], \"k\": 1, \"c\": [[1]]}", {"t[1]: expected a list of knots"}},
      {"{\"variables\": 0, \"outputs\": [1]}", {"variables: expected a whole number from 1"}},
      {"{\"variables\": 2.5, \"outputs\": [1]}", {"variables: expected a whole number"}},
      {"{\"variables\": 1, \"outputs\": []}", {"outputs: expected a list of at least one expression"}},
      {"{\"variables\": 1, \"outputs\": [\"x\"]}", {"outputs[0]: expected a number or an object", "\"x\""}},
      {"{\"variables\": 1, \"outputs\": [{\"mean\": [1]}]}", {"outputs[0]", "found \"mean\""}},
      {"{\"variables\": 1, \"outputs\": [{\"max\": []}]}",
       {"outputs[0].max: expected a list of at least one"}},
      {"{\"variables\": 1, \"outputs\": [{\"max\": [1], \"min\": [1]}]}", {"outputs[0]: expected"}},
      {"{\"variables\": 1, \"outputs\": [{\"max\": [1, {\"scale\": [1]}]}]}",
       {"outputs[0].max[1].scale: expected a number and an expression"}},
      {"{\"variables\": 1, \"outputs\": [{\"polynomial\": [1]}]}",
       {"outputs[0].polynomial: expected {\"terms\""}},
      {"{\"variables\": 1, \"outputs\": [{\"polynomial\": {\"terms\": [{\"coefficient\": 1}]}}]}",
       {"outputs[0].polynomial.terms[0]: expected an object with coefficient and powers"}},
      {"{\"variables\": 2, \"outputs\": [{\"polynomial\": {\"terms\": [{\"coefficient\": 1, \"powers\": "
       "[1]}]}}]}",
       {"terms[0].powers: expected a list of 2", "an array of 1"}},
      {"{\"variables\": 1, \"outputs\": [{\"polynomial\": {\"terms\": [{\"coefficient\": 1, \"powers\": "
       "[-1]}]}}]}",
       {"terms[0].powers: expected whole numbers", "-1"}},
      {"{\"variables\": 1, \"outputs\": [{\"polynomial\": {\"terms\": [{\"coefficient\": true, \"powers\": "
       "[1]}]}}]}",
       {"terms[0].coefficient: expected a number", "true"}},
  };
  for (const auto& [text, pieces] : cases) EXPECT_TRUE(Refused(Parse(text), pieces)) << text;
  std::string deep = "1";
  for (int i = 0; i < 64; ++i) deep = "{\"max\": [" + deep + "]}";
  EXPECT_TRUE(Refused(Parse("{\"variables\": 1, \"outputs\": [" + deep + "]}"), {"nested at most 64 deep"}));
  std::string bomb(1000, '[');
  EXPECT_TRUE(Refused(Parse("{\"x\": [0, 1], \"c\": " + bomb), {"nested"}));
}

}  // namespace
}  // namespace splineserve
