#include "core/spline/frozen_piece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/spline/piece_recorder.h"

namespace splineserve {
namespace {

using ::testing::HasSubstr;

constexpr size_t kTokens = 3, kMemory = 9;

ModelConfig TinyConfig() {
  ModelConfig config;
  config.architecture = Architecture::kEncoderDecoder;
  config.num_encoder_layers = 1;
  config.num_decoder_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 11;
  return config;
}

PieceLayout Decoder() { return PieceLayout(TinyConfig(), PieceLayout::Stack::kDecoder); }

// What a recorder makes of gates that are open where a counter says so.
std::vector<TokenPiece> Recorded(size_t tokens = kTokens, size_t memory = kMemory) {
  PieceRecorder recorder(TinyConfig(), PieceRecorder::Stack::kDecoder);
  recorder.AddSequence({.detail = PieceDetail::kBits}, 0, tokens, 0, memory);
  uint32_t counter = 0;
  for (size_t t = 0; t < tokens; ++t) {
    const PieceLayout::Widths widths = Decoder().WidthsOf(t, tokens, memory);
    for (size_t g = 0; g < Decoder().groups(); ++g) {
      const PieceLayout::Group at = Decoder().At(g, widths);
      const GateGroupRef group = {0, t, at.layer, at.site, at.head, at.width};
      uint8_t* const bits = recorder.Bits(group);
      uint32_t open = 0;
      for (size_t gate = 0; gate < at.width; ++gate) {
        if (++counter % 3 != 0) continue;
        bits[gate / 8] |= static_cast<uint8_t>(1u << (gate % 8));
        ++open;
      }
      recorder.Record(group, {open, 0, true});
    }
  }
  return recorder.TakeAll(0);
}

TEST(FrozenPieceTest, FindsEveryGroup) {
  const std::vector<TokenPiece> pieces = Recorded();
  const FrozenPiece frozen(Decoder(), pieces);
  for (size_t t = 0; t < kTokens; ++t) {
    for (const PieceGroup& group : pieces[t].groups) {
      EXPECT_EQ(frozen.Bits({0, t, group.layer, group.site, group.head, group.width}), group.bits.data());
    }
  }
}

TEST(PieceLayoutTest, CountsMemoryOfWholePieces) {
  const size_t bytes = Decoder().WholePieceBytes(kTokens, kMemory);
  size_t held = 0;
  for (const TokenPiece& piece : Recorded()) {
    held += sizeof(piece) + piece.groups.capacity() * sizeof(PieceGroup);
    for (const PieceGroup& group : piece.groups) held += group.bits.capacity();
  }
  EXPECT_GT(bytes, held);
  EXPECT_LT(bytes, 4 * held);
}

class GivenPiecesTest : public ::testing::Test {
 protected:
  absl::Status Check() { return CheckGivenPieces(Decoder(), kTokens, kMemory, "given.decoder", pieces_); }
  void ExpectRefused(const std::string& place, const std::string& expected) {
    const absl::Status status = Check();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(place));
    EXPECT_THAT(std::string(status.message()), HasSubstr(expected));
  }
  PieceGroup& Group(size_t token, size_t group) { return pieces_[token].groups[group]; }

  std::vector<TokenPiece> pieces_ = Recorded();
};

TEST_F(GivenPiecesTest, RecordedOnesPassAndIdsAndCountsAreFilledIn) {
  EXPECT_TRUE(Check().ok());
  const std::vector<TokenPiece> complete = pieces_;
  for (TokenPiece& piece : pieces_) {
    piece.id.clear();
    for (PieceGroup& group : piece.groups) group.open = 0;
  }
  EXPECT_TRUE(Check().ok());
  for (size_t t = 0; t < kTokens; ++t) {
    EXPECT_EQ(pieces_[t].id, complete[t].id);
    for (size_t g = 0; g < complete[t].groups.size(); ++g) {
      EXPECT_EQ(Group(t, g).open, complete[t].groups[g].open);
    }
  }
}

TEST_F(GivenPiecesTest, NumbersOfTokensAndGroups) {
  pieces_.pop_back();
  ExpectRefused("given.decoder:", "3 tokens, found 2");
  pieces_ = Recorded(kTokens + 1);
  ExpectRefused("given.decoder:", "3 tokens, found 4");
  pieces_ = Recorded();
  pieces_[1].groups.pop_back();
  ExpectRefused("given.decoder[1]:", "10, as Encode and Decode list them");
  pieces_ = Recorded();
  pieces_[2].groups.push_back(Group(2, 0));
  ExpectRefused("given.decoder[2]:", "found 11");
}

TEST_F(GivenPiecesTest, OrderOfGroups) {
  std::swap(Group(1, 0), Group(1, 1));
  ExpectRefused("given.decoder[1]:", "layer 0, self-attention head 0 next");
  pieces_ = Recorded();
  Group(0, 7).layer = 0;
  ExpectRefused("given.decoder[0]:", "layer 1, cross-attention head 0 next");
  pieces_ = Recorded();
  Group(0, 4).site = Site::kSelfAttention;
  ExpectRefused("given.decoder[0]:", "layer 0, feed-forward next");
  pieces_ = Recorded();
  Group(0, 4).head = 1;
  ExpectRefused("given.decoder[0]:", "found layer 0, feed-forward head 1");
}

TEST_F(GivenPiecesTest, Widths) {
  ++Group(1, 1).width;
  ExpectRefused("given.decoder[1], layer 0, self-attention head 1, width:", "2 gates, found 3");
  pieces_ = Recorded(kTokens, kMemory + 1);
  ExpectRefused("given.decoder[0], layer 0, cross-attention head 0, width:", "9 gates, found 10");
}

TEST_F(GivenPiecesTest, BytesAndPadding) {
  Group(0, 3).bits.push_back(0);
  ExpectRefused("given.decoder[0], layer 0, cross-attention head 1, bits:", "2 bytes for 9 gates, found 3");
  pieces_ = Recorded();
  Group(0, 3).bits.clear();
  ExpectRefused("bits:", "found 0");
  for (const int bit : {3, 7}) {  // of the second byte of 11 units
    pieces_ = Recorded();
    Group(2, 9).bits[1] = static_cast<uint8_t>(Group(2, 9).bits[1] | 1u << bit);
    ExpectRefused("given.decoder[2], layer 1, feed-forward, bits:", "zeros after the last of 11 gates");
  }
}

TEST_F(GivenPiecesTest, CountsAndIds) {
  ++Group(0, 4).open;
  ExpectRefused("given.decoder[0], layer 0, feed-forward, open:", "the open gates in bits");
  pieces_ = Recorded();
  std::string other(std::string_view(pieces_[1].id));
  other[15] = static_cast<char>(other[15] ^ 1);
  pieces_[1].id = other;
  ExpectRefused("given.decoder[1].id:", "the hash of the bits");
  pieces_ = Recorded();
  Group(1, 4).bits[0] ^= 1;  // another gate: neither its count nor the id can stay
  Group(1, 4).open = 0;
  ExpectRefused("given.decoder[1].id:", "the hash of the bits");
  pieces_ = Recorded();
  pieces_[1].id = "short";
  ExpectRefused("given.decoder[1].id:", "found 5 bytes");
}

TEST(GivenPiecesWithoutGatesTest, HaveNoIds) {
  ModelConfig config = TinyConfig();
  config.attention_activation = AttentionActivation::kSoftmax;
  config.hidden_act = HiddenAct::kGelu;
  const PieceLayout layout(config, PieceLayout::Stack::kEncoder);
  std::vector<TokenPiece> pieces(2);
  EXPECT_TRUE(CheckGivenPieces(layout, 2, 0, "given.encoder", pieces).ok());
  pieces[1].id = std::string(16, 'x');
  EXPECT_THAT(std::string(CheckGivenPieces(layout, 2, 0, "given.encoder", pieces).message()),
              HasSubstr("none, for the token has no gates"));
}

TEST(DescribedTest, ShowsWhatIsAskedFor) {
  const TokenPiece whole = Recorded()[2];
  EXPECT_TRUE(Described(whole, {}).id.empty());
  EXPECT_EQ(Described(whole, {.detail = PieceDetail::kId}).id, whole.id);
  EXPECT_TRUE(Described(whole, {.detail = PieceDetail::kId}).groups.empty());
  const TokenPiece counts = Described(whole, {.detail = PieceDetail::kCounts, .layers = {1}});
  ASSERT_EQ(counts.groups.size(), 5u);
  EXPECT_EQ(counts.groups[0].layer, 1u);
  EXPECT_EQ(counts.groups[4].open, whole.groups[9].open);
  EXPECT_TRUE(counts.groups[4].bits.empty());
  const TokenPiece bits = Described(whole, {.detail = PieceDetail::kBits, .sites = {Site::kCrossAttention}});
  ASSERT_EQ(bits.groups.size(), 4u);
  EXPECT_EQ(bits.groups[3].bits, whole.groups[8].bits);
}

}  // namespace
}  // namespace splineserve
