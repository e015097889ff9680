#include "client/monitor_text.h"

#include "gtest/gtest.h"

namespace splineserve::client {
namespace {

v1::MonitorVerdict Verdict(uint32_t label, int own, uint32_t nearest_label, uint32_t nearest) {
  v1::MonitorVerdict verdict;
  verdict.set_monitor("last");
  verdict.set_label(label);
  verdict.set_gates(768);
  verdict.set_gamma(12);
  verdict.set_known(own == 0);
  verdict.set_accepted(own >= 0 && own <= 12);
  if (own >= 0) verdict.mutable_own()->set_distance(static_cast<uint32_t>(own));
  verdict.mutable_nearest()->set_label(nearest_label);
  verdict.mutable_nearest()->set_distance(nearest);
  return verdict;
}

TEST(MonitorText, OneVerdictInALine) {
  EXPECT_EQ(VerdictLine(Verdict(7, 0, 7, 0)),
            "monitor last: known: 0 of 768 gates differ from the nearest pattern of class 7 (gamma 12)");
  EXPECT_EQ(VerdictLine(Verdict(7, 12, 7, 12)),
            "monitor last: accepted: 12 of 768 gates differ from the nearest pattern of class 7 (gamma 12)");
  EXPECT_EQ(VerdictLine(Verdict(7, 31, 9, 28)),
            "monitor last: WARNING: 31 of 768 gates differ from the nearest pattern of class 7 (gamma 12); "
            "nearer: class 9 at 28");
  v1::MonitorVerdict alone = Verdict(7, -1, 7, 0);
  alone.clear_nearest();
  EXPECT_EQ(VerdictLine(alone),
            "monitor last: WARNING: no pattern recorded for class 7 compares with its 768 gates (gamma 12)");
  alone.set_kind(v1::MonitorKind::HASHED);
  EXPECT_EQ(VerdictLine(alone),
            "monitor last: WARNING: its 768 gates are no pattern recorded for class 7 (gamma 12)");
}

TEST(MonitorText, VerdictsOnHypotheses) {
  v1::GenerationResult result;
  result.add_hypotheses();
  EXPECT_EQ(GenerationVerdicts(result), "");
  *result.mutable_hypotheses(0)->mutable_monitor() = Verdict(0, 3, 0, 3);
  EXPECT_EQ(
      GenerationVerdicts(result),
      "  monitor last: accepted: 3 of 768 gates differ from the nearest pattern of class 0 (gamma 12)\n");
  *result.add_hypotheses()->mutable_monitor() = Verdict(0, 31, 0, 31);
  EXPECT_EQ(
      GenerationVerdicts(result),
      "  hypothesis 1: monitor last: accepted: 3 of 768 gates differ from the nearest pattern of class 0 "
      "(gamma 12)\n"
      "  hypothesis 2: monitor last: WARNING: 31 of 768 gates differ from the nearest pattern of class 0 "
      "(gamma 12)\n");
}

TEST(MonitorText, TableOfVerdicts) {
  google::protobuf::RepeatedPtrField<v1::SequenceResult> results;
  EXPECT_EQ(VerdictTable(results, {}), "");
  *results.Add()->mutable_monitor() = Verdict(1, 0, 1, 0);
  *results.Add()->mutable_monitor() = Verdict(4, 31, 9, 28);
  *results.Add()->mutable_monitor() = Verdict(4, 9, 4, 9);
  results.Add()->mutable_monitor()->set_monitor("last");
  EXPECT_EQ(VerdictTable(results, {}),
            "input  class  verdict   distance  of gates  nearest class  its distance\n"
            "    0      1  known            0       768              1             0\n"
            "    1      4  WARNING         31       768              9            28\n"
            "    2      4  accepted         9       768              4             9\n"
            "    3      0  WARNING          -         0              -             -\n"
            "\n2 of 4 accepted by monitor last (gamma 12), 1 of them known\n");
  const std::string with_labels = VerdictTable(results, {1, 4, 5, 0});
  EXPECT_NE(with_labels.find("input  true class  class"), std::string::npos);
  EXPECT_NE(with_labels.find("\naccepted: 1 of 3 right answers, 1 of 1 wrong ones\n"), std::string::npos);
}

TEST(MonitorText, WhatWasRecorded) {
  v1::RecordPatternsResponse response;
  response.mutable_model()->set_name("digits");
  response.mutable_model()->set_version(2);
  v1::MonitorInfo& info = *response.mutable_info();
  info.set_precision("float32");
  info.set_digest("abc");
  info.set_kind(v1::MonitorKind::HASHED);
  info.mutable_patterns()->Add(3);
  info.mutable_patterns()->Add(0);
  info.set_bytes(48);
  response.set_added(3);
  response.set_known(4);
  response.set_left_out(5);
  EXPECT_EQ(RecordingText(response),
            "digits version 2, float32, digest abc\nall layers, all sites; hashed, gamma 0\n\n"
            "class  patterns\n    0         3\n    1         0\n  all  3, 48 bytes\n\n"
            "3 sequences were new, 4 known, 5 left out\n");
}

}  // namespace
}  // namespace splineserve::client
