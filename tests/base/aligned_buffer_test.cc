#include "core/base/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
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

}  // namespace
}  // namespace splineserve
