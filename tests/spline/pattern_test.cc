#include "core/spline/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Stack = PieceRecorder::Stack;

constexpr Site kSites[] = {Site::kSelfAttention, Site::kCrossAttention, Site::kFeedForward};

// A decoder's pieces with random bits: two layers, two heads at each attention, 11 units.
std::vector<TokenPiece> RandomPieces(size_t tokens, size_t sources, std::mt19937_64& random) {
  std::vector<TokenPiece> pieces(tokens);
  for (size_t t = 0; t < tokens; ++t) {
    const auto add = [&](size_t layer, Site site, size_t head, size_t width) {
      PieceGroup group{layer, site, head, static_cast<uint32_t>(width)};
      group.bits.resize((width + 7) / 8);
      for (size_t bit = 0; bit < width; ++bit) {
        if (random() % 2 == 0) continue;
        group.bits[bit / 8] |= static_cast<uint8_t>(1 << bit % 8);
        ++group.open;
      }
      pieces[t].groups.push_back(std::move(group));
    };
    for (size_t layer = 0; layer < 2; ++layer) {
      for (size_t head = 0; head < 2; ++head) add(layer, Site::kSelfAttention, head, t + 1);
      for (size_t head = 0; head < 2; ++head) add(layer, Site::kCrossAttention, head, sources);
      add(layer, Site::kFeedForward, 0, 11);
    }
  }
  return pieces;
}

template <typename T, typename U>
bool Chosen(const std::vector<T>& list, U value) {
  return list.empty() || std::find(list.begin(), list.end(), static_cast<T>(value)) != list.end();
}

// What the header says, gate by gate.
std::string SlowPattern(const PatternSelection& selection, const std::vector<TokenPiece>& pieces) {
  std::string gates;
  for (const TokenPiece& piece : pieces) {
    for (const PieceGroup& group : piece.groups) {
      if (!Chosen(selection.layers, group.layer) || !Chosen(selection.sites, group.site)) continue;
      for (size_t j = 0; j < group.width; ++j) {
        if (group.site == Site::kFeedForward && !Chosen(selection.units, j)) continue;
        gates += (group.bits[j / 8] >> (j % 8) & 1) != 0 ? '1' : '0';
      }
    }
  }
  return gates;
}

std::string Gates(const Pattern& pattern) {
  std::string gates;
  for (size_t i = 0; i < pattern.shape.gates; ++i)
    gates += (pattern.words[i / 64] >> (i % 64) & 1) != 0 ? '1' : '0';
  return gates;
}

TEST(PatternTest, HoldsTheChosenGatesInOrder) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  for (int run = 0; run < 500; ++run) {
    PatternSelection selection{.stack = Stack::kDecoder};
    if (random() % 2 == 0) selection.layers = {static_cast<uint32_t>(random() % 2)};
    for (const Site site : kSites) {
      if (random() % 2 == 0) selection.sites.push_back(site);
    }
    for (uint32_t unit = 0; unit < 11; ++unit) {
      if (random() % 4 == 0) selection.units.push_back(unit);
    }
    const size_t tokens = 1 + random() % 12, sources = 1 + random() % 20;
    const std::vector<TokenPiece> pieces = RandomPieces(tokens, sources, random);
    const Pattern pattern = PatternOf(selection, pieces);
    const std::string expected = SlowPattern(selection, pieces);
    ASSERT_EQ(pattern.shape.gates, expected.size());
    ASSERT_EQ(Gates(pattern), expected);
    ASSERT_EQ(pattern.shape.tokens, tokens);
    ASSERT_EQ(pattern.shape.source_tokens, Chosen(selection.sites, Site::kCrossAttention) ? sources : 0);
    ASSERT_EQ(pattern.words.size(), PatternWords(pattern.shape.gates));
    if (const uint32_t used = pattern.shape.gates % 64; used != 0) {
      ASSERT_EQ(pattern.words.back() >> used, 0u);
    }
  }
}

TEST(PatternTest, SelectionsAreSortedAndChecked) {
  PatternSelection selection{
      .layers = {1, 0, 1}, .sites = {Site::kFeedForward, Site::kSelfAttention}, .units = {5, 2, 5}};
  selection.Normalize();
  EXPECT_THAT(selection.layers, ElementsAre(0, 1));
  EXPECT_THAT(selection.sites, ElementsAre(Site::kSelfAttention, Site::kFeedForward));
  EXPECT_THAT(selection.units, ElementsAre(2, 5));

  ModelConfig config;
  config.architecture = Architecture::kEncoder;
  config.num_encoder_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 6;
  const auto problem = [&config](const PatternSelection& s) {
    return std::string(CheckSelection(s, config).message());
  };
  EXPECT_EQ(problem(selection), "");
  EXPECT_EQ(problem({.stack = Stack::kDecoder}),
            "selection.stack: expected ENCODER, the model's only stack, found DECODER");
  EXPECT_EQ(problem({.layers = {1, 2}}), "selection.layers: expected layers in [0, 2), found 2");
  EXPECT_EQ(problem({.units = {6}}), "selection.units: expected units in [0, 6), found 6");
  EXPECT_THAT(problem({.sites = {Site::kCrossAttention}}), HasSubstr("found CROSS_ATTENTION"));
  EXPECT_THAT(problem({.sites = {Site::kSelfAttention}, .units = {1}}), HasSubstr("selection.units"));
  config.hidden_act = HiddenAct::kGelu;
  EXPECT_THAT(problem({.sites = {Site::kFeedForward}}), HasSubstr("found FEED_FORWARD"));
  EXPECT_THAT(problem({.units = {1}}), HasSubstr("selection.units"));
  EXPECT_EQ(problem({}), "");
  config.attention_activation = AttentionActivation::kSoftmax;
  EXPECT_THAT(problem({}), HasSubstr("smooth"));
}

TEST(PatternTest, WideningAsksForBothAndNarrowingGivesBackWhatWasAsked) {
  std::mt19937_64 random(1);
  const std::vector<TokenPiece> all = RandomPieces(3, 4, random);
  // What a recorder gives for these options: the id stands for itself.
  const auto recorded = [&](const PieceOptions& options) {
    std::vector<TokenPiece> pieces = all;
    for (TokenPiece& piece : pieces) {
      piece.id = "id";
      if (options.detail == PieceDetail::kId) piece.groups.clear();
      std::erase_if(piece.groups, [&](const PieceGroup& group) {
        return !Chosen(options.layers, group.layer) || !Chosen(options.sites, group.site);
      });
      if (options.detail != PieceDetail::kCounts) continue;
      for (PieceGroup& group : piece.groups) group.bits.clear();
    }
    return pieces;
  };
  const std::vector<std::vector<size_t>> layer_lists = {{}, {0}, {1}, {1, 0}, {1, 1}};
  const std::vector<std::vector<Site>> site_lists = {
      {}, {Site::kFeedForward}, {Site::kCrossAttention, Site::kSelfAttention}};
  for (const auto& own_layers : layer_lists) {
    for (const auto& own_sites : site_lists) {
      for (const auto& layers : layer_lists) {
        for (const auto& sites : site_lists) {
          for (const PieceDetail detail :
               {PieceDetail::kNone, PieceDetail::kId, PieceDetail::kCounts, PieceDetail::kBits}) {
            PatternSelection selection{.stack = Stack::kDecoder, .sites = own_sites};
            selection.layers.assign(own_layers.begin(), own_layers.end());
            selection.Normalize();
            const PieceOptions asked{.detail = detail, .layers = layers, .sites = sites, .margins = true};
            const PieceOptions wide = Widen(asked, selection, 2);
            EXPECT_EQ(wide.detail, PieceDetail::kBits);
            EXPECT_TRUE(wide.margins);
            EXPECT_LE(wide.layers.size(), 2u);
            EXPECT_LE(wide.sites.size(), 3u);
            std::vector<TokenPiece> pieces = recorded(wide);
            EXPECT_EQ(PatternOf(selection, pieces), PatternOf(selection, all));
            if (detail == PieceDetail::kNone) continue;
            const std::vector<TokenPiece> expected = recorded(asked);
            for (size_t t = 0; t < pieces.size(); ++t) {
              Narrow(asked, pieces[t]);
              ASSERT_EQ(pieces[t].groups.size(), expected[t].groups.size());
              for (size_t g = 0; g < expected[t].groups.size(); ++g) {
                EXPECT_EQ(pieces[t].groups[g].layer, expected[t].groups[g].layer);
                EXPECT_EQ(pieces[t].groups[g].site, expected[t].groups[g].site);
                EXPECT_EQ(pieces[t].groups[g].bits, expected[t].groups[g].bits);
              }
            }
          }
        }
      }
    }
  }
}

TEST(PatternTest, WideningLeavesWhatIsWrongForTheEngineToRefuse) {
  const PieceOptions asked{.detail = PieceDetail::kId, .layers = {0, 7}};
  EXPECT_THAT(Widen(asked, {}, 2).layers, ElementsAre(0, 7, 1));
  const PieceOptions longer{.detail = PieceDetail::kBits, .layers = {0, 0, 0}};
  EXPECT_GT(Widen(longer, {.layers = {0}}, 2).layers.size(), 2u);
  EXPECT_THAT(Widen({}, {}, 2).layers, IsEmpty());
  EXPECT_THAT(Widen({}, {.layers = {1}}, 2).layers, ElementsAre(1));
}

}  // namespace
}  // namespace splineserve
