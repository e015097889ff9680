#include "core/model/screened_tiles.h"

#include <algorithm>

namespace splineserve {
namespace {

// Steps of the chains of one tile before the next one's: the weights of so many lie in the first-level cache
// (half of the sets of 32 KiB) while all rows pass over them.
constexpr size_t kSteps = 64;
// The share of candidates that are open after all, roughly.
constexpr double kOpenCandidates = 0.6;

size_t CeilDiv(size_t a, size_t b) { return (a + b - 1) / b; }

}  // namespace

bool ScreenedTiles::Find(const KernelSet& kernels, const ScreenView& screen, const PackedView& w, float scale,
                         bool square, const ScreenedInput& x, double limit, double expected, OpenRows& open) {
  const size_t units = screen.outer;
  rows_ = x.x().rows;
  blocks_ = CeilDiv(rows_, kCandidateRows);
  if (!Screen(kernels, screen, x, limit)) return false;
  Transpose(kernels, x.x());
  const double share = static_cast<double>(all_) / static_cast<double>(std::max<size_t>(rows_ * units, 1));
  const OpenListRoom& room =
      open.ListedInBlocks(rows_, units, expected < OpenRows::kUnknown ? expected : kOpenCandidates * share);
  size_t at = 0;
  for (size_t b = 0, column = 0; column < units; ++b) {
    const size_t end = std::min(units, (b + 1) << room.log2_block);
    const size_t first = column / kCandidateColumns;
    for (; column < end; column += kCandidateColumns) Compute(kernels, screen, w, column / kCandidateColumns);
    const size_t windows = CeilDiv(end, kCandidateColumns) - first;
    for (size_t block = 0; block < blocks_; ++block) {
      const CandidateTile* const tiles = &tiles_[first * blocks_ + block];
      for (size_t r = FirstRow(block); r < FirstRow(block + 1); ++r) {
        OpenSegment& segment = room.segments[b * rows_ + r];
        segment.begin = static_cast<uint32_t>(at);
        at += kernels.list_tiles(
            tiles, blocks_, windows, r - FirstRow(block), candidates_.data(), numbers_.data(), scale, square,
            static_cast<uint32_t>(first * kCandidateColumns), room.index + at, room.value + at);
        segment.end = static_cast<uint32_t>(at);
      }
    }
  }
  listed_ = at;
  return true;
}

void ScreenedTiles::Reserve(size_t rows, size_t inner, size_t outer) {
  const size_t blocks = CeilDiv(rows, kCandidateRows), panels = CeilDiv(outer, kScreenPanel);
  transposed_.EnsureSize(blocks * kCandidateRows * inner);
  tiles_.EnsureSize(2 * panels * blocks);
  candidates_.EnsureSize((panels * blocks + 1) * kMostOfTwoTiles);
  // As if all were candidates: what grows with what is found would allocate in the middle of a steady load.
  // One group more than that is read.
  numbers_.EnsureSize((2 * panels * blocks + 1) * kLaneBlock + rows * outer);
}

bool ScreenedTiles::Screen(const KernelSet& kernels, const ScreenView& screen, const ScreenedInput& x,
                           double limit) {
  const size_t panels = screen.panels();
  const double most = limit * static_cast<double>(rows_ * screen.outer);
  Reserve(rows_, x.x().cols, screen.outer);
  all_ = used_ = 0;
  for (size_t p = 0; p < panels; ++p) {
    for (size_t b = 0; b < blocks_; ++b) {
      CandidateTile* const left = &tiles_[2 * p * blocks_ + b];
      CandidateTile* const right = left + blocks_;
      used_ = kernels.screen_tiles(x.rows(FirstRow(b)), FirstRow(b + 1) - FirstRow(b), screen, p,
                                   candidates_.data(), used_, left, right);
      all_ += left->count() + right->count();
    }
    if (static_cast<double>(all_) > most) return false;
  }
  return true;
}

void ScreenedTiles::Compute(const KernelSet& kernels, const ScreenView& screen, const PackedView& w,
                            size_t window) {
  const size_t first = window * kCandidateColumns % kScreenPanel;
  const auto* const panel = static_cast<const std::byte*>(w.data) + window * kCandidateColumns /
                                                                        kScreenPanel * w.panel_stride *
                                                                        BytesPerNumber(w.format);
  for (size_t k = 0; k < w.inner || k == 0; k += kSteps) {
    TileOperands operands;
    operands.w = panel + (k * kScreenPanel + first) * BytesPerNumber(w.format);
    operands.format = w.format;
    operands.inner = std::min(kSteps, w.inner - k);
    operands.starts = k == 0 ? screen.starts + window * kCandidateColumns : nullptr;
    for (size_t b = 0; b < blocks_; ++b) {
      const CandidateTile& tile = tiles_[window * blocks_ + b];
      // One panel ahead.
      operands.ahead =
          b > 0 ? nullptr
                : static_cast<const std::byte*>(operands.w) + w.panel_stride * BytesPerNumber(w.format);
      operands.x = transposed_.data() + (b * w.inner + k) * kCandidateRows;
      kernels.tile_chains(operands, candidates_.data() + tile.begin, tile.count(),
                          numbers_.data() + tile.begin);
    }
  }
}

void ScreenedTiles::Transpose(const KernelSet& kernels, MatrixView<const float> x) {
  for (size_t b = 0; b < blocks_; ++b) {
    const size_t first = FirstRow(b);
    kernels.transpose(x.row(first), x.stride, FirstRow(b + 1) - first, x.cols,
                      transposed_.data() + b * kCandidateRows * x.cols, kCandidateRows);
  }
}

}  // namespace splineserve
