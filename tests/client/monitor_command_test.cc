#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace splineserve::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string PathOf(const std::string& name) { return testing::TempDir() + "/" + name; }

std::string WriteFile(const std::string& name, const std::string& text) {
  std::ofstream(PathOf(name)) << text;
  return PathOf(name);
}

std::string ReadBack(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(MonitorCommand, RecordsInChunksThatGoOnFromEachOther) {
  FakeServer server;
  std::string rows, labels = "# true classes\n", expected;
  for (int i = 0; i < 600; ++i) {
    absl::StrAppend(&rows, i, "\n\n");
    absl::StrAppend(&labels, i % 3, "\n");
    expected += static_cast<char>('a' + i % 3);
  }
  const std::string out = PathOf("chunks.monitor");
  Outcome outcome = RunCommand({"monitor",
                                "record",
                                "rows",
                                "--vectors",
                                WriteFile("rows.csv", rows),
                                "--labels",
                                WriteFile("labels.txt", labels),
                                "--only-correct",
                                "--layers",
                                "1,2",
                                "--sites",
                                "ffn,self",
                                "--units",
                                "4,9",
                                "--kind",
                                "hashed",
                                "--gamma",
                                "0",
                                "--out",
                                out},
                               server.address(), "", /*err_is_terminal=*/true);
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_EQ(ReadBack(out), expected);
  EXPECT_THAT(outcome.out, HasSubstr("600 sequences were new, 0 known, 0 left out\n"));
  EXPECT_THAT(outcome.out, HasSubstr("chunks.monitor: 600 bytes\n"));
  EXPECT_THAT(outcome.err, HasSubstr("600 of 600"));
  const std::vector<v1::RecordPatternsRequest> requests = server.record_requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].inputs_size(), 256);
  EXPECT_EQ(requests[2].inputs_size(), 88);
  EXPECT_EQ(requests[0].kind(), v1::MonitorKind::HASHED);
  EXPECT_TRUE(requests[0].has_gamma());
  EXPECT_THAT(requests[0].selection().layers(), ElementsAre(1, 2));
  EXPECT_THAT(requests[0].selection().units(), ElementsAre(4, 9));
  EXPECT_THAT(requests[0].selection().sites(), ElementsAre(v1::Site::FEED_FORWARD, v1::Site::SELF_ATTENTION));
  for (const v1::RecordPatternsRequest& request : requests) EXPECT_TRUE(request.only_correct());
  EXPECT_EQ(requests[1].monitor(), expected.substr(0, 256));
  EXPECT_FALSE(requests[1].has_selection());
  EXPECT_FALSE(requests[1].has_gamma());
  EXPECT_EQ(requests[1].kind(), v1::MonitorKind::UNSPECIFIED);
}

TEST(MonitorCommand, ExtendsAndFails) {
  FakeServer server;
  const std::string old = WriteFile("old.monitor", "xyz"), out = PathOf("new.monitor");
  Outcome outcome = RunCommand(
      {"monitor", "record", "pair", "--text", "a", "--text", "b", "--extend", old, "--out", out, "--json"},
      server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_EQ(ReadBack(out), "xyz..");
  EXPECT_THAT(outcome.out, HasSubstr("\"added\": 2"));
  EXPECT_THAT(outcome.out, HasSubstr("\"monitor\": \"\""));
  EXPECT_FALSE(server.record_requests()[0].has_selection());

  outcome = RunCommand({"monitor", "record", "pair", "--text", "bad", "--out", PathOf("none.monitor")},
                       server.address());
  EXPECT_EQ(outcome.status, kFailedCall);
  EXPECT_FALSE(std::ifstream(PathOf("none.monitor")).good());
  outcome = RunCommand({"monitor", "record", "pair", "--text", "a", "--out", "/no/such/folder/x"},
                       server.address());
  EXPECT_EQ(outcome.status, kFailedCall);
  EXPECT_THAT(outcome.err, HasSubstr("cannot write /no/such/folder/x: No such file"));
  const std::vector<std::string> record = {"monitor", "record", "pair", "--text",
                                           "a",       "--out",  out,    "--labels"};
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"1\n-2\n", "line 2: expected a class as a whole number, found \"-2\""},
           {"1\n2\n", "expected one label for each of 1 sequences, found 2"}}) {
    std::vector<std::string> arguments = record;
    arguments.push_back(WriteFile("wrong_labels.txt", text));
    outcome = RunCommand(arguments, server.address());
    EXPECT_EQ(outcome.status, kBadUsage);
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_THAT(outcome.err, HasSubstr("monitor record --help"));
  }
}

TEST(MonitorCommand, ChecksAndLists) {
  FakeServer server;
  const std::string rows = WriteFile("checked.csv", "1\n\n2\n\n3\n\n4\n");
  Outcome outcome = RunCommand(
      {"monitor", "check", "rows", "--vectors", rows, "--gamma", "2", "--name", "mine"}, server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr("\n    0      2  known            0         8              2             0\n"));
  EXPECT_THAT(outcome.out, HasSubstr("\n    2      2  accepted         2         8 "));
  EXPECT_THAT(outcome.out,
              HasSubstr("\n    3      2  WARNING          -         8              1             3\n"));
  EXPECT_THAT(outcome.out, HasSubstr("3 of 4 accepted by monitor mine (gamma 2), 1 of them known\n"));
  outcome = RunCommand({"monitor", "check", "rows", "--vectors", rows, "--json"}, server.address());
  EXPECT_THAT(outcome.out, HasSubstr("\"accepted\": true"));
  EXPECT_FALSE(server.encode_request().monitor().has_gamma());

  outcome = RunCommand({"monitor", "list"}, server.address());
  EXPECT_EQ(outcome.out,
            "monitor  model   call    gates of                    kind  gamma  classes  patterns  memory  "
            "precision\n"
            "only     rows:1  encode  layer 1, self+ffn, 1 units  bits      1        3         7  1.5 KB  "
            "float32\n");
  outcome = RunCommand({"monitor", "list", "pair"}, server.address());
  EXPECT_THAT(outcome.out, HasSubstr("no monitors"));
}

TEST(MonitorCommand, EncodeShowsTheVerdict) {
  FakeServer server;
  const std::string rows = WriteFile("encoded.csv", "1\n");
  Outcome outcome = RunCommand({"encode", "rows", "--vectors", rows, "--monitor"}, server.address());
  ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr("  monitor only: known: 0 of 8 gates differ from the nearest pattern of class 2"));
  EXPECT_FALSE(server.encode_request().monitor().has_gamma());
  outcome = RunCommand({"encode", "rows", "--vectors", rows, "--monitor", "mine", "--gamma", "0"},
                       server.address());
  EXPECT_THAT(outcome.out, HasSubstr("monitor mine: known"));
  EXPECT_TRUE(server.encode_request().monitor().has_gamma());
  outcome = RunCommand({"encode", "rows", "--vectors", rows}, server.address());
  EXPECT_FALSE(server.encode_request().has_monitor());
}

TEST(MonitorCommand, GenerateShowsTheVerdict) {
  FakeServer server;
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{{}, {"--stream"}}) {
    std::vector<std::string> arguments = {"generate",  "pair", "--text",  "ab",
                                          "--monitor", "mine", "--gamma", "3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = RunCommand(arguments, server.address());
    ASSERT_EQ(outcome.status, kSuccess) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("AB\n  monitor mine: known: 0 of 8 gates differ"));
    EXPECT_EQ(server.generate_requests().back().monitor().gamma(), 3u);
  }
  RunCommand({"generate", "pair", "--text", "ab"}, server.address());
  EXPECT_FALSE(server.generate_requests().back().has_monitor());
  const Outcome refused = RunCommand({"generate", "pair", "--text", "ab", "--gamma", "3"}, server.address());
  EXPECT_EQ(refused.status, kBadUsage);
  EXPECT_THAT(refused.err, HasSubstr("add --monitor"));
}

}  // namespace
}  // namespace splineserve::client
