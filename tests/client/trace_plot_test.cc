#include "client/trace_plot.h"

#include "client/commands/analysis.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace splineserve::client {
namespace {

using testing::HasSubstr;
using testing::Not;

// Two outputs on two pieces: 1 + 2x and x^2, then 3 and 1.
TracePlot Example() {
  TracePlot plot;
  plot.title = "a `touch x` 'model'";
  plot.outputs.resize(2);
  plot.outputs[1].set_col(4);
  v1::TracePiece first;
  first.set_begin(0);
  first.set_end(0.5);
  first.set_degree(2);
  for (double c : {1.0, 2.0, 0.0, 0.5, 0.0, 0.5}) first.add_coefficients(c);
  v1::TracePiece second;
  second.set_begin(0.5);
  second.set_end(1);
  second.set_degree(0);
  for (double c : {3.0, 1.0}) second.add_coefficients(c);
  second.add_flips();
  plot.pieces = {first, second};
  return plot;
}

TEST(TracePlotTest, ValuesAreThoseOfTheSeries) {
  const TracePlot plot = Example();
  for (double t : {0.0, 0.1, 0.25, 0.5}) {
    const double x = 4 * t - 1;
    EXPECT_NEAR(ValueAt(plot.pieces[0], 0, t), 1 + 2 * x, 1e-15);
    EXPECT_NEAR(ValueAt(plot.pieces[0], 1, t), x * x, 1e-15);
  }
  EXPECT_EQ(ValueAt(plot.pieces[1], 1, 0.7), 1);
}

TEST(TracePlotTest, TheScriptHasCurvesKnotsAndTitles) {
  const std::string script = PlotScript(Example(), "out.svg");
  EXPECT_THAT(script, HasSubstr("set terminal svg"));
  EXPECT_THAT(script, HasSubstr("set output 'out.svg'"));
  EXPECT_THAT(script, HasSubstr("set title 'a `touch x` ''model'''"));
  EXPECT_THAT(script, HasSubstr("title 'row 0 col 4'"));
  EXPECT_THAT(script, HasSubstr("$knots << END\n0.5 3 1\nEND"));
  EXPECT_THAT(script, Not(HasSubstr("$changes")));
}

TEST(TracePlotTest, OtherEndingsAreRefused) {
  EXPECT_EQ(Draw(Example(), "out.bmp").code(), absl::StatusCode::kInvalidArgument);
}

TEST(GateNameTest, SaysWhoseGateItIs) {
  v1::GateRef gate;
  gate.set_stack(v1::GateRef::DECODER);
  gate.set_layer(1);
  gate.set_site(v1::Site::CROSS_ATTENTION);
  gate.set_token(2);
  gate.set_head(3);
  gate.set_index(4);
  EXPECT_EQ(GateName(gate), "decoder layer 1 cross-attention, token 2 head 3 key 4");
  gate.set_stack(v1::GateRef::ENCODER);
  gate.set_site(v1::Site::FEED_FORWARD);
  EXPECT_EQ(GateName(gate), "encoder layer 1 feed-forward, token 2 unit 4");
}

}  // namespace
}  // namespace splineserve::client
