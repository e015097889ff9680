#include <atomic>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "client/input_lines.h"
#include "client/ordered_run.h"
#include "client/sequence_input.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace splineserve::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(ParseTokens, TakesCommasAndSpaces) {
  EXPECT_THAT(ParseTokens("1,2, -3")->tokens().ids(), ElementsAre(1, 2, -3));
  EXPECT_THAT(ParseTokens("4 5")->tokens().ids(), ElementsAre(4, 5));
  EXPECT_THAT(Message(ParseTokens("1,x").status()), HasSubstr("expected a whole number, found \"x\""));
  EXPECT_THAT(Message(ParseTokens("1,4294967296").status()), HasSubstr("4294967296"));
  EXPECT_THAT(Message(ParseTokens(" ,").status()), HasSubstr("at least one"));
}

TEST(ParseVectors, BlankLinesSeparateSequences) {
  const auto sequences = ParseVectors("# two rows\n1,2.5\r\n-3e-2, +4\n\n\n5;6\n7 8\n", "f.csv");
  ASSERT_TRUE(sequences.ok()) << sequences.status();
  ASSERT_EQ(sequences->size(), 2u);
  EXPECT_EQ((*sequences)[0].vectors().rows(), 2u);
  EXPECT_EQ((*sequences)[0].vectors().cols(), 2u);
  EXPECT_THAT((*sequences)[0].vectors().values(), ElementsAre(1, 2.5, -3e-2f, 4));
  EXPECT_THAT((*sequences)[1].vectors().values(), ElementsAre(5, 6, 7, 8));
}

TEST(ParseVectors, SaysWhereTheMistakeIs) {
  EXPECT_EQ(Message(ParseVectors("1,2\n3\n", "f.csv").status()),
            "f.csv, line 2: expected 2 numbers, as in the rows above, found 1");
  EXPECT_EQ(Message(ParseVectors("1,2\n3,x\n", "f.csv").status()),
            "f.csv, line 2, number 2: expected a number, found \"x\"");
  EXPECT_THAT(Message(ParseVectors("nan\n", "f").status()), HasSubstr("finite"));
  EXPECT_THAT(Message(ParseVectors("1e39\n", "f").status()), HasSubstr("finite"));
  EXPECT_THAT(Message(ParseVectors("# nothing\n\n", "f").status()), HasSubstr("found none"));
  EXPECT_EQ(Message(ParseVectors("1,2,3\n4,,5,6\n", "f.csv").status()),
            "f.csv, line 2, number 2: expected a number, found nothing");
  EXPECT_EQ(Message(ParseVectors(", 1\n", "f.csv").status()),
            "f.csv, line 1, number 1: expected a number, found nothing");
  EXPECT_EQ(ParseVectors("\xEF\xBB\xBF# of a spreadsheet\n1,2,\n", "f")->front().vectors().cols(), 2u);
  EXPECT_TRUE(ParseVectors("1e-50\n", "f").ok()) << "too small to represent is zero";
}

TEST(TokenLabels, AreCharactersWordsOrIds) {
  EXPECT_THAT(TokenLabels(TextSequence("hé\n"), 3), ElementsAre("h", "é", "\\x0a"));
  EXPECT_THAT(TokenLabels(TextSequence("AH B "), 2), ElementsAre("AH", "B"));
  EXPECT_THAT(TokenLabels(*ParseTokens("7,8"), 2), ElementsAre("7", "8"));
  EXPECT_THAT(TokenLabels(TextSequence("abc"), 7), IsEmpty());
}

TEST(InputLines, ReadsFilesAndStreams) {
  const std::string path = testing::TempDir() + "/lines.txt";
  std::ofstream(path) << "a\r\n\nlast";
  std::istringstream in("x\ny\n");
  auto lines = InputLines::Open(path, in);
  ASSERT_TRUE(lines.ok());
  EXPECT_EQ(lines->total(), 3u);
  EXPECT_EQ(lines->Next()->text, "a");
  EXPECT_EQ(lines->Next()->text, "");
  EXPECT_EQ(lines->Next()->text, "last");
  EXPECT_FALSE(lines->Next());

  auto stream = InputLines::Open("-", in);
  EXPECT_EQ(stream->total(), std::nullopt);
  EXPECT_EQ(stream->Next()->text, "x");
  EXPECT_EQ(stream->Next()->index, 1u);
  EXPECT_FALSE(stream->Next());
  EXPECT_THAT(Message(InputLines::Open("/no/such/file", in).status()), HasSubstr("/no/such/file"));
  EXPECT_THAT(Message(InputLines::Open(testing::TempDir(), in).status()), HasSubstr("directory"));
}

// The first line ends only when all others have: whatever is done, it is printed first.
TEST(RunInOrder, PrintsInTheOrderOfTheLines) {
  constexpr size_t kLines = 8;
  InputLines lines = InputLines::Of(std::vector<std::string>(kLines, "x"));
  std::atomic<size_t> others = 0;
  std::vector<size_t> printed;
  const size_t failed = RunInOrder(
      lines, kLines,
      [&](const InputLines::Line& line) {
        if (line.index == 0) {
          for (size_t seen = others; seen < kLines - 1; seen = others) others.wait(seen);
        } else {
          ++others;
          others.notify_all();
        }
        return LineResult{line.index % 2 == 0 ? absl::OkStatus() : absl::InternalError("odd"), ""};
      },
      [&](size_t index, const LineResult&) { printed.push_back(index); });
  EXPECT_THAT(printed, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_EQ(failed, 4u);
}

}  // namespace
}  // namespace splineserve::client
