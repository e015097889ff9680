// `evaluate-on-piece` and `compare`: what they ask for and what they print.
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace splineserve::client {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path) << text;
  return path;
}

TEST(EvaluateOnPiece, SaysWhetherTheInputLiesOnThePiece) {
  FakeServer server;
  Outcome outcome = RunCommand({"evaluate-on-piece", "pair", "--text", "ab", "--verify"}, server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr("\"ab\" with its own gates -> hidden [2, 3]\n  0  a  0  1  2\n  1  b  1  2  3\n"));
  EXPECT_THAT(
      outcome.out,
      HasSubstr("encoder piece 45454545454545454545454545454545: 0 of 8 gates have an argument of the "
                "other sign\nThe input lies on the piece.\n"));
  EXPECT_THAT(outcome.out,
              HasSubstr("  0 of 8 gates differ (0 %)\n  all 6 numbers are the same, bit for bit\n"));
  EXPECT_THAT(outcome.out, HasSubstr("one polynomial of degree at most 27, wherever the input is.\n"));
  EXPECT_TRUE(server.on_piece_request().verify());
  EXPECT_EQ(server.on_piece_request().input().source().text(), "ab");
  EXPECT_EQ(server.on_piece_request().gates_case(), v1::EvaluateOnPieceRequest::GATES_NOT_SET);

  outcome =
      RunCommand({"evaluate-on-piece", "pair", "--text", "ab", "--gates-text", "cd", "--pieces", "counts"},
                 server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"ab\" with the gates of \"cd\" -> hidden"));
  EXPECT_THAT(outcome.out, HasSubstr("1 of 8 gates have an argument of the other sign\n"
                                     "  layer  feed-forward\n      0        1 of 8\n"
                                     "The input lies beyond the piece: this is its extrapolation.\n"));
  EXPECT_THAT(outcome.out, HasSubstr("signs of the arguments themselves:\n"));
  EXPECT_THAT(outcome.out, HasSubstr("depends on other tokens' gates"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("verified")));
  EXPECT_EQ(server.on_piece_request().gates_of().source().text(), "cd");
  EXPECT_EQ(server.on_piece_request().pieces().detail(), v1::PieceOptions::COUNTS);
}

TEST(EvaluateOnPiece, TakesTargetsOfEncoderDecodersAndSequencesOfDecoders) {
  FakeServer server;
  Outcome outcome =
      RunCommand({"evaluate-on-piece", "pair", "--text", "ab", "--target-tokens", "1,2", "--gates-text", "cd",
                  "--gates-target-tokens", "3,4", "--verify", "--output", "head"},
                 server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"ab\" -> [1, 2] with the gates of \"cd\" -> [3, 4] -> head [2, 3]\n"));
  EXPECT_THAT(outcome.out, HasSubstr("  1 of 6 numbers differ, by at most 0.5; the first in row 0, column 1: "
                                     "1.5, own 1\n"));
  EXPECT_EQ(server.on_piece_request().gates_of().target().tokens().ids(1), 4);
  EXPECT_EQ(server.on_piece_request().output(), v1::OutputKind::HEAD);
  outcome = RunCommand({"evaluate-on-piece", "writer", "--text", "ab"}, server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_EQ(server.on_piece_request().input().target().text(), "ab");
  EXPECT_FALSE(server.on_piece_request().input().has_source());
  outcome = RunCommand({"evaluate-on-piece", "writer", "--text", "ab", "--json"}, server.address());
  EXPECT_THAT(outcome.out, HasSubstr("\"degree_bound\": \"27\""));
}

TEST(EvaluateOnPiece, TakesPiecesFromTheAnswersOfEncodeAndDecode) {
  FakeServer server;
  const Outcome encoded =
      RunCommand({"encode", "pair", "--text", "cd", "--pieces", "bits", "--json"}, server.address());
  ASSERT_EQ(encoded.status, kSuccess) << encoded.err;
  const std::string encoder = WriteFile("encoder.json", encoded.out);
  Outcome outcome = RunCommand({"evaluate-on-piece", "pair", "--text", "ab", "--encoder-pieces", encoder},
                               server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"ab\" with given gates -> hidden"));
  ASSERT_EQ(server.on_piece_request().given().encoder_size(), 2);
  EXPECT_EQ(server.on_piece_request().given().encoder(1).id(), std::string(16, 1));
  EXPECT_EQ(server.on_piece_request().given().decoder_size(), 0);

  outcome = RunCommand({"evaluate-on-piece", "pair", "--text", "ab", "--decoder-pieces", "-"},
                       server.address(), encoded.out);
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_EQ(server.on_piece_request().given().decoder_size(), 2);

  const Outcome without = RunCommand({"encode", "pair", "--text", "cd", "--json"}, server.address());
  outcome = RunCommand({"evaluate-on-piece", "pair", "--text", "ab", "--encoder-pieces",
                        WriteFile("without.json", without.out)},
                       server.address());
  EXPECT_EQ(outcome.status, kBadUsage);
  EXPECT_THAT(outcome.err,
              HasSubstr("without.json: expected the answer for one sequence with --pieces bits"));
  outcome = RunCommand({"evaluate-on-piece", "pair", "--text", "ab", "--encoder-pieces",
                        WriteFile("broken.json", "{\"results\": 3}")},
                       server.address());
  EXPECT_EQ(outcome.status, kBadUsage);
  EXPECT_THAT(outcome.err, HasSubstr("broken.json: "));
}

TEST(EvaluateOnPiece, MistakesAndFailedCalls) {
  FakeServer server;
  const auto mistake = [&](std::vector<std::string> arguments) {
    const Outcome outcome = RunCommand(std::move(arguments), server.address());
    EXPECT_EQ(outcome.status, kBadUsage) << outcome.out;
    EXPECT_EQ(outcome.out, "");
    return outcome.err;
  };
  EXPECT_THAT(mistake({"evaluate-on-piece", "pair", "--text", "ab", "--text", "c"}),
              HasSubstr("input: expected one sequence, found 2"));
  EXPECT_THAT(
      mistake({"evaluate-on-piece", "pair", "--text", "ab", "--gates-text", "a", "--gates-text", "b"}),
      HasSubstr("gates: expected one sequence, found 2"));
  EXPECT_THAT(mistake({"evaluate-on-piece", "writer", "--text", "ab", "--target-text", "c"}),
              HasSubstr("--target-vectors are for encoder-decoders: for writer use --text"));
  EXPECT_THAT(mistake({"evaluate-on-piece", "pair", "--target-text", "c"}),
              HasSubstr("found 0 sources and 1 targets"));
  EXPECT_THAT(mistake({"evaluate-on-piece", "pair", "--text", "ab", "--margins"}), HasSubstr("add --pieces"));
  const Outcome failed = RunCommand({"evaluate-on-piece", "pair", "--text", "bad"}, server.address());
  EXPECT_EQ(failed.status, kFailedCall);
  EXPECT_THAT(failed.err, StartsWith("INVALID_ARGUMENT: "));
}

TEST(Compare, ShowsDistancesOfInputsAndTokens) {
  FakeServer server;
  Outcome outcome =
      RunCommand({"compare", "pair", "--text", "ab", "--text", "abc", "--text", "cd"}, server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\n0: \"ab\"\n1: \"abc\"\n2: \"cd\"\n\n"
                                     "encoder: 3 inputs on 0 pieces; 0 and 2 share one\n"));
  EXPECT_THAT(outcome.out, HasSubstr("      0       2  02020202020202020202020202020202    .  1+8    0\n"));
  EXPECT_THAT(outcome.out, HasSubstr("  0 and 1: 1 of 8 gates differ (12 %)\n"));
  EXPECT_THAT(outcome.out, HasSubstr("        1  b  b          0   8          0\n"));
  EXPECT_THAT(outcome.out, HasSubstr("depends on other tokens' gates"));
  ASSERT_EQ(server.compare_request().inputs_size(), 3);
  EXPECT_EQ(server.compare_request().inputs(2).source().text(), "cd");

  outcome = RunCommand({"compare", "pair", "--text", "a", "--text", "b", "--target-tokens", "1",
                        "--target-tokens", "2,3", "--json"},
                       server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"stack\": \"DECODER\""));
  EXPECT_EQ(server.compare_request().inputs(1).target().tokens().ids_size(), 2);
}

TEST(Compare, MistakesAndFailedCalls) {
  FakeServer server;
  EXPECT_EQ(RunCommand({"compare", "pair", "--text", "ab"}, server.address()).status, kBadUsage);
  const Outcome uneven =
      RunCommand({"compare", "pair", "--text", "a", "--text", "b", "--target-text", "c"}, server.address());
  EXPECT_EQ(uneven.status, kBadUsage);
  EXPECT_THAT(uneven.err, HasSubstr("found 2 sources and 1 targets"));
  EXPECT_EQ(RunCommand({"compare", "absent", "--text", "a", "--text", "b"}, server.address()).status,
            kFailedCall);
  EXPECT_EQ(RunCommand({"compare", "pair", "--text", "a", "--text", "bad"}, server.address()).status,
            kFailedCall);
}

}  // namespace
}  // namespace splineserve::client
