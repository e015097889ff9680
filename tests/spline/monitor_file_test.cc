#include "core/spline/monitor_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/spline/piece.h"
#include "tests/spline/random_patterns.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<PatternMonitor> Parse(const std::string& bytes) {
  return ParseMonitor({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "a.monitor");
}

// `body` with the checksum that belongs to it.
std::string Sealed(const std::string& body) {
  return body + PieceHash({reinterpret_cast<const uint8_t*>(body.data()), body.size()});
}

std::string Body(const std::string& file) { return file.substr(0, file.size() - 16); }

std::string Problem(const std::string& body) {
  const auto monitor = Parse(Sealed(body));
  EXPECT_FALSE(monitor.ok());
  EXPECT_EQ(monitor.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(monitor.status().message());
}

TEST(MonitorFileTest, ComesBackAsItWas) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  for (const MonitorKind kind : {MonitorKind::kBits, MonitorKind::kHashed}) {
    for (const size_t patterns : {0, 1, 50}) {
      const PatternMonitor monitor = testing::RandomMonitor(kind, patterns, random);
      const std::string bytes = SerializeMonitor(monitor);
      const auto read = Parse(bytes);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(read->description(), monitor.description());
      ASSERT_EQ(read->groups().size(), monitor.groups().size());
      for (size_t g = 0; g < monitor.groups().size(); ++g) {
        EXPECT_EQ(read->groups()[g].label, monitor.groups()[g].label);
        EXPECT_EQ(read->groups()[g].shape, monitor.groups()[g].shape);
        EXPECT_EQ(read->groups()[g].count, monitor.groups()[g].count);
        EXPECT_EQ(read->groups()[g].words, monitor.groups()[g].words);
      }
      EXPECT_EQ(SerializeMonitor(*read), bytes);
    }
  }
}

// The layout, byte by byte: files outlive versions of this code.
TEST(MonitorFileTest, IsLaidOutAsTheHeaderSays) {
  MonitorDescription description = testing::Description(MonitorKind::kBits, 2);
  description.gamma = 3;
  description.selection.layers = {1};
  MonitorBuilder builder = MonitorBuilder::Create(description).value();
  ASSERT_TRUE(builder.Add(1, Pattern{{8, 0, 12}, {0xabc}}).value());
  const auto word = [](char low) { return std::string({low, 0, 0, 0}); };
  std::string body = std::string("SplMon\r\n") + word(1) + word(1);
  for (int i = 0; i < 16; ++i) body += static_cast<char>(i * 0x11);
  body += word(1) + word(1) + word(3) + word(2);             // precision, stack, gamma, classes
  body += word(1) + word(1) + word(0) + word(0);             // layers, sites, units
  body += word(1) + word(8) + word(0) + word(12) + word(1);  // one group: its shape and label
  body += word(1) + word(0) + "\xbc\x0a";
  EXPECT_EQ(SerializeMonitor(std::move(builder).Build()), Sealed(body));
}

TEST(MonitorFileTest, EveryTruncationAndEveryFlippedBitIsRefused) {
  std::mt19937_64 random(5);
  for (const MonitorKind kind : {MonitorKind::kBits, MonitorKind::kHashed}) {
    const std::string bytes = SerializeMonitor(testing::RandomMonitor(kind, 12, random));
    for (size_t size = 0; size < bytes.size(); ++size) {
      const auto monitor = Parse(bytes.substr(0, size));
      ASSERT_FALSE(monitor.ok()) << size;
      EXPECT_THAT(std::string(monitor.status().message()), StartsWith("a.monitor: "));
    }
    EXPECT_FALSE(Parse(bytes + "x").ok());
    for (size_t at = 0; at < bytes.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
        ASSERT_FALSE(Parse(damaged).ok()) << at << " " << bit;
      }
    }
  }
}

// With the checksum mended: nothing crashes, and what is accepted has one form.
TEST(MonitorFileTest, TheChecksumIsTrustedWithNothing) {
  std::mt19937_64 random(6);
  for (const MonitorKind kind : {MonitorKind::kBits, MonitorKind::kHashed}) {
    const std::string body = Body(SerializeMonitor(testing::RandomMonitor(kind, 12, random)));
    for (size_t size = 0; size < body.size(); ++size) {
      ASSERT_FALSE(Parse(Sealed(body.substr(0, size))).ok()) << size;
    }
    EXPECT_THAT(Problem(body + "x"), HasSubstr("after the last group"));
    for (size_t at = 0; at < body.size(); ++at) {
      for (const int value : {0, 1, 2, 0x7f, 0x80, 0xff}) {
        std::string changed = body;
        changed[at] = static_cast<char>(value);
        const auto monitor = Parse(Sealed(changed));
        if (monitor.ok()) {
          ASSERT_EQ(SerializeMonitor(*monitor), Sealed(changed)) << at << " " << value;
        }
      }
    }
  }
}

TEST(MonitorFileTest, RefusalsSayWhatIsWrong) {
  std::mt19937_64 random(7);
  const std::string body = Body(SerializeMonitor(testing::RandomMonitor(MonitorKind::kBits, 12, random)));
  const auto with = [&](size_t at, uint32_t value) {
    std::string changed = body;
    for (size_t i = 0; i < 4; ++i) changed[at + i] = static_cast<char>(value >> (8 * i));
    return Problem(changed);
  };
  EXPECT_EQ(Parse("").status().message(),
            "a.monitor: expected a monitor, which begins with \"SplMon\\r\\n\", found something else");
  EXPECT_EQ(with(8, 2), "a.monitor: version: expected 1, found 2");
  EXPECT_EQ(with(12, 3), "a.monitor: kind: expected 1 to 2, found 3");
  EXPECT_EQ(with(32, 0), "a.monitor: precision: expected 1 to 3, found 0");
  EXPECT_EQ(with(36, 3), "a.monitor: stack: expected 1 to 2, found 3");
  EXPECT_EQ(with(44, 0), "a.monitor: classes: expected at least 1, found 0");
  EXPECT_THAT(with(48, 0xffffffff),
              AllOf(HasSubstr("layers: expected 17179869180 bytes"), HasSubstr("left")));
  EXPECT_EQ(with(56, 0), "a.monitor: layers[1]: expected more than 0, found 0");
  EXPECT_EQ(with(68, 4), "a.monitor: sites: expected 1 to 3, found 4");
  // After the three lists (2 + 2 + 3 entries): the number of groups and the first of them.
  EXPECT_THAT(with(88, 0xffffffff), HasSubstr("group "));
  EXPECT_THAT(with(100, 0), HasSubstr("group 0: gates: expected at least 1, found 0"));
  EXPECT_THAT(with(104, 3), HasSubstr("group 0: label: expected a class in [0, 3), found 3"));
  EXPECT_THAT(with(112, 0x7fffffff), HasSubstr("group 0: patterns: expected at most"));
}

}  // namespace
}  // namespace splineserve
