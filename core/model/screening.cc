#include "core/model/screening.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <new>
#include <optional>
#include <tuple>
#include <vector>

#include "core/base/cpu_cache.h"
#include "core/kernels/screen.h"
#include "core/model/keep_fastest.h"
#include "core/model/open_rows.h"
#include "core/model/screened_units.h"

namespace splineserve {
namespace {

// Rows that stand for many: of more, screening gains a little more, because they share the columns of their
// candidates where those do not fit the second-level cache.
constexpr size_t kManyRows = 36;
constexpr int kTurns = 4;
// Screening must win by so much of the product's time, for measurements are not exact.
constexpr double kMargin = 0.9;
// Above this nobody would gain much, and a disturbed measurement could say anything.
constexpr double kMost = 0.6;
// Of a gate that opens one time in twenty: its threshold in standard deviations.
constexpr float kThreshold = 1.645f;

// The share of candidates at which screening `rows` rows takes as long as their product, at least 0. Inputs
// are random, with thresholds so high that gates are as sparse as where it is about to pay.
double MeasureLimit(const KernelSet& kernels, const PackedView& packed, const ScreenView& screen,
                    size_t rows) {
  AlignedBuffer<float> x(rows * screen.inner), out(rows * screen.outer);
  uint32_t random = 1;
  for (size_t i = 0; i < x.size(); ++i) {
    random = random * 1664525u + 1013904223u;
    x[i] = static_cast<float>(static_cast<int32_t>(random)) * 0x1p-31f;
  }
  // Uniform inputs in (-1, 1) deviate by 3^-1/2.
  std::vector<float> biases(screen.panels() * kScreenPanel, -1.0f), closed(biases.size(), 0.0f);
  for (size_t n = 0; n < screen.outer; ++n) {
    biases[n] = -kThreshold * screen.lengths[n] / std::sqrt(3.0f);
    closed[n] = -static_cast<float>(screen.inner) * screen.lengths[n] - 1;
  }
  ScreenView sparse = screen, shut = screen;
  sparse.biases = biases.data();
  shut.biases = closed.data();

  ScreenedUnits units;
  OpenRows open;
  ScreenedInput input;
  const RowListRoom lists = open.ListedByCaller(rows, screen.outer);
  const auto find = [&](const ScreenView& view) {
    input.Prepare({x.data(), rows, screen.inner});
    for (size_t r = 0; r < rows; ++r) input.Round(kernels, r);
    units.Find(kernels, view, {0, screen.panels()}, biases.data(), false, input, 1, lists);
  };
  double product = 1e9, screening = 1e9, all = 1e9;
  for (int i = 0; i < kTurns; ++i) {
    KeepFastest(product, [&] {
      kernels.product(x.data(), screen.inner, rows, packed, nullptr, 1.0f, out.data(), screen.outer);
    });
    KeepFastest(screening, [&] { find(shut); });
    KeepFastest(all, [&] { find(sparse); });
  }
  const double share = static_cast<double>(units.candidates()) / static_cast<double>(rows * screen.outer);
  const double limit = share * (kMargin * product - screening) / std::max(all - screening, 1e-9);
  return std::clamp(limit, 0.0, kMost);
}

struct Layer {
  FeedForwardWeights* weights;
  size_t bytes;
};

std::vector<Layer> LayersOf(ModelWeights& weights, bool always) {
  std::vector<Layer> layers;
  for (std::optional<StackWeights>* stack : {&weights.decoder, &weights.encoder}) {
    if (!stack->has_value()) continue;
    for (LayerWeights& layer : (*stack)->layers) {
      const PackedMatrix& up = layer.feed_forward.up.weight;
      const size_t bytes = ScreenedMatrix::Bytes(up.inner(), up.outer());
      if (up.outer() == 0) continue;  // lower precision
      // Many rows gain little where their candidates' columns come from beyond that cache: 144 rows of 512 by
      // 2,048 weights, 3 % open, take 0.92 of the time of the product, of 256 by 1,024 0.78.
      const bool many_rows = stack == &weights.encoder;
      if (many_rows && bytes > SecondLevelCacheBytes() && !always) continue;
      layers.push_back({&layer.feed_forward, bytes});
    }
  }
  return layers;
}

void MakeScreen(FeedForwardWeights& network) {
  try {
    network.screen = ScreenedMatrix::Make(network.up.weight, network.up.bias_or_null());
  } catch (const std::bad_alloc&) {
    network.screen = ScreenedMatrix();
  }
}

ScreenLimit MeasureLimits(const KernelSet& kernels, const FeedForwardWeights& network) {
  if (network.screen.empty()) return {};
  const auto at = [&](size_t rows) {
    return MeasureLimit(kernels, network.up.weight.view(), network.screen.view(), rows);
  };
  return {at(1), at(ScreenLimit::kFewRows), at(kManyRows)};
}

}  // namespace

void AddScreens(const KernelSet* kernels, ThreadPool* pool, const ScreenOptions& options,
                ModelWeights& weights) {
  const HiddenAct act = weights.config.hidden_act;
  if (act != HiddenAct::kRelu && act != HiddenAct::kRelu2) return;
  if (!options.always && (kernels == nullptr || !kernels->fast_screen)) return;
  // By shape and format: all layers share one measurement, of the first.
  std::map<std::tuple<size_t, size_t, WeightFormat>, ScreenLimit> measured;
  std::vector<FeedForwardWeights*> others;
  size_t used = 0;
  for (const Layer& layer : LayersOf(weights, options.always)) {
    if (used + layer.bytes > options.bytes) break;
    FeedForwardWeights& network = *layer.weights;
    const PackedView packed = network.up.weight.view();
    const auto [found, inserted] = measured.try_emplace({packed.inner, packed.outer, packed.format});
    ScreenLimit& limit = found->second;
    if (inserted) {
      MakeScreen(network);
      limit = options.always ? ScreenLimit{1, 1, 1} : MeasureLimits(*kernels, network);
      if (!limit.pays()) network.screen = ScreenedMatrix();
    } else if (limit.pays()) {
      others.push_back(&network);
    }
    network.screen_limit = limit;
    if (limit.pays()) used += layer.bytes;
  }
  const auto make = [&](size_t i, size_t) { MakeScreen(*others[i]); };
  if (pool != nullptr) {
    pool->ParallelFor(others.size(), make);
  } else {
    for (size_t i = 0; i < others.size(); ++i) make(i, 0);
  }
}

}  // namespace splineserve
