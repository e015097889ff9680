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
#include "core/model/head_block.h"
#include "core/model/keep_fastest.h"
#include "core/model/key_screen.h"
#include "core/model/open_rows.h"
#include "core/model/screened_tiles.h"
#include "core/model/screened_units.h"

namespace splineserve {
namespace {

constexpr int kLeastTurns = 4, kMostTurns = 40;
constexpr double kLeastSeconds = 1e-3;  // of products
// `up` maps of so many bytes, and the others of their layers, come from memory anew in every evaluation: a
// core of a shared machine has a few megabytes of the last cache. Screening in tiles reads a quarter more of
// them: of few rows, which are as fast as the memory, it then takes longer than the product, whatever is
// measured with one layer (16 tokens of d = 512, 3 % of the units open: 1.1 times as long).
constexpr size_t kStreamed = size_t{8} << 20;
// Screening must win by so much of the product's time, for measurements are not exact.
constexpr double kMargin = 0.95;
// Above this nobody would gain much, and a disturbed measurement could say anything.
constexpr double kMost = 0.6;
// Of gates that open one time in twenty, and in ten: their thresholds in standard deviations. Tiles pay up to
// more candidates, and the more they are, the fuller the vectors.
constexpr float kRowsThreshold = 1.645f, kTilesThreshold = 1.282f;

// Random inputs, and thresholds so high that gates are as sparse as where screening is about to pay.
struct Trial {
  Trial(const ScreenView& screen, size_t rows, float threshold)
      : x(rows * screen.inner), biases(screen.panels() * kScreenPanel, -1.0f), closed(biases.size(), 0.0f) {
    uint32_t random = 1;
    for (size_t i = 0; i < x.size(); ++i) {
      random = random * 1664525u + 1013904223u;
      x[i] = static_cast<float>(static_cast<int32_t>(random)) * 0x1p-31f;
    }
    // Uniform inputs in (-1, 1) deviate by 3^-1/2.
    for (size_t n = 0; n < screen.outer; ++n) {
      biases[n] = -threshold * screen.lengths[n] / std::sqrt(3.0f);
      closed[n] = -static_cast<float>(screen.inner) * screen.lengths[n] - 1;
    }
    sparse = shut = screen;
    sparse.biases = sparse.starts = biases.data();
    shut.biases = closed.data();
  }

  AlignedBuffer<float> x;
  std::vector<float> biases, closed;
  ScreenView sparse, shut;  // with few gates that are open, and with none that may be
};

// The share of candidates at which screening `rows` rows takes as long as their product, at least 0. `find`
// screens once and returns how many candidates there were.
template <typename Find>
double MeasureLimit(const KernelSet& kernels, const PackedView& packed, const Trial& trial, size_t rows,
                    const Find& find) {
  AlignedBuffer<float> out(rows * packed.outer);
  double product = 1e9, screening = 1e9, all = 1e9;
  size_t candidates = 0;
  for (int i = 0; i < kLeastTurns || (i < kMostTurns && i * product < kLeastSeconds); ++i) {
    KeepFastest(product, [&] {
      kernels.product(trial.x.data(), packed.inner, rows, packed, nullptr, 1.0f, out.data(), packed.outer);
    });
    KeepFastest(screening, [&] { find(trial.shut); });
    KeepFastest(all, [&] { candidates = find(trial.sparse); });
  }
  const double share = static_cast<double>(candidates) / static_cast<double>(rows * packed.outer);
  const double limit = share * (kMargin * product - screening) / std::max(all - screening, 1e-9);
  return std::clamp(limit, 0.0, kMost);
}

double MeasureRows(const KernelSet& kernels, const PackedView& packed, const ScreenView& screen,
                   size_t rows) {
  if (screen.columns == nullptr) return 0;
  const Trial trial(screen, rows, kRowsThreshold);
  ScreenedUnits units;
  OpenRows open;
  ScreenedInput input;
  const RowListRoom lists = open.ListedByCaller(rows, screen.outer);
  return MeasureLimit(kernels, packed, trial, rows, [&](const ScreenView& view) {
    input.Prepare({trial.x.data(), rows, screen.inner});
    for (size_t r = 0; r < rows; ++r) input.Round(kernels, r);
    units.Find(kernels, view, {0, screen.panels()}, trial.biases.data(), false, input, 1, lists);
    return units.candidates();
  });
}

double MeasureTiles(const KernelSet& kernels, const PackedView& packed, const ScreenView& screen,
                    size_t rows) {
  if (!ScreenedTiles::CanScreen(packed)) return 0;
  const Trial trial(screen, rows, kTilesThreshold);
  ScreenedTiles tiles;
  OpenRows open;
  ScreenedInput input;
  return MeasureLimit(kernels, packed, trial, rows, [&](const ScreenView& view) {
    input.Prepare({trial.x.data(), rows, screen.inner});
    for (size_t r = 0; r < rows; ++r) input.Round(kernels, r);
    tiles.Find(kernels, view, packed, 1.0f, false, input, 1, OpenRows::kUnknown, open);
    return tiles.candidates();
  });
}

// The same of scores, of a block of queries and keys of `head_dim` numbers.
double MeasureScores(const KernelSet& kernels, size_t head_dim) {
  constexpr size_t kKeys = 512;
  std::vector<float> numbers(kKeys * head_dim);
  uint32_t random = 2;
  for (float& number : numbers) {
    random = random * 1664525u + 1013904223u;
    number = static_cast<float>(static_cast<int32_t>(random)) * 0x1p-31f;
  }
  const PackedMatrix keys = PackedMatrix::FromRows({numbers.data(), kKeys, head_dim});
  KeyScreen screen;
  const ScreenView* const view = screen.Of(kernels, 0, 0, keys.view());
  return view == nullptr ? 0 : MeasureTiles(kernels, keys.view(), *view, kQueryBlock);
}

// Whether scores of this model never overflow where rows and keys can be screened, and have their gates open
// where they are above zero.
bool CanScreenScores(const ModelConfig& config) {
  return IsGated(config.attention_activation) && config.head_dim <= kLongestScreened &&
         config.attention_scale > 0 && config.attention_scale <= kMostScreened;
}

void AddScoreScreens(const KernelSet* kernels, bool always, ModelWeights& weights) {
  if (!CanScreenScores(weights.config)) return;
  const double limit = always ? 1 : MeasureScores(*kernels, weights.config.head_dim);
  for (std::optional<StackWeights>* stack : {&weights.decoder, &weights.encoder}) {
    if (!stack->has_value()) continue;
    for (LayerWeights& layer : (*stack)->layers) {
      layer.self_attention.screen_limit = limit;
      if (layer.cross_attention.has_value()) layer.cross_attention->screen_limit = limit;
    }
  }
}

struct Layer {
  FeedForwardWeights* weights;
  ScreenedMatrix::Columns columns;
  size_t bytes;
};

std::vector<Layer> LayersOf(ModelWeights& weights, bool always) {
  std::vector<Layer> layers;
  for (std::optional<StackWeights>* stack : {&weights.decoder, &weights.encoder}) {
    if (!stack->has_value()) continue;
    for (LayerWeights& layer : (*stack)->layers) {
      const PackedMatrix& up = layer.feed_forward.up.weight;
      if (up.outer() == 0) continue;  // lower precision
      const auto bytes_with = [&](ScreenedMatrix::Columns columns) {
        return ScreenedMatrix::Bytes(up.inner(), up.outer(), columns);
      };
      // Only few rows read columns, as a decoder's step has: of an encoder they are worth their memory where
      // they are small.
      auto columns = ScreenedMatrix::Columns::kAll;
      if (stack == &weights.encoder && bytes_with(columns) > SecondLevelCacheBytes() && !always) {
        columns = ScreenedMatrix::Columns::kNone;
      }
      layers.push_back({&layer.feed_forward, columns, bytes_with(columns)});
    }
  }
  return layers;
}

void MakeScreen(const Layer& layer) {
  FeedForwardWeights& network = *layer.weights;
  try {
    network.screen = ScreenedMatrix::Make(network.up.weight, network.up.bias_or_null(), layer.columns);
  } catch (const std::bad_alloc&) {
    network.screen = ScreenedMatrix();
  }
}

ScreenLimit MeasureLimits(const KernelSet& kernels, const FeedForwardWeights& network) {
  if (network.screen.empty()) return {};
  const PackedView packed = network.up.weight.view();
  const ScreenView& screen = network.screen.view();
  ScreenLimit limit;
  limit.rows = {MeasureRows(kernels, packed, screen, 1),
                MeasureRows(kernels, packed, screen, ScreenLimit::kFewRows),
                MeasureRows(kernels, packed, screen, ScreenLimit::kSomeRows)};
  limit.tiles = {MeasureTiles(kernels, packed, screen, ScreenLimit::kSomeRows),
                 MeasureTiles(kernels, packed, screen, ScreenLimit::kManyRows)};
  return limit;
}

}  // namespace

void AddScreens(const KernelSet* kernels, ThreadPool* pool, const ScreenOptions& options,
                ModelWeights& weights) {
  if (!options.always && (kernels == nullptr || !kernels->fast_screen || options.bytes == 0)) return;
  AddScoreScreens(kernels, options.always, weights);
  const HiddenAct act = weights.config.hidden_act;
  if (act != HiddenAct::kRelu && act != HiddenAct::kRelu2) return;
  // By shape and format: all layers share one measurement, of the first.
  std::map<std::tuple<size_t, size_t, WeightFormat, ScreenedMatrix::Columns>, ScreenLimit> measured;
  std::vector<Layer> others;
  size_t used = 0, up_bytes = 0;
  const std::vector<Layer> layers = LayersOf(weights, options.always);
  for (const Layer& layer : layers) up_bytes += layer.weights->up.weight.bytes();
  for (const Layer& layer : layers) {
    if (used + layer.bytes > options.bytes) continue;
    FeedForwardWeights& network = *layer.weights;
    const PackedView packed = network.up.weight.view();
    const auto [found, inserted] =
        measured.try_emplace({packed.inner, packed.outer, packed.format, layer.columns});
    ScreenLimit& limit = found->second;
    if (inserted) {
      MakeScreen(layer);
      limit = options.always ? ScreenLimit{{1, 1, 1}, {1, 1}} : MeasureLimits(*kernels, network);
      if (up_bytes >= kStreamed && !options.always) limit.tiles.some = 0;
      if (!limit.pays()) network.screen = ScreenedMatrix();
    } else if (limit.pays()) {
      others.push_back(layer);
    }
    network.screen_limit = limit;
    if (limit.pays()) used += layer.bytes;
  }
  const auto make = [&](size_t i, size_t) { MakeScreen(others[i]); };
  if (pool != nullptr) {
    pool->ParallelFor(others.size(), make);
  } else {
    for (size_t i = 0; i < others.size(); ++i) make(i, 0);
  }
}

}  // namespace splineserve
