#include "core/model/screening.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/cpu_cache.h"
#include "core/kernels/screen.h"
#include "core/model/open_rows.h"
#include "core/model/screened_units.h"

namespace splineserve {
namespace {

// Rows that stand for many: of more, screening gains a little more, because they share the columns of their
// candidates where those do not fit the second-level cache.
constexpr size_t kManyRows = 36;
constexpr int kTurns = 4;
// The bound of how noise may change a decision that would be a loss.
constexpr double kMargin = 0.9;
// Of a gate that opens one time in twenty: its threshold in standard deviations.
constexpr float kThreshold = 1.645f;

template <typename Body>
void KeepFastest(double& fastest, const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  fastest =
      std::min(fastest, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

// Above this nobody would gain much, and a disturbed measurement could say anything.
constexpr double kMost = 0.6;

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
  const MatrixView<const float> inputs(x.data(), rows, screen.inner);
  const OpenListRoom& lists = open.ListedByCaller(rows, screen.outer);
  const auto find = [&](const ScreenView& view) {
    units.Find(kernels, view, {0, screen.panels()}, biases.data(), false, inputs, 1, lists);
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

}  // namespace

void AddScreens(const KernelSet* kernels, ThreadPool* pool, const ScreenOptions& options,
                ModelWeights& weights) {
  const HiddenAct act = weights.config.hidden_act;
  if (act != HiddenAct::kRelu && act != HiddenAct::kRelu2) return;
  if (!options.always && (kernels == nullptr || !kernels->fast_screen)) return;
  std::vector<Layer> layers = LayersOf(weights, options.always);
  size_t taken = 0, used = 0;
  while (taken < layers.size() && used + layers[taken].bytes <= options.bytes) used += layers[taken++].bytes;
  layers.resize(taken);
  const auto make = [&](size_t i, size_t) {
    FeedForwardWeights& layer = *layers[i].weights;
    layer.screen = ScreenedMatrix::Make(layer.up.weight, layer.up.bias_or_null());
  };
  if (pool != nullptr) {
    pool->ParallelFor(layers.size(), make);
  } else {
    for (size_t i = 0; i < layers.size(); ++i) make(i, 0);
  }

  // By shape and format: all layers share one measurement.
  std::map<std::tuple<size_t, size_t, WeightFormat>, ScreenLimit> measured;
  for (const Layer& layer : layers) {
    if (layer.weights->screen.empty()) continue;
    if (options.always) {
      layer.weights->screen_limit = {1, 1};
      continue;
    }
    const PackedView packed = layer.weights->up.weight.view();
    const ScreenView& screen = layer.weights->screen.view();
    const auto [found, inserted] = measured.try_emplace({packed.inner, packed.outer, packed.format});
    if (inserted) {
      found->second = {MeasureLimit(*kernels, packed, screen, 1),
                       MeasureLimit(*kernels, packed, screen, kManyRows)};
    }
    layer.weights->screen_limit = found->second;
  }
}

}  // namespace splineserve
