// Time of a monitor's verdict over random patterns: none is near, so that no search ends early.
//
//   build/release/bench/monitor_bench
#include <random>

#include "benchmark/benchmark.h"
#include "core/kernels/hamming.h"
#include "core/spline/monitor.h"

namespace splineserve {
namespace {

Pattern RandomPattern(uint32_t gates, std::mt19937_64& random) {
  Pattern pattern{{1, 0, gates}, std::vector<uint64_t>(PatternWords(gates))};
  for (uint64_t& word : pattern.words) word = random();
  if (gates % 64 != 0) pattern.words.back() >>= 64 - gates % 64;
  return pattern;
}

void Judge(benchmark::State& state, MonitorKind kind) {
  constexpr uint32_t kClasses = 10;
  const size_t patterns = static_cast<size_t>(state.range(0));
  const uint32_t gates = static_cast<uint32_t>(state.range(1));
  std::mt19937_64 random(1);
  MonitorBuilder builder =
      MonitorBuilder::Create({.digest = std::string(32, '0'), .kind = kind, .classes = kClasses}).value();
  for (size_t i = 0; i < patterns; ++i) builder.Add(i % kClasses, RandomPattern(gates, random)).value();
  const PatternMonitor monitor = std::move(builder).Build();
  const Pattern query = RandomPattern(gates, random);
  for (auto _ : state) benchmark::DoNotOptimize(monitor.Judge(query, 3, 10));
  state.SetLabel(std::to_string(monitor.bytes() >> 10) + " KiB");
}

BENCHMARK_CAPTURE(Judge, bits, MonitorKind::kBits)
    ->Args({1221, 2048})
    ->Args({5000, 5000})
    ->Args({100000, 2048});
BENCHMARK_CAPTURE(Judge, hashed, MonitorKind::kHashed)->Args({1221, 2048})->Args({100000, 2048});

void Portably(benchmark::State& state) {
  std::mt19937_64 random(1);
  std::vector<uint64_t> rows(5000 * 79), query(79);
  for (uint64_t& word : rows) word = random();
  for (uint64_t& word : query) word = random();
  for (auto _ : state) benchmark::DoNotOptimize(FindNearestRowPortably(rows.data(), 5000, 79, query.data()));
}
BENCHMARK(Portably);

}  // namespace
}  // namespace splineserve

BENCHMARK_MAIN();
