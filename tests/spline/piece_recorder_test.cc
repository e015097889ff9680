#include "core/spline/piece_recorder.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace splineserve {
namespace {

ModelConfig TinyConfig() {
  ModelConfig config;
  config.architecture = Architecture::kEncoderDecoder;
  config.num_encoder_layers = 1;
  config.num_decoder_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 11;
  return config;
}

// Writes a pattern into every group that the recorder wants, as an evaluator would, and returns the bytes of
// each token's groups in the specified order.
std::vector<std::string> FillDecoder(PieceRecorder& recorder, size_t sequence, size_t position, size_t count,
                                     size_t memory) {
  std::vector<std::string> bytes(count);
  uint8_t next = 1;
  for (size_t t = 0; t < count; ++t) {
    const auto group = [&](size_t layer, Site site, size_t head, size_t width) {
      const GateGroupRef ref{sequence, position + t, layer, site, head, width};
      uint8_t* const bits = recorder.Bits(ref);
      for (size_t b = 0; b < (width + 7) / 8; ++b) bytes[t] += static_cast<char>(bits[b] = next++);
      recorder.Record(ref, {static_cast<uint32_t>(next), static_cast<float>(next), true});
    };
    for (size_t layer = 0; layer < 2; ++layer) {
      for (size_t head = 0; head < 2; ++head) group(layer, Site::kSelfAttention, head, position + t + 1);
      for (size_t head = 0; head < 2; ++head) group(layer, Site::kCrossAttention, head, memory);
      group(layer, Site::kFeedForward, 0, 11);
    }
  }
  return bytes;
}

TEST(PieceRecorderTest, HashesGroupsInOrderAndListsThem) {
  PieceRecorder recorder(TinyConfig(), PieceRecorder::Stack::kDecoder);
  PieceOptions none, bits;
  bits.detail = PieceDetail::kBits;
  bits.margins = true;
  recorder.AddSequence(none, 0, 2, 0, 5);
  recorder.AddSequence(bits, 6, 3, 0,
                       9);  // positions 6..8: self-attention widths 7, 8, 9 cross a byte boundary
  EXPECT_TRUE(recorder.wanted());
  EXPECT_EQ(recorder.Bits({0, 0, 0, Site::kFeedForward, 0, 11}), nullptr);
  EXPECT_FALSE(recorder.WantsMargin(0));
  EXPECT_TRUE(recorder.WantsMargin(1));
  const std::vector<std::string> bytes = FillDecoder(recorder, 1, 6, 3, 9);
  for (size_t t = 0; t < 3; ++t) {
    const TokenPiece piece = recorder.Take(1, t);
    EXPECT_EQ(piece.id, PieceHash({reinterpret_cast<const uint8_t*>(bytes[t].data()), bytes[t].size()})) << t;
    ASSERT_EQ(piece.groups.size(), 2u * (2 + 2 + 1));
    std::string joined;
    float margin = std::numeric_limits<float>::infinity();
    for (const PieceGroup& group : piece.groups) {
      joined.append(group.bits.begin(), group.bits.end());
      EXPECT_EQ(group.margin, static_cast<float>(group.open));
      margin = std::min(margin, group.margin);
    }
    EXPECT_EQ(joined, bytes[t]);
    EXPECT_EQ(piece.margin, margin);
    EXPECT_EQ(piece.groups[0].width, 7u + t);
    EXPECT_EQ(piece.groups[2].width, 9u);
    EXPECT_EQ(piece.groups[4].width, 11u);
  }
}

// All heads of an attention at once are its heads one by one.
TEST(PieceRecorderTest, HeadsTogetherAreHeadsOneByOne) {
  PieceOptions none, bits;
  bits.detail = PieceDetail::kBits;
  bits.margins = true;
  PieceRecorder apart(TinyConfig(), PieceRecorder::Stack::kDecoder),
      together(TinyConfig(), PieceRecorder::Stack::kDecoder);
  for (PieceRecorder* recorder : {&apart, &together}) {
    recorder->AddSequence(none, 0, 2, 0, 5);
    recorder->AddSequence(bits, 6, 3, 0, 9);
  }
  std::vector<uint8_t*> heads(2);
  EXPECT_FALSE(together.BitsOfHeads({0, 0, 0, Site::kSelfAttention, 0, 1}, absl::MakeSpan(heads)));
  FillDecoder(apart, 1, 6, 3, 9);
  uint8_t next = 1;
  for (size_t t = 0; t < 3; ++t) {
    for (size_t layer = 0; layer < 2; ++layer) {
      for (const Site site : {Site::kSelfAttention, Site::kCrossAttention}) {
        const size_t width = site == Site::kSelfAttention ? 6 + t + 1 : 9;
        const GateGroupRef first{1, 6 + t, layer, site, 0, width};
        ASSERT_TRUE(together.BitsOfHeads(first, absl::MakeSpan(heads)));
        std::vector<GateRow> rows;
        for (uint8_t* const head : heads) {
          for (size_t b = 0; b < (width + 7) / 8; ++b) head[b] = next++;
          rows.push_back({next, static_cast<float>(next), true});
        }
        together.RecordHeads(first, rows);
      }
      const GateGroupRef units{1, 6 + t, layer, Site::kFeedForward, 0, 11};
      uint8_t* const unit_bits = together.Bits(units);
      for (size_t b = 0; b < 2; ++b) unit_bits[b] = next++;
      together.Record(units, {next, static_cast<float>(next), true});
    }
  }
  for (size_t t = 0; t < 3; ++t) {
    const TokenPiece a = apart.Take(1, t), b = together.Take(1, t);
    EXPECT_EQ(a.id, b.id);
    ASSERT_EQ(a.groups.size(), b.groups.size());
    for (size_t g = 0; g < a.groups.size(); ++g) {
      EXPECT_EQ(a.groups[g].bits, b.groups[g].bits) << g;
      EXPECT_EQ(a.groups[g].open, b.groups[g].open) << g;
      EXPECT_EQ(a.groups[g].margin, b.groups[g].margin) << g;
    }
  }
}

TEST(PieceLayoutTest, GroupsOneAfterAnotherAreThoseByIndex) {
  const PieceLayout layout(TinyConfig(), PieceLayout::Stack::kDecoder);
  const PieceLayout::Widths widths = layout.WidthsOf(6, 0, 9);
  size_t index = 0;
  layout.ForGroups(widths, [&](const PieceLayout::Group& group) {
    EXPECT_EQ(layout.Index(group.layer, group.site, group.head), index);
    const PieceLayout::Group at = layout.At(index++, widths);
    EXPECT_EQ(group.layer, at.layer);
    EXPECT_EQ(group.site, at.site);
    EXPECT_EQ(group.head, at.head);
    EXPECT_EQ(group.width, at.width);
  });
  EXPECT_EQ(index, layout.groups());
}

TEST(PieceRecorderTest, FiltersListGroupsButNeverChangeIds) {
  PieceOptions all, filtered;
  all.detail = PieceDetail::kBits;
  filtered.detail = PieceDetail::kCounts;
  filtered.layers = {1};
  filtered.sites = {Site::kCrossAttention, Site::kFeedForward};
  PieceRecorder recorder(TinyConfig(), PieceRecorder::Stack::kDecoder);
  recorder.AddSequence(all, 0, 1, 0, 3);
  recorder.AddSequence(filtered, 0, 1, 0, 3);
  FillDecoder(recorder, 0, 0, 1, 3);
  FillDecoder(recorder, 1, 0, 1, 3);
  const TokenPiece piece = recorder.Take(1, 0);
  EXPECT_EQ(piece.id, recorder.Take(0, 0).id);
  ASSERT_EQ(piece.groups.size(), 3u);
  for (const PieceGroup& group : piece.groups) {
    EXPECT_EQ(group.layer, 1u);
    EXPECT_NE(group.site, Site::kSelfAttention);
    EXPECT_TRUE(group.bits.empty());
  }
}

TEST(PieceRecorderTest, SmoothSitesHaveNoGroups) {
  ModelConfig config = TinyConfig();
  config.attention_activation = AttentionActivation::kSoftmax;
  PieceOptions options;
  options.detail = PieceDetail::kBits;
  PieceRecorder recorder(config, PieceRecorder::Stack::kEncoder);
  recorder.AddSequence(options, 0, 1, 1, 0);
  recorder.Record({0, 0, 0, Site::kFeedForward, 0, 11}, {3, 0, true});
  ASSERT_EQ(recorder.Take(0, 0).groups.size(), 1u);
  EXPECT_EQ(recorder.Take(0, 0).groups[0].open, 3u);

  config.hidden_act = HiddenAct::kGelu;
  PieceRecorder smooth(config, PieceRecorder::Stack::kEncoder);
  smooth.AddSequence(options, 0, 1, 1, 0);
  EXPECT_EQ(smooth.Take(0, 0).id, "");
  EXPECT_TRUE(smooth.Take(0, 0).groups.empty());
}

}  // namespace
}  // namespace splineserve
