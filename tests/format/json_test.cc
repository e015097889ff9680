#include "core/format/json.h"

#include <string>

#include "tests/format/failure.h"

namespace splineserve {
namespace {

using testing::Refused;

TEST(ParseJson, ReadsWhatItWasGiven) {
  const auto value = ParseJson(R"({"a": [1, -2, 2.5, true, null, "é"], "b": {}})", "f", 8, 100);
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(value->dump(), R"({"a":[1,-2,2.5,true,null,"é"],"b":{}})");
}

TEST(ParseJson, RefusesMalformedTextWithItsPlace) {
  for (const char* text :
       {"", " ", "{", "[1,", "{\"a\" 1}", "{\"a\":}", "nul", "[1] x", "{'a': 1}", "[01]", "\"\xff\"",
        "\"\xed\xa0\x80\"", "[NaN]", "[1e999]", "{\"a\":1,}", "// c\n1", "\"\\ud800\""}) {
    EXPECT_TRUE(Refused(ParseJson(text, "some.json", 8, 100), {"some.json: byte ", "malformed JSON"}))
        << text;
  }
  EXPECT_TRUE(Refused(ParseJson("[1, 2, x]", "f", 8, 100), {"f: byte 8"}));
  EXPECT_TRUE(Refused(ParseJson("{\"scale\": 1e999}", "f", 8, 100), {"last key: \"scale\"", "1e999"}));
  EXPECT_TRUE(Refused(ParseJson(std::string_view("1\0 2", 4), "f", 8, 100), {"malformed"}));
}

TEST(ParseJson, RefusesRepeatedKeys) {
  EXPECT_TRUE(
      Refused(ParseJson(R"({"a": 1, "b": 2, "a": 3})", "f", 8, 100), {"f: byte 2", "repeated key \"a\""}));
  EXPECT_TRUE(Refused(ParseJson(R"({"x": {"a": 1, "a": 1}})", "f", 8, 100), {"repeated key \"a\""}));
  EXPECT_TRUE(ParseJson(R"([{"a": 1}, {"a": 1}, {"b": {"a": 2}}])", "f", 8, 100).ok());
}

TEST(ParseJson, BoundsDepth) {
  EXPECT_TRUE(ParseJson("[[[1]]]", "f", 3, 100).ok());
  EXPECT_TRUE(Refused(ParseJson("[[[[1]]]]", "f", 3, 100), {"f: byte 4", "at most 3 deep, found deeper"}));
  EXPECT_TRUE(Refused(ParseJson(std::string(10'000'000, '['), "f", 8, 100), {"at most 8 deep"}));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_TRUE(Refused(ParseJson(objects, "f", 8, 100), {"at most 8 deep"}));
}

TEST(ParseJson, BoundsTheNumberOfValues) {
  EXPECT_TRUE(ParseJson("[1,2,3]", "f", 8, 4).ok());
  EXPECT_TRUE(Refused(ParseJson("[1,2,3]", "f", 8, 3), {"f: byte ", "at most 3 JSON values, found more"}));
  std::string wide = "[0";
  for (int i = 0; i < 1'000'000; ++i) wide += ",[]";
  EXPECT_TRUE(Refused(ParseJson(wide + "]", "f", 8, 1000), {"at most 1000 JSON values"}));
}

TEST(ParseJson, MessagesStayShort) {
  const auto value = ParseJson("{\"" + std::string(1'000'000, 'x'), "f", 8, 100);
  ASSERT_FALSE(value.ok());
  EXPECT_LT(value.status().message().size(), 500u);
}

}  // namespace
}  // namespace splineserve
