#include "core/model/key_screen.h"

#include <algorithm>

namespace splineserve {
namespace {

constexpr size_t kPerKey = 5;  // scales, errors, lengths, biases and starts

size_t Panels(size_t keys) { return (keys + kScreenPanel - 1) / kScreenPanel; }

}  // namespace

const ScreenView* KeyScreen::Of(const KernelSet& kernels, size_t sequence, size_t head,
                                const PackedView& keys) {
  if (!made_ || sequence != sequence_ || head != head_) {
    can_ = Make(kernels, keys);
    made_ = true;
    sequence_ = sequence;
    head_ = head;
  }
  return can_ ? &view_ : nullptr;
}

void KeyScreen::Reserve(size_t inner, size_t keys) {
  const size_t padded = Panels(keys) * kScreenPanel;
  words_.EnsureSize((inner + 3) / 4 * padded);
  sums_.EnsureSize(padded);
  per_key_.EnsureSize(kPerKey * padded);
}

bool KeyScreen::Make(const KernelSet& kernels, const PackedView& keys) {
  Reserve(keys.inner, keys.outer);
  const size_t padded = Panels(keys.outer) * kScreenPanel;
  view_ = ScreenView();
  view_.inner = keys.inner;
  view_.outer = keys.outer;
  view_.inner_words = (keys.inner + 3) / 4;
  view_.panel_stride = view_.inner_words * kScreenPanel;
  float* const scales = per_key_.data();
  float* const errors = scales + padded;
  float* const lengths = errors + padded;
  float* const biases = lengths + padded;
  float* const starts = biases + padded;
  view_.words = words_.data();
  view_.sums = sums_.data();
  view_.scales = scales;
  view_.errors = errors;
  view_.lengths = lengths;
  view_.biases = biases;
  view_.starts = starts;
  std::fill_n(starts, padded, 0.0f);
  const auto* const numbers = static_cast<const float*>(keys.data);
  for (size_t p = 0; p < Panels(keys.outer); ++p) {
    const size_t n = p * kScreenPanel;
    const ScreenPanel out = {words_.data() + p * view_.panel_stride,
                             sums_.data() + n,
                             scales + n,
                             errors + n,
                             lengths + n,
                             biases + n};
    if (!kernels.screen_columns(numbers + p * keys.panel_stride, keys.inner,
                                std::min(kScreenPanel, keys.outer - n), out)) {
      return false;
    }
  }
  return true;
}

}  // namespace splineserve
