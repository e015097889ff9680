#include "core/spline/piece.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

namespace splineserve {
namespace {

TEST(PieceHashTest, IsCanonicalXxh3) {
  // XXH3-128 of no bytes with seed 0, as the algorithm's reference implementation prints it.
  EXPECT_EQ(absl::BytesToHexString(PieceHash({})), "99aa06d3014798d86001c324468d497f");
}

TEST(SequenceIdTest, HashesIdsInOrderAndIsEmptyWithoutThem) {
  const TokenPiece a{std::string(16, 'a'), {}, 0}, b{std::string(16, 'b'), {}, 0}, none{"", {}, 0};
  const std::string both = std::string(std::string_view(a.id)).append(std::string_view(b.id));
  EXPECT_EQ(SequenceId({{a, b}}), PieceHash({reinterpret_cast<const uint8_t*>(both.data()), both.size()}));
  EXPECT_NE(SequenceId({{a, b}}), SequenceId({{b, a}}));
  EXPECT_EQ(SequenceId({{none, none}}), "");
  EXPECT_EQ(SequenceId({}), "");
}

}  // namespace
}  // namespace splineserve
