#include "client/piece_text.h"

#include "client/generation_text.h"
#include "gtest/gtest.h"

namespace splineserve::client {
namespace {

v1::TokenPiece::Group* AddGroup(v1::TokenPiece::Layer& layer, v1::Site::Value site, uint32_t head,
                                uint32_t width, uint32_t open) {
  v1::TokenPiece::Group* group = layer.add_groups();
  group->set_site(site);
  group->set_head(head);
  group->set_width(width);
  group->set_open(open);
  return group;
}

// Two tokens, two layers, two heads.
TokenPieces SamplePieces() {
  TokenPieces pieces;
  for (uint32_t token = 0; token < 2; ++token) {
    v1::TokenPiece& piece = *pieces.Add();
    piece.set_id(std::string(15, '\0') + static_cast<char>(0xa0 + token));
    for (uint32_t l = 0; l < 2; ++l) {
      v1::TokenPiece::Layer& layer = *piece.add_layers();
      layer.set_layer(l);
      AddGroup(layer, v1::Site::SELF_ATTENTION, 0, 2, l);
      AddGroup(layer, v1::Site::SELF_ATTENTION, 1, 2, token);
      AddGroup(layer, v1::Site::FEED_FORWARD, 0, 16, 10 * l + token);
    }
  }
  return pieces;
}

TEST(PieceTable, CountsOfAllHeadsBesideEachOther) {
  EXPECT_EQ(PieceTable(SamplePieces(), {"h", "i"}, ""),
            "token     piece                             layer  self-attention  feed-forward\n"
            "    0  h  000000000000000000000000000000a0      0        0 0 of 2       0 of 16\n"
            "                                                1        1 0 of 2      10 of 16\n"
            "    1  i  000000000000000000000000000000a1      0        0 1 of 2       1 of 16\n"
            "                                                1        1 1 of 2      11 of 16\n");
}

TEST(PieceTable, IdsAlone) {
  TokenPieces pieces = SamplePieces();
  for (auto& piece : pieces) piece.clear_layers();
  pieces[1].clear_id();
  EXPECT_EQ(PieceTable(pieces, {}, "  "),
            "  token  piece\n"
            "      0  000000000000000000000000000000a0\n"
            "      1  (no gates)\n");
}

TEST(PieceTable, BitsWithOneLineAGroup) {
  TokenPieces pieces = SamplePieces();
  pieces.RemoveLast();
  pieces[0].mutable_layers()->RemoveLast();
  pieces[0].set_margin(0.25);
  for (auto& group : *pieces[0].mutable_layers(0)->mutable_groups()) {
    group.set_bits(group.width() == 16 ? std::string("\x01\xfe", 2) : std::string("\x02", 1));
    group.set_margin(0.5);
  }
  EXPECT_EQ(PieceTable(pieces, {}, ""),
            "token  piece                             layer  site            head     open  margin  bits\n"
            "    0  000000000000000000000000000000a0      0  self-attention     0   0 of 2     0.5  02\n"
            "                                             0  self-attention     1   0 of 2     0.5  02\n"
            "                                             0  feed-forward          0 of 16     0.5  01fe\n");
}

TEST(OpenGatesLine, SumsOverTokensAndLayers) {
  EXPECT_EQ(OpenGatesLine(SamplePieces()),
            "open gates: 4 of 16 in self-attention (25.0 %), 22 of 64 in feed-forward (34.4 %)");
  EXPECT_EQ(OpenGatesLine({}), "");
}

TEST(PieceNote, CallsOnlyExactModelsPolynomial) {
  EXPECT_NE(PieceNote(v1::ModelInfo::EXACT, 9).find("one polynomial of degree at most 9."),
            std::string::npos);
  for (auto spline_class : {v1::ModelInfo::EXACT, v1::ModelInfo::REGIONAL, v1::ModelInfo::SMOOTH}) {
    EXPECT_NE(PieceNote(spline_class, 0).find("depends on other tokens' gates"), std::string::npos);
    EXPECT_EQ(PieceNote(spline_class, 0).find("spline"), std::string::npos);
  }
  EXPECT_NE(PieceNote(v1::ModelInfo::REGIONAL, 0).find("not polynomial"), std::string::npos);
  EXPECT_NE(PieceNote(v1::ModelInfo::SMOOTH, 0).find("not a polynomial"), std::string::npos);
}

TEST(Hex, IsLowercase) { EXPECT_EQ(Hex(std::string("\x00\xAB", 2)), "00ab"); }

TEST(GenerationPieces, SaysWhichTokenEachPositionChose) {
  v1::GenerateResponse response;
  *response.mutable_prompt_pieces() = SamplePieces();
  response.mutable_prompt_pieces()->RemoveLast();
  v1::Hypothesis& best = *response.mutable_result()->add_hypotheses();
  v1::GeneratedToken& token = *best.add_tokens();
  token.set_text("K");
  *token.mutable_piece() = SamplePieces()[1];
  *best.mutable_end_piece() = SamplePieces()[0];
  best.set_sequence_id("\x01");
  const std::string text = GenerationPieces(response);
  EXPECT_NE(text.find("0  prompt  "), std::string::npos) << text;
  EXPECT_NE(text.find("1  -> K    "), std::string::npos) << text;
  EXPECT_NE(text.find("2  -> (end)  "), std::string::npos) << text;
  EXPECT_NE(text.find("  sequence 01\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace splineserve::client
