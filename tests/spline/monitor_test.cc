#include "core/spline/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/spline/random_patterns.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using testing::Description;
using ::testing::HasSubstr;
using testing::RandomPattern;

// What was recorded, and the verdict by comparing every bit of every pattern.
struct SlowMonitor {
  struct Entry {
    uint32_t label;
    Pattern pattern;
    uint64_t index;
  };
  std::vector<Entry> entries;

  bool Add(uint32_t label, const Pattern& pattern) {
    uint64_t index = 0;
    for (const Entry& entry : entries) {
      if (entry.label != label || entry.pattern.shape != pattern.shape) continue;
      if (entry.pattern == pattern) return false;
      ++index;
    }
    entries.push_back({label, pattern, index});
    return true;
  }
  static uint64_t Distance(const Pattern& a, const Pattern& b) {
    uint64_t distance = 0;
    for (size_t i = 0; i < a.shape.gates; ++i) {
      distance += (a.words[i / 64] >> (i % 64) & 1) != (b.words[i / 64] >> (i % 64) & 1) ? 1 : 0;
    }
    return distance;
  }
  // The nearest among `labels`; the first of the earliest label of several.
  std::optional<PatternMonitor::Match> Nearest(const Pattern& pattern,
                                               const std::vector<uint32_t>& labels) const {
    std::optional<PatternMonitor::Match> best;
    for (const uint32_t label : labels) {
      for (const Entry& entry : entries) {
        if (entry.label != label || entry.pattern.shape != pattern.shape) continue;
        const uint64_t distance = Distance(entry.pattern, pattern);
        if (!best || distance < best->distance) best = {label, entry.index, distance};
      }
    }
    return best;
  }
};

void ExpectMatch(const std::optional<PatternMonitor::Match>& found,
                 const std::optional<PatternMonitor::Match>& expected) {
  ASSERT_EQ(found.has_value(), expected.has_value());
  if (!expected) return;
  EXPECT_EQ(found->label, expected->label);
  EXPECT_EQ(found->distance, expected->distance);
  EXPECT_EQ(found->index, expected->index);
}

TEST(MonitorTest, AgreesWithAComparisonOfEveryBit) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  for (int run = 0; run < 60; ++run) {
    const uint32_t classes = 1 + static_cast<uint32_t>(random() % 4);
    auto builder = MonitorBuilder::Create(Description(MonitorKind::kBits, classes));
    ASSERT_TRUE(builder.ok()) << builder.status();
    SlowMonitor slow;
    const uint32_t gates = 1 + static_cast<uint32_t>(random() % 150);
    for (size_t i = random() % 80; i > 0; --i) {
      const uint32_t label = static_cast<uint32_t>(random() % classes);
      const Pattern pattern = RandomPattern(gates, random);
      const absl::StatusOr<bool> added = builder->Add(label, pattern);
      ASSERT_TRUE(added.ok());
      EXPECT_EQ(*added, slow.Add(label, pattern));
    }
    const PatternMonitor monitor = (*std::move(builder)).Build();
    EXPECT_EQ(monitor.patterns(), slow.entries.size());
    for (int query = 0; query < 40; ++query) {
      const Pattern pattern = RandomPattern(gates, random);
      const uint32_t label = static_cast<uint32_t>(random() % classes);
      const uint32_t gamma = static_cast<uint32_t>(random() % 6);
      const PatternMonitor::Verdict verdict = monitor.Judge(pattern, label, gamma);
      const auto own = slow.Nearest(pattern, {label});
      ExpectMatch(verdict.own, own);
      EXPECT_EQ(verdict.accepted, own.has_value() && own->distance <= gamma);
      std::vector<uint32_t> own_first = {label};
      for (uint32_t other = 0; other < classes; ++other) own_first.push_back(other);
      ExpectMatch(verdict.nearest, slow.Nearest(pattern, own_first));
    }
  }
}

TEST(MonitorTest, HashedKnowsWhatWasRecordedAndNothingElse) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  for (int run = 0; run < 60; ++run) {
    auto builder = MonitorBuilder::Create(Description(MonitorKind::kHashed, 3));
    ASSERT_TRUE(builder.ok()) << builder.status();
    SlowMonitor slow;
    const uint32_t gates = 1 + static_cast<uint32_t>(random() % 12);
    for (size_t i = random() % 80; i > 0; --i) {
      const uint32_t label = static_cast<uint32_t>(random() % 3);
      const Pattern pattern = RandomPattern(gates, random);
      EXPECT_EQ(*builder->Add(label, pattern), slow.Add(label, pattern));
    }
    const PatternMonitor monitor = (*std::move(builder)).Build();
    EXPECT_EQ(monitor.bytes(), 16 * slow.entries.size());
    for (int query = 0; query < 40; ++query) {
      const Pattern pattern = RandomPattern(gates, random);
      const uint32_t label = static_cast<uint32_t>(random() % 3);
      const auto own = slow.Nearest(pattern, {label});
      const PatternMonitor::Verdict verdict = monitor.Judge(pattern, label, 0);
      const bool known = own.has_value() && own->distance == 0;
      EXPECT_EQ(verdict.accepted, known);
      EXPECT_EQ(verdict.own.has_value(), known);
      const auto any = slow.Nearest(pattern, {0, 1, 2});
      EXPECT_EQ(verdict.nearest.has_value(), any.has_value() && any->distance == 0);
      if (known) {
        EXPECT_EQ(verdict.nearest->label, label);
      }
    }
  }
}

TEST(MonitorTest, HashesAreThoseOfThePackedBits) {
  const Pattern pattern{{1, 0, 19}, {0x5a3c1}};
  const uint8_t bytes[] = {0xc1, 0xa3, 0x05};
  const XXH128_hash_t expected = XXH3_128bits(bytes, 3);
  EXPECT_EQ(PatternHash(pattern), std::pair(expected.high64, expected.low64));
}

TEST(MonitorTest, GoesOnFromAnother) {
  std::mt19937_64 random(3);
  for (const MonitorKind kind : {MonitorKind::kBits, MonitorKind::kHashed}) {
    auto whole = MonitorBuilder::Create(Description(kind, 2)),
         first = MonitorBuilder::Create(Description(kind, 2));
    std::vector<std::pair<uint32_t, Pattern>> traffic;
    for (int i = 0; i < 60; ++i) traffic.emplace_back(random() % 2, RandomPattern(7, random));
    PatternMonitor monitor;
    for (size_t i = 0; i < traffic.size(); ++i) {
      ASSERT_TRUE(whole->Add(traffic[i].first, traffic[i].second).ok());
      ASSERT_TRUE(first->Add(traffic[i].first, traffic[i].second).ok());
      if (i == 29) {
        monitor = (*std::move(first)).Build();
        first = MonitorBuilder(monitor);
      }
    }
    const PatternMonitor a = (*std::move(whole)).Build(), b = (*std::move(first)).Build();
    ASSERT_EQ(a.groups().size(), b.groups().size());
    EXPECT_EQ(a.description(), b.description());
    for (size_t g = 0; g < a.groups().size(); ++g) EXPECT_EQ(a.groups()[g].words, b.groups()[g].words);
  }
}

TEST(MonitorTest, RefusesWhatItCannotHold) {
  EXPECT_THAT(MonitorBuilder::Create({.digest = "abc"}).status().message(), HasSubstr("digest"));
  EXPECT_THAT(MonitorBuilder::Create({.digest = std::string(32, 'A')}).status().message(),
              HasSubstr("digest"));
  EXPECT_THAT(MonitorBuilder::Create(Description(MonitorKind::kBits, 0)).status().message(),
              HasSubstr("classes"));
  MonitorDescription hashed = Description(MonitorKind::kHashed, 2);
  hashed.gamma = 1;
  EXPECT_THAT(MonitorBuilder::Create(hashed).status().message(), HasSubstr("gamma: expected 0"));

  auto builder = MonitorBuilder::Create(Description(MonitorKind::kBits, 2));
  const Pattern pattern{{1, 0, 3}, {5}};
  EXPECT_THAT(builder->Add(2, pattern).status().message(), HasSubstr("[0, 2), found 2"));
  EXPECT_THAT(builder->Add(0, Pattern{{1, 0, 0}, {}}).status().message(), HasSubstr("gate"));
  // 2 MiB a pattern: 128 fit into 256 MiB.
  const uint32_t gates = 1u << 24;
  absl::Status status;
  for (uint64_t i = 0; i <= 128 && status.ok(); ++i) {
    Pattern large{{1, 0, gates}, std::vector<uint64_t>(PatternWords(gates))};
    large.words[0] = i;
    EXPECT_EQ(builder->Add(1, large).ok(), i < 128) << i;
  }
}

TEST(MonitorTest, GroupsOfAFileAreChecked) {
  const auto add = [](MonitorKind kind, std::vector<PatternMonitor::Group> groups) {
    auto builder = MonitorBuilder::Create(Description(kind, 2));
    absl::Status status;
    for (PatternMonitor::Group& group : groups) {
      if (status.ok()) status = builder->AddGroup(std::move(group));
    }
    return std::string(status.message());
  };
  const PatternShape shape{1, 0, 3};
  EXPECT_EQ(add(MonitorKind::kBits, {{0, shape, 2, {1, 2}}, {1, shape, 1, {7}}}), "");
  EXPECT_THAT(add(MonitorKind::kBits, {{2, shape, 1, {1}}}), HasSubstr("label"));
  EXPECT_THAT(add(MonitorKind::kBits, {{0, {1, 0, 0}, 1, {}}}), HasSubstr("gates"));
  EXPECT_THAT(add(MonitorKind::kBits, {{0, shape, 0, {}}}), HasSubstr("at least one"));
  EXPECT_THAT(add(MonitorKind::kBits, {{0, shape, 2, {1}}}), HasSubstr("2 in 1 words"));
  EXPECT_THAT(add(MonitorKind::kBits, {{0, shape, 1, {8}}}), HasSubstr("zeros after its 3 gates"));
  EXPECT_THAT(add(MonitorKind::kBits, {{0, shape, 2, {4, 4}}}), HasSubstr("distinct"));
  EXPECT_THAT(add(MonitorKind::kBits, {{1, shape, 1, {1}}, {0, shape, 1, {1}}}), HasSubstr("ascend"));
  EXPECT_THAT(add(MonitorKind::kBits, {{0, shape, 1, {1}}, {0, shape, 1, {2}}}), HasSubstr("ascend"));
  EXPECT_EQ(add(MonitorKind::kHashed, {{0, shape, 2, {1, 9, 2, 3}}}), "");
  EXPECT_THAT(add(MonitorKind::kHashed, {{0, shape, 2, {2, 3, 1, 9}}}), HasSubstr("ascend"));
  EXPECT_THAT(add(MonitorKind::kHashed, {{0, shape, 2, {1, 9, 1, 9}}}), HasSubstr("ascend"));
}

TEST(MonitorTest, ClassesAreThoseOfAPooledHead) {
  ModelConfig config;
  config.architecture = Architecture::kEncoder;
  config.num_encoder_layers = 1;
  config.num_attention_heads = 1;
  config.intermediate_size = 4;
  using Stack = PieceRecorder::Stack;
  EXPECT_EQ(ClassesOf(config, Stack::kEncoder), 1u);
  config.head = {HeadKind::kLinear, 10, Pooling::kNone};
  EXPECT_EQ(ClassesOf(config, Stack::kEncoder), 1u);
  config.head.pooling = Pooling::kMean;
  EXPECT_EQ(ClassesOf(config, Stack::kEncoder), 10u);
  MonitorDescription description = Description(MonitorKind::kBits, 10);
  EXPECT_TRUE(CheckFits(description, config).ok());
  description.classes = 9;
  EXPECT_THAT(CheckFits(description, config).message(), HasSubstr("expected 10"));
  description.selection.layers = {1};
  EXPECT_THAT(CheckFits(description, config).message(), HasSubstr("selection.layers"));
  config.architecture = Architecture::kEncoderDecoder;
  EXPECT_EQ(ClassesOf(config, Stack::kEncoder), 1u);
  EXPECT_EQ(ClassesOf(config, Stack::kDecoder), 10u);
}

}  // namespace
}  // namespace splineserve
