#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace splineserve::client {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path) << text;
  return path;
}

TEST(Usage, EveryCommandHasHelpWithAnExample) {
  for (const char* command : {"models", "encode", "decode", "generate", "trace", "differentiate",
                              "evaluate-on-piece", "compare", "call", "bench", "monitor"}) {
    const Outcome outcome = RunCommand({command, "--help"});
    EXPECT_EQ(outcome.status, kSuccess) << command;
    EXPECT_THAT(outcome.out, HasSubstr("Example:\n")) << command;
    EXPECT_THAT(outcome.out, HasSubstr("--json")) << command;
    EXPECT_THAT(outcome.out, HasSubstr("--server")) << command;
    EXPECT_EQ(outcome.err, "");
  }
  EXPECT_EQ(RunCommand({"--help"}).status, kSuccess);
}

TEST(Usage, TextThatIsNotUtf8IsNamedAndNotSent) {
  FakeServer server;
  const Outcome encoded = RunCommand({"encode", "pair", "--text", "a", "--text", "b\xff"}, server.address());
  EXPECT_EQ(encoded.status, kFailedCall);
  EXPECT_THAT(encoded.err,
              StartsWith("INVALID_ARGUMENT: inputs[1].text: expected UTF-8, found an invalid byte at "
                         "offset 1"));
  const Outcome lines =
      RunCommand({"generate", "pair", "--input", "-"}, server.address(), "ab\n\xe9t\xe9\ncd\n");
  EXPECT_EQ(lines.status, kFailedCall);
  EXPECT_EQ(lines.out, "AB\n\nCD\n");
  EXPECT_THAT(lines.err, HasSubstr("line 2: INVALID_ARGUMENT: source.text: expected UTF-8"));
  EXPECT_EQ(server.generate_requests().size(), 2u);
}

TEST(Usage, MistakesEndWithStatusTwo) {
  const std::vector<std::vector<std::string>> mistakes = {
      {},
      {"weather"},
      {"models", "--no-such-option"},
      {"models", "--server", "nowhere"},
      {"models", "--server", "host:0"},
      {"models", "--deadline", "soon"},
      {"models", "g2p:latest"},
      {"encode"},
      {"encode", "pair"},
      {"encode", "pair", "--tokens", "1,x"},
      {"encode", "pair", "--vectors", "/no/such/file"},
      {"encode", "pair", "--text", "a", "--pieces", "everything"},
      {"encode", "pair", "--text", "a", "--margins"},
      {"encode", "pair", "--text", "a", "--sites", "ffm"},
      {"encode", "pair", "--text", "a", "--output", "logits"},
      {"encode", "pair", "--text", "a", "--gamma", "1"},
      {"monitor"},
      {"monitor", "record", "pair", "--text", "a"},
      {"monitor", "record", "pair", "--out", "x"},
      {"monitor", "record", "pair", "--text", "a", "--only-correct", "--out", "x"},
      {"monitor", "record", "pair", "--text", "a", "--target-text", "b", "--out", "x"},
      {"monitor", "record", "pair", "--text", "a", "--kind", "bit", "--out", "x"},
      {"monitor", "record", "pair", "--text", "a", "--extend", "/no/such/file", "--out", "x"},
      {"monitor", "check", "pair"},
      {"monitor", "check", "pair", "--text", "a", "--gamma", "-1"},
      {"decode", "pair"},
      {"decode", "pair", "--source-text", "a", "--target-text", "b", "--target-text", "c"},
      {"generate", "pair", "--text", "a", "--beam", "2", "--sample"},
      {"generate", "pair", "--text", "a", "--temperature", "0.5"},
      {"generate", "pair", "--text", "a", "--input", "-"},
      {"generate", "pair", "--stream", "--input", "-"},
      {"evaluate-on-piece", "pair"},
      {"evaluate-on-piece", "pair", "--text", "a", "--gates-text", "b", "--encoder-pieces", "c"},
      {"compare"},
      {"compare", "pair"},
      {"bench", "pair"},
      {"bench", "dance", "pair"},
      {"bench", "encode", "pair", "--duration", "x"},
  };
  for (const auto& arguments : mistakes) {
    const Outcome outcome = RunCommand(arguments);
    EXPECT_EQ(outcome.status, kBadUsage) << testing::PrintToString(arguments) << outcome.out << outcome.err;
    EXPECT_NE(outcome.err, "") << testing::PrintToString(arguments);
    EXPECT_EQ(outcome.out, "") << testing::PrintToString(arguments);
  }
}

TEST(Failures, SayWhatToDoNext) {
  std::string unused_address;
  {
    FakeServer server;
    unused_address = server.address();
    Outcome outcome = RunCommand({"models", "absent"}, server.address());
    EXPECT_EQ(outcome.status, kFailedCall);
    EXPECT_THAT(outcome.err,
                HasSubstr("NOT_FOUND: model \"absent\" is not loaded\n`splineserve-client models`"));
    outcome = RunCommand({"encode", "pair", "--text", "full"}, server.address());
    EXPECT_EQ(outcome.status, kFailedCall);
    EXPECT_THAT(outcome.err, HasSubstr("RESOURCE_EXHAUSTED: the queue is full\nThe server has as much"));
    outcome = RunCommand({"encode", "pair", "--text", "stuck", "--deadline", "50ms"}, server.address());
    EXPECT_EQ(outcome.status, kFailedCall);
    EXPECT_THAT(outcome.err, HasSubstr("DEADLINE_EXCEEDED"));
    EXPECT_THAT(outcome.err, HasSubstr("--deadline"));
  }
  const Outcome outcome = RunCommand({"models"}, unused_address);
  EXPECT_EQ(outcome.status, kFailedCall);
  EXPECT_THAT(outcome.err, StartsWith("UNAVAILABLE: "));
  EXPECT_THAT(outcome.err, HasSubstr("No SplineServe server answers at " + unused_address));
}

TEST(Models, ListsAndDescribes) {
  FakeServer server;
  Outcome outcome = RunCommand({"models"}, server.address());
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("pair          1  encoder_decoder  EXACT      27"));
  outcome = RunCommand({"models", "pair:1"}, server.address());
  EXPECT_THAT(outcome.out, HasSubstr("degree bound  27, on one piece\n"));
  outcome = RunCommand({"models", "pair", "--json"}, server.address());
  EXPECT_THAT(outcome.out, HasSubstr("\"degree_bound\": \"27\""));
}

TEST(Encode, PrintsTheClassOfEachSequenceAndItsPieces) {
  FakeServer server;
  const std::string path = WriteFile("rows.csv", "1,2\n3,4\n\n5,6\n");
  const Outcome outcome =
      RunCommand({"encode", "rows", "--vectors", path, "--pieces", "--layers", "0,1", "--sites", "self,ffn"},
                 server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(
      outcome.out,
      HasSubstr("0: 2 x 2 numbers -> head [1, 3]\n  class  output  next\n      2       2  1: 1, 0: 0\n"));
  EXPECT_THAT(outcome.out, HasSubstr("1: 1 x 2 numbers -> head"));
  EXPECT_THAT(outcome.out, HasSubstr("open gates: 1 of 16 in feed-forward"));
  EXPECT_THAT(outcome.out, HasSubstr("depends on other tokens' gates"));
  const v1::EncodeRequest request = server.encode_request();
  EXPECT_EQ(request.pieces().detail(), v1::PieceOptions::COUNTS);
  EXPECT_THAT(request.pieces().layers(), testing::ElementsAre(0, 1));
  EXPECT_THAT(request.pieces().sites(),
              testing::ElementsAre(v1::Site::SELF_ATTENTION, v1::Site::FEED_FORWARD));
}

TEST(Encode, TakesTextTokensAndStandardInput) {
  FakeServer server;
  Outcome outcome =
      RunCommand({"encode", "pair", "--text", "ab", "--text", "c", "--tokens", "1,2", "--output", "hidden"},
                 server.address());
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("0: \"ab\" -> hidden [2, 3]\n  0  a  0  1  2\n  1  b  1  2  3\n"));
  EXPECT_THAT(outcome.out, HasSubstr("2: [1, 2] -> hidden"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("piece")));
  EXPECT_EQ(server.encode_request().inputs_size(), 3);
  outcome = RunCommand({"encode", "rows", "--vectors", "-", "--json", "--pieces", "id"}, server.address(),
                       "1\n2\n");
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"id\": \"AQEBAQEBAQEBAQEBAQEBAQ==\""));
}

TEST(Decode, PairsSourcesAndTargets) {
  FakeServer server;
  Outcome outcome =
      RunCommand({"decode", "pair", "--source-text", "a", "--target-tokens", "1,2", "--pieces", "counts"},
                 server.address());
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("0: [1, 2] -> head [2, 3]"));
  EXPECT_THAT(outcome.out, HasSubstr("feed-forward"));
  outcome = RunCommand({"decode", "writer", "--target-text", "bad"}, server.address());
  EXPECT_EQ(outcome.status, kFailedCall);
}

TEST(SmoothingError, IsAskedForAndShown) {
  FakeServer server;
  Outcome outcome = RunCommand({"encode", "pair", "--text", "abc", "--output", "hidden", "--smoothing-error"},
                               server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_TRUE(server.encode_request().smoothing_error());
  EXPECT_THAT(outcome.out, HasSubstr("EXACT (SoftPlus with beta 20 for the ReLU of pair), "));
  EXPECT_THAT(outcome.out, HasSubstr("\n  distance from the spline, whose outputs go up to 4.5\n"));
  EXPECT_THAT(outcome.out, HasSubstr("evaluated in float64 at the same input"));
  outcome = RunCommand({"decode", "writer", "--target-text", "ab", "--smoothing-error", "--json"},
                       server.address());
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"max_proven_at_gates\": 10"));
  outcome = RunCommand({"encode", "pair", "--text", "abc"}, server.address());
  EXPECT_FALSE(server.encode_request().smoothing_error());
  EXPECT_THAT(outcome.out, Not(HasSubstr("distance")));
  EXPECT_THAT(outcome.out, Not(HasSubstr("SoftPlus")));
}

TEST(Bench, MeasuresAndCountsFailures) {
  FakeServer server;
  const std::string path = WriteFile("bench.txt", "ab\ncde\n");
  Outcome outcome =
      RunCommand({"bench", "generate", "pair", "--input", path, "--requests", "20", "--concurrency", "3"},
                 server.address());
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, ContainsRegex("requests +20\n"));
  EXPECT_THAT(outcome.out, HasSubstr("first token"));
  EXPECT_EQ(server.generate_requests().size(), 20u);
  outcome =
      RunCommand({"bench", "encode", "pair", "--input", path, "--batch", "2", "--duration", "30ms", "--json"},
                 server.address());
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"tokens_per_second\""));
  EXPECT_EQ(server.encode_request().inputs_size(), 2);
  outcome = RunCommand({"bench", "encode", "pair", "--text", "bad", "--requests", "2"}, server.address());
  EXPECT_EQ(outcome.status, kFailedCall);
  EXPECT_THAT(outcome.out, HasSubstr("2 x INVALID_ARGUMENT"));
  outcome = RunCommand({"bench", "decode", "pair", "--text", "ab"}, server.address());
  EXPECT_EQ(outcome.status, kBadUsage);
}

}  // namespace
}  // namespace splineserve::client
