// Speed of the kernels against what the processor can do, on one thread.
//
//   build/release/bench/kernels_bench --benchmark_filter=avx512
//
// Products report GFLOP/s and `of_peak`: the share of a pure FMA loop's rate. The loop runs interleaved with
// the kernel (every few milliseconds) because clocks move and machines are shared: the share is steadier than
// either rate.
#include <time.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/packing.h"
#include "core/kernels/screen.h"
#include "core/kernels/token_blocks.h"
#include "core/model/open_rows.h"
#include "core/model/screened_input.h"
#include "core/model/screened_tiles.h"
#include "core/model/screened_units.h"
#include "tests/bench/fma_peak.h"

namespace splineserve {
namespace {

// Time that this thread ran: waiting for a processor that others use does not count.
double Seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Median of the samples.
double Median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + x.size() / 2, x.end());
  return x[x.size() / 2];
}

AlignedBuffer<float> Numbers(size_t n, uint32_t seed) {
  AlignedBuffer<float> x(n);
  for (size_t i = 0; i < n; ++i) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = static_cast<float>(static_cast<int32_t>(seed)) * 0x1p-31f;
  }
  return x;
}

PackedMatrix Pack(const AlignedBuffer<float>& w, size_t outer, size_t inner, WeightFormat format) {
  if (format == WeightFormat::kFloat32) return PackedMatrix::FromRows({w.data(), outer, inner});
  // Bits of normal numbers in either format.
  std::vector<uint16_t> halves;
  for (size_t i = 0; i < w.size(); ++i) {
    halves.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(w[i]) >> 16 & 0xBFFF));
  }
  return PackedMatrix::FromRows({halves.data(), outer, inner}, format);
}

// Weights are `copies` matrices used in turn: 1 leaves them in cache, many stream them from memory.
void Product(benchmark::State& state, const KernelSet* set, size_t rows, size_t inner, size_t outer,
             size_t copies, WeightFormat format) {
  const AlignedBuffer<float> x = Numbers(rows * inner, 1);
  const AlignedBuffer<float> w = Numbers(outer * inner, 2);
  std::vector<PackedMatrix> packed;
  for (size_t i = 0; i < copies; ++i) packed.push_back(Pack(w, outer, inner, format));
  AlignedBuffer<float> out(rows * outer);
  const double flops = 2.0 * static_cast<double>(rows * inner * outer);
  // About a millisecond of each kind at a time.
  const size_t repeats = std::max<size_t>(1, static_cast<size_t>(1e8 / flops));
  std::vector<double> rates, peaks;
  size_t next = 0;
  for (auto _ : state) {
    const double t0 = Seconds();
    for (size_t i = 0; i < repeats; ++i) {
      set->product(x.data(), inner, rows, packed[next++ % copies].view(), nullptr, 1, out.data(), outer);
    }
    const double t1 = Seconds();
    const int64_t peak = bench::RunFmaPeak(200000);
    const double t2 = Seconds();
    state.SetIterationTime((t1 - t0) / static_cast<double>(repeats));
    rates.push_back(flops * static_cast<double>(repeats) / (t1 - t0));
    peaks.push_back(static_cast<double>(peak) / (t2 - t1));
  }
  std::vector<double> shares;
  for (size_t i = 0; i < rates.size(); ++i) shares.push_back(rates[i] / peaks[i]);
  state.counters["GFLOPs"] = Median(rates) * 1e-9;
  state.counters["peak"] = Median(peaks) * 1e-9;
  state.counters["of_peak"] = Median(shares);
  state.counters["weights_GBs"] =
      Median(rates) / flops * static_cast<double>(inner * outer * BytesPerNumber(format)) * 1e-9;
}

void Gate(benchmark::State& state, const KernelSet* set, size_t n, bool bits, bool margin) {
  const AlignedBuffer<float> x = Numbers(n, 3);
  AlignedBuffer<float> row(n);
  std::vector<uint8_t> mask(n / 8 + 1);
  for (auto _ : state) {
    std::copy_n(x.data(), n, row.data());
    benchmark::DoNotOptimize(set->gate(row.data(), n, false, bits ? mask.data() : nullptr, margin));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(n));
}

// One token of a generation: 4 heads of 32, as g2p has. All heads in one call, which reads closed keys'
// values or does not, or each by itself as it was before (a gated product, then a product with the values).
// The gates are the same in every round, so that the processor foresees which are open: reading closed keys'
// values, which in a model spares it that, only costs here.
void TokenAttentionOf(benchmark::State& state, const KernelSet* set, size_t tokens, bool one_call,
                      bool read_closed) {
  constexpr size_t kHeads = 4, kDim = 32, kCapacity = 64;
  const AlignedBuffer<float> query = Numbers(kHeads * kDim, 4),
                             memory = Numbers(kHeads * 2 * kDim * kCapacity, 5);
  const TokenAttention attention = {.query = query.data(),
                                    .blocks = memory.data(),
                                    .heads = kHeads,
                                    .head_dim = kDim,
                                    .tokens = tokens,
                                    .read_closed = read_closed};
  const PackedView all_keys = {memory.data(), kDim, tokens, PanelWidth(tokens), kDim * PanelWidth(tokens)};
  const PackedView all_values = {memory.data() + kDim * kCapacity, tokens, kDim, PanelWidth(kDim),
                                 kCapacity * PanelWidth(kDim)};
  constexpr size_t kHeadStride = 2 * kDim * kCapacity;
  std::vector<GateRow> gates(kHeads);
  std::vector<GateState> states(1);
  std::vector<float> out(kHeads * kDim), scores(kCapacity);
  for (auto _ : state) {
    if (one_call) {
      set->attend_token(attention, gates.data(), out.data());
    } else {
      for (size_t head = 0; head < kHeads; ++head) {
        const GateSpec spec = {.states = states.data()};
        PackedView keys = all_keys, values = all_values;
        keys.data = memory.data() + head * kHeadStride;
        values.data = memory.data() + head * kHeadStride + kDim * kCapacity;
        states[0].Reset();
        set->gated_product(query.data() + head * kDim, kDim, 1, keys, nullptr, 1, spec, scores.data(),
                           kCapacity);
        gates[head] = states[0].Summary(false);
        set->product(scores.data(), kCapacity, 1, values, nullptr, 1, out.data() + head * kDim, kDim);
      }
    }
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
}

// Keys of 128 tokens, 8 heads of 64, on their way into panels: by the kernel, or number by number where there
// is no set.
void Transpose(benchmark::State& state, const KernelSet* set) {
  constexpr size_t kTokens = 128, kHeads = 8, kDim = 64, kStride = kHeads * kDim, kWidth = kMaxPanelWidth;
  const AlignedBuffer<float> keys = Numbers(kTokens * kStride, 14);
  AlignedBuffer<float> panels(kTokens * kStride);
  for (auto _ : state) {
    for (size_t head = 0; head < kHeads; ++head) {
      for (size_t t = 0; t < kTokens; t += kWidth) {
        const float* const x = keys.data() + t * kStride + head * kDim;
        float* const out = panels.data() + (head * kTokens + t) * kDim;
        if (set != nullptr) {
          set->transpose(x, kStride, kWidth, kDim, out, kWidth);
          continue;
        }
        for (size_t r = 0; r < kWidth; ++r) {
          for (size_t c = 0; c < kDim; ++c) out[c * kWidth + r] = x[r * kStride + c];
        }
      }
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kTokens * kStride));
}

// Keys and values of 8 tokens, 8 heads of 32, on their way into blocks of tokens.
void StoreTokens(benchmark::State& state, const KernelSet* set) {
  constexpr size_t kTokens = 8, kHeads = 8, kDim = 32, kStride = kHeads * kDim;
  const AlignedBuffer<float> keys = Numbers(kTokens * kStride, 12), values = Numbers(kTokens * kStride, 13);
  const TokenBlocks layout = {kHeads, kDim};
  AlignedBuffer<float> blocks(layout.Size(kTokens));
  for (auto _ : state) {
    set->store_tokens({keys.data(), kStride, values.data(), kStride}, kTokens, layout, blocks.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(2 * kTokens * kStride));
}

// Scores of 36 queries with 2,048 keys, some 10 % of them open, and their lists: made by the product, by a
// pass over the scores afterwards, or not at all.
enum class Lists { kNone, kByProduct, kAfterwards };
void Scores(benchmark::State& state, const KernelSet* set, Lists lists) {
  constexpr size_t kRows = 36, kDim = 64, kKeys = 2048, kLog2Block = 8;
  const AlignedBuffer<float> query = Numbers(kRows * kDim, 6), memory = Numbers(kDim * kKeys, 7);
  const PackedView keys = {memory.data(), kDim, kKeys, kMaxPanelWidth, kDim * kMaxPanelWidth};
  AlignedBuffer<float> scores(kRows * kKeys), value(kRows * (kKeys + kOpenListSlack));
  AlignedBuffer<uint32_t> index(value.size());
  std::vector<OpenSegment> segments(kRows * OpenBlocks(kKeys, kLog2Block));
  const OpenListRoom room = {index.data(),    value.data(), kKeys + kOpenListSlack,
                             segments.data(), kRows,        kLog2Block};
  // A bias closes all scores but the highest tenth of a first run.
  std::vector<float> bias(kKeys), first(kRows * kKeys);
  set->product(query.data(), kDim, kRows, keys, nullptr, 1, first.data(), kKeys);
  const auto tenth = first.begin() + static_cast<std::ptrdiff_t>(first.size() * 9 / 10);
  std::nth_element(first.begin(), tenth, first.end());
  std::fill(bias.begin(), bias.end(), -*tenth);
  AlignedBuffer<GateState> states(kRows);
  GateSpec spec;
  spec.states = states.data();
  if (lists == Lists::kByProduct) spec.lists = &room;
  for (auto _ : state) {
    for (size_t r = 0; r < kRows; ++r) states[r].Reset();
    set->gated_product(query.data(), kDim, kRows, keys, bias.data(), 1, spec, scores.data(), kKeys);
    for (size_t r = 0; lists == Lists::kAfterwards && r < kRows; ++r) {
      set->list_open(scores.data() + r * kKeys, kKeys, 0, index.data() + r * kKeys, value.data() + r * kKeys);
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kRows * kKeys));
}

// 144 rows of 2,048 numbers, of which `open` per cent are above zero, times 512 columns, by lists in blocks
// of 2^log2_block columns. GFLOP/s of what is open.
void SparseProduct(benchmark::State& state, const KernelSet* set, size_t open, size_t log2_block) {
  constexpr size_t kRows = 144, kInner = 2048, kOuter = 512;
  const AlignedBuffer<float> picks = Numbers(kRows * kInner, 10), weights = Numbers(kInner * kOuter, 11);
  const PackedMatrix w = PackedMatrix::FromRows({weights.data(), kOuter, kInner});
  std::vector<float> x(kRows * kInner), value(kRows * (kInner + kOpenListSlack)), out(kRows * kOuter);
  std::vector<uint32_t> index(value.size());
  std::vector<OpenSegment> segments(kRows * OpenBlocks(kInner, log2_block));
  const auto threshold = 1 - static_cast<float>(open) / 50;  // of uniform numbers in (-1, 1)
  std::transform(picks.data(), picks.data() + picks.size(), x.begin(),
                 [&](float pick) { return pick > threshold ? 1.0f : 0.0f; });
  size_t at = 0;
  for (size_t s = 0; s < segments.size(); ++s) {
    const size_t column = s / kRows << log2_block, begin = at;
    at += set->list_open(x.data() + s % kRows * kInner + column,
                         std::min(kInner - column, size_t{1} << log2_block), column, index.data() + at,
                         value.data() + at);
    segments[s] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(at)};
  }
  for (auto _ : state) {
    set->sparse_product({index.data(), value.data(), segments.data(), kRows, log2_block}, kRows, w.view(),
                        nullptr, out.data(), kOuter);
    benchmark::ClobberMemory();
  }
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * static_cast<double>(at * kOuter),
                                                 benchmark::Counter::kIsIterationInvariantRate);
}

// The open units of some rows, of which every `one_of`th gate is open: by the product of all with its gates,
// or by screening, row by row or in tiles.
enum class Units { kAll, kScreened, kTiles };
void OpenUnits(benchmark::State& state, const KernelSet* set, size_t rows, size_t inner, size_t outer,
               size_t one_of, Units units) {
  const AlignedBuffer<float> x = Numbers(rows * inner, 8), weights = Numbers(inner * outer, 9);
  const PackedMatrix w = PackedMatrix::FromRows({weights.data(), outer, inner});
  std::vector<float> numbers(rows * outer), bias(outer);
  set->product(x.data(), inner, rows, w.view(), nullptr, 1, numbers.data(), outer);
  std::vector<float> sorted = numbers;
  const auto limit = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() - sorted.size() / one_of);
  std::nth_element(sorted.begin(), limit, sorted.end());
  std::fill(bias.begin(), bias.end(), -*limit);
  const ScreenedMatrix screen = ScreenedMatrix::Make(w, bias.data());
  const ScreenView& view = screen.view();
  ScreenedInput input;
  ScreenedUnits by_row;
  ScreenedTiles in_tiles;
  OpenRows open;
  AlignedBuffer<GateState> states(rows);
  GateSpec spec;
  spec.states = states.data();
  for (auto _ : state) {
    if (units == Units::kAll) {
      set->gated_product(x.data(), inner, rows, w.view(), bias.data(), 1, spec, numbers.data(), outer);
    } else {
      input.Prepare({x.data(), rows, inner});
      for (size_t r = 0; r < rows; ++r) input.Round(*set, r);
      if (units == Units::kTiles) {
        in_tiles.Find(*set, view, w.view(), 1.0f, false, input, 1, OpenRows::kUnknown, open);
      } else {
        by_row.Find(*set, view, {0, view.panels()}, bias.data(), false, input, 1,
                    open.ListedByCaller(rows, outer));
      }
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(rows * outer));
}

void ExpandRow(benchmark::State& state, const KernelSet* set, WeightFormat format) {
  constexpr size_t kNumbers = 160;
  const std::vector<uint16_t> row(kNumbers, 0x3c00);
  std::vector<float> out(kNumbers);
  for (auto _ : state) {
    set->expand(row.data(), format, kNumbers, out.data());
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kNumbers));
}

void Register() {
  struct Shape {
    size_t inner, outer;
  };
  benchmark::RegisterBenchmark("transpose/number_by_number", Transpose, nullptr);
  for (const KernelSet* set : AvailableKernelSets()) {
    const std::string target = set->name;
    for (const Shape shape :
         {Shape{512, 512}, Shape{512, 2048}, Shape{2048, 512}, Shape{128, 512}, Shape{512, 128},
          Shape{128, 128}, Shape{256, 1024}, Shape{64, 128}, Shape{128, 64}, Shape{32, 20}, Shape{20, 32},
          Shape{1024, 4096}, Shape{4096, 1024}}) {
      for (size_t rows : {1, 2, 3, 4, 8, 16, 128, 512}) {
        const std::string name = "product/" + target + "/rows:" + std::to_string(rows) +
                                 "/inner:" + std::to_string(shape.inner) +
                                 "/outer:" + std::to_string(shape.outer);
        benchmark::RegisterBenchmark(name.c_str(), Product, set, rows, shape.inner, shape.outer, 1,
                                     WeightFormat::kFloat32)
            ->UseManualTime();
      }
    }
    benchmark::RegisterBenchmark(("store_tokens/" + target).c_str(), StoreTokens, set);
    benchmark::RegisterBenchmark(("transpose/" + target).c_str(), Transpose, set);
    for (size_t open : {90, 50, 10, 3}) {
      for (size_t log2_block : {size_t{7}, size_t{8}, size_t{9}, kWholeRowLog2Block}) {
        const std::string name = "sparse_product/" + target + "/open:" + std::to_string(open) +
                                 "/log2_block:" + std::to_string(log2_block);
        benchmark::RegisterBenchmark(name.c_str(), SparseProduct, set, open, log2_block);
      }
    }
    benchmark::RegisterBenchmark(("scores/" + target).c_str(), Scores, set, Lists::kNone);
    benchmark::RegisterBenchmark(("scores/" + target + "/listed").c_str(), Scores, set, Lists::kByProduct);
    benchmark::RegisterBenchmark(("scores/" + target + "/listed_afterwards").c_str(), Scores, set,
                                 Lists::kAfterwards);
    for (const Shape shape : {Shape{160, 640}, Shape{512, 2048}, Shape{1024, 4096}}) {
      if (!set->fast_screen) break;
      for (size_t rows : {1, 4, 16, 144}) {
        for (size_t one_of : {10, 33, 100}) {
          const std::string name = "open_units/" + target + "/rows:" + std::to_string(rows) +
                                   "/inner:" + std::to_string(shape.inner) +
                                   "/outer:" + std::to_string(shape.outer) +
                                   "/one_of:" + std::to_string(one_of);
          benchmark::RegisterBenchmark((name + "/all").c_str(), OpenUnits, set, rows, shape.inner,
                                       shape.outer, one_of, Units::kAll);
          benchmark::RegisterBenchmark((name + "/screened").c_str(), OpenUnits, set, rows, shape.inner,
                                       shape.outer, one_of, Units::kScreened);
          benchmark::RegisterBenchmark((name + "/tiles").c_str(), OpenUnits, set, rows, shape.inner,
                                       shape.outer, one_of, Units::kTiles);
        }
      }
    }
    struct Format {
      WeightFormat format;
      const char* suffix;
    };
    for (const Format format :
         {Format{WeightFormat::kFloat32, ""}, Format{WeightFormat::kBfloat16, "/bfloat16"},
          Format{WeightFormat::kFloat16, "/float16"}}) {
      for (size_t rows : {1, 4, 16, 128}) {
        const std::string name = target + "/rows:" + std::to_string(rows) + format.suffix;
        benchmark::RegisterBenchmark(("square/" + name).c_str(), Product, set, rows, 1024, 1024, 1,
                                     format.format)
            ->UseManualTime();
        // 64 MB of weights (32 in 16 bits): more than any cache here.
        benchmark::RegisterBenchmark(("stream/" + name).c_str(), Product, set, rows, 1024, 1024, 16,
                                     format.format)
            ->UseManualTime();
      }
    }
    for (size_t tokens : {8, 16, 40}) {
      const std::string name = "token_attention/" + target + "/tokens:" + std::to_string(tokens);
      benchmark::RegisterBenchmark((name + "/one_call").c_str(), TokenAttentionOf, set, tokens, true, false);
      benchmark::RegisterBenchmark((name + "/one_call_that_reads_closed").c_str(), TokenAttentionOf, set,
                                   tokens, true, true);
      benchmark::RegisterBenchmark((name + "/head_by_head").c_str(), TokenAttentionOf, set, tokens, false,
                                   false);
    }
    benchmark::RegisterBenchmark(("expand/" + target + "/bfloat16").c_str(), ExpandRow, set,
                                 WeightFormat::kBfloat16);
    benchmark::RegisterBenchmark(("expand/" + target + "/float16").c_str(), ExpandRow, set,
                                 WeightFormat::kFloat16);
    benchmark::RegisterBenchmark(("gate/" + target + "/values").c_str(), Gate, set, 2048, false, false);
    benchmark::RegisterBenchmark(("gate/" + target + "/bits").c_str(), Gate, set, 2048, true, false);
    benchmark::RegisterBenchmark(("gate/" + target + "/bits+margin").c_str(), Gate, set, 2048, true, true);
  }
}

}  // namespace
}  // namespace splineserve

int main(int argc, char** argv) {
  splineserve::Register();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
