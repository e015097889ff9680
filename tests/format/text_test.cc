// Vocabularies, and the handling of untrusted text under them.
#include <string>
#include <vector>

#include "core/format/untrusted_text.h"
#include "core/format/vocabulary.h"
#include "tests/format/failure.h"

namespace splineserve {
namespace {

using testing::Refused;
using Ids = std::vector<int32_t>;

constexpr VocabularySplit kCharacters = VocabularySplit::kCharacters;
constexpr VocabularySplit kWhitespace = VocabularySplit::kWhitespace;

TEST(Excerpt, IsShortAndPrintable) {
  EXPECT_EQ(Excerpt("plain é"), "plain é");
  EXPECT_EQ(Excerpt(std::string_view("a\n\0\"", 4)), "a\\n\\x00\\\"");
  EXPECT_EQ(Excerpt("\xff"), "\\xff");
  EXPECT_EQ(Excerpt(std::string(300, 'a')), std::string(100, 'a') + "...");
  // Cut between, not inside, two-byte letters.
  std::string letters = "a";
  for (int i = 0; i < 100; ++i) letters += "é";
  EXPECT_EQ(Excerpt(letters).size(), 99u + 3u);
}

TEST(PlainFileName, LeavesTheDirectoryNeither) {
  for (const char* good : {"a", "graphemes.txt", "..a", "a..", "model-00001-of-00002.safetensors"}) {
    EXPECT_TRUE(IsPlainFileName(good)) << good;
  }
  for (const char* bad : {"", ".", "..", "/etc/passwd", "../x", "a/b", "a\\b", "a\n", "\x7f"}) {
    EXPECT_FALSE(IsPlainFileName(bad)) << bad;
  }
  EXPECT_FALSE(IsPlainFileName(std::string_view("a\0b", 3)));
  EXPECT_FALSE(IsPlainFileName(std::string(256, 'a')));
}

TEST(Vocabulary, SplitsCharacters) {
  const auto vocabulary = Vocabulary::Parse("<pad>\na\né\n \n漢\n", "v.txt", kCharacters, 5);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(*vocabulary->Encode("é a漢"), (Ids{2, 3, 1, 4}));
  EXPECT_EQ(*vocabulary->Encode(""), Ids{});
  EXPECT_EQ(vocabulary->Decode({2, 3, 1, 4, 0}), "é a漢<pad>");
  EXPECT_EQ(vocabulary->entry(4), "漢");
  // An entry of several code points is only reached by its id.
  EXPECT_TRUE(Refused(vocabulary->Encode("<pad>"), {"token 0 at byte 0", "found \"<\""}));
  EXPECT_TRUE(Refused(vocabulary->Encode("aéb"), {"token 2 at byte 3", "vocabulary", "found \"b\""}));
  EXPECT_TRUE(Refused(vocabulary->Encode("a\xff"), {"UTF-8", "offset 1"}));
}

TEST(Vocabulary, SplitsWhitespace) {
  const auto vocabulary = Vocabulary::Parse("AH0\r\nK\r\n", "v.txt", kWhitespace, 2);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(*vocabulary->Encode(" K\tAH0 \n K "), (Ids{1, 0, 1}));
  EXPECT_EQ(*vocabulary->Encode("  "), Ids{});
  EXPECT_EQ(vocabulary->Decode({1, 0}), "K AH0");
  EXPECT_EQ(vocabulary->Decode({}), "");
  EXPECT_TRUE(Refused(vocabulary->Encode("K AH"), {"token 1 at byte 2", "found \"AH\""}));
}

TEST(Vocabulary, FinalNewlineIsOptional) {
  EXPECT_TRUE(Vocabulary::Parse("a\nb", "v", kCharacters, 2).ok());
  EXPECT_TRUE(Vocabulary::Parse("a\nb\n", "v", kCharacters, 2).ok());
  EXPECT_TRUE(
      Refused(Vocabulary::Parse("a\nb\n\n", "v", kCharacters, 3), {"v: line 3", "found an empty line"}));
}

TEST(Vocabulary, RefusesDamage) {
  const auto parse = [](const char* text, VocabularySplit split, size_t size) {
    return Vocabulary::Parse(text, "dir/v.txt", split, size);
  };
  EXPECT_TRUE(
      Refused(parse("a\n\nb\n", kCharacters, 3), {"dir/v.txt: line 2", "expected an entry", "empty line"}));
  EXPECT_TRUE(Refused(parse("a\nb\na\n", kCharacters, 3),
                      {"dir/v.txt: line 3", "expected a new entry", "found \"a\"", "line 1"}));
  EXPECT_TRUE(
      Refused(parse("a\nb\xff\n", kCharacters, 2), {"dir/v.txt: line 2", "expected UTF-8", "column 2"}));
  EXPECT_TRUE(Refused(parse("a\nb c\n", kWhitespace, 2),
                      {"dir/v.txt: line 2", "expected an entry without whitespace", "found \"b c\""}));
  EXPECT_TRUE(Refused(parse("a\nb\n", kCharacters, 3), {"dir/v.txt: expected 3 entries", "found 2"}));
  EXPECT_TRUE(Refused(parse("a\nb\nc\n", kCharacters, 2), {"dir/v.txt: line 3", "2 ids", "found more"}));
  EXPECT_TRUE(Refused(parse("", kCharacters, 1), {"dir/v.txt: expected 1 entries", "found 0"}));
}

}  // namespace
}  // namespace splineserve
