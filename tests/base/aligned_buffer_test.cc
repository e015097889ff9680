#include "core/base/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <new>
#include <utility>

namespace splineserve {
namespace {

TEST(AlignedBufferTest, StartsOnACacheLineAndHoldsZeros) {
  for (size_t size : {1u, 3u, 16u, 1000u}) {
    const AlignedBuffer<float> buffer(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kCacheLineBytes, 0u);
    for (size_t i = 0; i < size; ++i) EXPECT_EQ(buffer[i], 0.0f) << i;
  }
}

TEST(AlignedBufferTest, EmptyHasNoMemory) {
  EXPECT_EQ(AlignedBuffer<float>().data(), nullptr);
  EXPECT_EQ(AlignedBuffer<float>(0).data(), nullptr);
}

TEST(AlignedBufferTest, MoveLeavesTheSourceEmpty) {
  AlignedBuffer<int> from(4);
  from[2] = 7;
  const AlignedBuffer<int> to = std::move(from);
  EXPECT_EQ(to[2], 7);
  EXPECT_EQ(to.size(), 4u);
  EXPECT_EQ(from.size(), 0u);  // NOLINT(bugprone-use-after-move): the state after a move is the point
}

TEST(AlignedBufferTest, EnsureSizeGrowsButNeverShrinks) {
  AlignedBuffer<float> buffer(10);
  const float* const before = buffer.data();
  buffer.EnsureSize(5);
  EXPECT_EQ(buffer.data(), before);
  buffer.EnsureSize(11);
  EXPECT_GE(buffer.size(), 11u);
}

// Pieces of every size around a block's, the last larger than the largest block.
TEST(AlignedArenaTest, PiecesAreAlignedApartAndOutliveTheArenasMove) {
  AlignedArena first;
  std::vector<AlignedBuffer<uint32_t>> pieces;
  for (const size_t bytes :
       {size_t{4}, size_t{68}, size_t{1} << 20, size_t{3} << 20, size_t{12}, size_t{65} << 20}) {
    pieces.push_back(first.Take<uint32_t>(bytes / sizeof(uint32_t)));
    ASSERT_EQ(reinterpret_cast<uintptr_t>(pieces.back().data()) % kCacheLineBytes, 0u) << bytes;
    ASSERT_EQ(pieces.back().size(), bytes / sizeof(uint32_t));
    // Both ends of each: overlapping pieces, or one past its block, would change another's or crash.
    pieces.back()[0] = static_cast<uint32_t>(pieces.size());
    pieces.back()[pieces.back().size() - 1] = static_cast<uint32_t>(pieces.size());
  }
  const AlignedArena second = std::move(first);
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces[i][0], i + 1);
    EXPECT_EQ(pieces[i][pieces[i].size() - 1], i + 1);
  }
  // A buffer that is assigned another memory leaves the arena's alone, and frees its own.
  const uint32_t* const borrowed = pieces[1].data();
  pieces[1].EnsureSize(1000);
  EXPECT_NE(pieces[1].data(), borrowed);
  EXPECT_EQ(borrowed[0], 2u);
}

TEST(AlignedArenaTest, RefusesWhatNoMemoryCanHold) {
  AlignedArena arena;
  EXPECT_THROW(arena.Take<float>(SIZE_MAX / 2), std::bad_alloc);
  EXPECT_THROW(arena.Take<uint8_t>(SIZE_MAX - 3), std::bad_alloc);
}

}  // namespace
}  // namespace splineserve
