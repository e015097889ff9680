#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace splineserve::client {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Generate, OneText) {
  FakeServer server;
  EXPECT_EQ(RunCommand({"generate", "pair", "--text", "ab"}, server.address()).out, "AB\n");
  EXPECT_EQ(RunCommand({"generate", "pair", "--text", "ab", "--stream"}, server.address()).out, "AB\n");
  EXPECT_EQ(RunCommand({"generate", "pair", "--text", "ab", "--tsv"}, server.address()).out, "ab\tAB\n");
  EXPECT_EQ(
      RunCommand({"generate", "pair", "--text", "ab", "--beam", "3", "--hypotheses", "2"}, server.address())
          .out,
      "AB\tAB2\n");
  EXPECT_EQ(RunCommand({"generate", "pair", "--text", "ab", "--beam", "3", "--stream"}, server.address()).out,
            "AB\n");
  EXPECT_EQ(RunCommand({"generate", "ids", "--tokens", "7,8"}, server.address()).out, "7,8\n");
  EXPECT_THAT(RunCommand({"generate", "pair", "--text", "ab", "--json"}, server.address()).out,
              HasSubstr("\"text\":\"AB\""));
}

TEST(Generate, SendsItsOptions) {
  FakeServer server;
  RunCommand({"generate", "pair", "--text", "ab", "--sample", "--temperature", "0.5", "--top-k", "3",
              "--seed", "9", "--max-new-tokens", "4", "--stop", "5,6", "--prompt", "P"},
             server.address());
  const v1::GenerateRequest request = server.generate_requests().at(0);
  EXPECT_EQ(request.source().text(), "ab");
  EXPECT_EQ(request.prompt().text(), "P");
  EXPECT_EQ(request.sample().temperature(), 0.5f);
  EXPECT_EQ(request.sample().top_k(), 3u);
  EXPECT_EQ(request.sample().seed(), 9u);
  EXPECT_EQ(request.max_new_tokens(), 4u);
  EXPECT_THAT(request.stop_ids(), testing::ElementsAre(5, 6));
}

TEST(Generate, ConsecutiveSeedsAndNoPrompt) {
  FakeServer server;
  const Outcome outcome =
      RunCommand({"generate", "writer", "--sample", "--count", "3", "--seed", "7"}, server.address());
  EXPECT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_EQ(outcome.out, "7\n8\n9\n");
  EXPECT_FALSE(server.generate_requests()[0].has_prompt());
  EXPECT_EQ(
      RunCommand({"generate", "writer", "--text", "a", "--sample", "--count", "2"}, server.address()).out,
      "A0\nA1\n");
  EXPECT_EQ(RunCommand({"generate", "pair"}, server.address()).status, kBadUsage);
}

TEST(Generate, LinesInOrderAndFailuresByLine) {
  FakeServer server;
  std::string input, expected;
  for (int i = 0; i < 300; ++i) {
    const bool bad = i == 100;
    const std::string word = bad ? "bad" : absl::StrCat("w", i);
    absl::StrAppend(&input, word, "\n");
    absl::StrAppend(&expected, word, "\t", bad ? "" : absl::StrCat("W", i), "\n");
  }
  const Outcome outcome = RunCommand({"generate", "pair", "--input", "-", "--tsv"}, server.address(), input);
  EXPECT_EQ(outcome.status, kFailedCall);
  EXPECT_EQ(outcome.out, expected);
  EXPECT_EQ(outcome.err,
            "line 101: INVALID_ARGUMENT: inputs[0].text[1]: expected a letter of the vocabulary\n"
            "1 of 300 lines failed\n");
}

TEST(Generate, ALineThatIsNotTokenIds) {
  FakeServer server;
  const Outcome outcome = RunCommand({"generate", "ids", "--input", "-"}, server.address(), "65\nx\n66 67\n");
  EXPECT_EQ(outcome.status, kFailedCall);
  EXPECT_EQ(outcome.out, "65\n\n66,67\n");
  EXPECT_THAT(outcome.err, HasSubstr("line 2: "));
}

TEST(Generate, AProgressBarOnATerminalOnly) {
  FakeServer server;
  const std::string path = testing::TempDir() + "/words.txt";
  std::ofstream(path) << "a\nb\n";
  Outcome outcome =
      RunCommand({"generate", "pair", "--input", path}, server.address(), "", /*err_is_terminal=*/true);
  EXPECT_EQ(outcome.out, "A\nB\n");
  EXPECT_THAT(outcome.err, HasSubstr("100 %   2 of 2"));
  outcome = RunCommand({"generate", "pair", "--input", path}, server.address());
  EXPECT_EQ(outcome.out, "A\nB\n");
  EXPECT_EQ(outcome.err, "");
}

TEST(Generate, AnAbsentModelIsSaidOnce) {
  FakeServer server;
  const Outcome outcome = RunCommand({"generate", "absent", "--input", "-"}, server.address(), "a\nb\nc\n");
  EXPECT_EQ(outcome.status, kFailedCall);
  EXPECT_THAT(outcome.err, HasSubstr("NOT_FOUND"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("line 1")));
}

}  // namespace
}  // namespace splineserve::client
