// Speed of whole models with random weights (about half of all gates open), through the engine: what a
// request costs beyond its products.
//
//   build/release/bench/model_bench --benchmark_filter=Encode
//
// Reports tokens/s and GFLOP/s; a multiply-add counts as two operations, closed gates count as computed.
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/substitute.h"
#include "benchmark/benchmark.h"
#include "core/engine/engine.h"
#include "tests/testing/model_builder.h"

namespace splineserve {
namespace {

std::shared_ptr<const LoadedModel> RandomEncoder(int64_t d, int64_t layers, int64_t heads, int64_t f) {
  const std::string config = absl::Substitute(
      R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": $0, "num_encoder_layers": $1,
          "num_attention_heads": $2, "intermediate_size": $3, "norm": "affine",
          "input": {"kind": "tokens", "vocab_size": 100}})",
      d, layers, heads, f);
  const testing::TempDir directory = testing::WriteModel(config);
  LoadedModel::LoadOptions options;
  options.kernels =
      AvailableKernelSets().front();  // so that the crossovers are this processor's, as a server's
  return LoadedModel::Load("random", 1, directory.path(), options).value();
}

// Operations of one sequence of n tokens: projections and feed-forward per token, attention per pair.
double Operations(int64_t d, int64_t layers, int64_t f, int64_t n) {
  const double per_token = 4.0 * d * d + 2.0 * d * f;
  const double per_pair = 2.0 * d;
  return 2.0 * layers * n * (per_token + per_pair * n);
}

// Arguments: d, layers, heads, f, sequences, tokens of each, threads, detail of pieces.
void Encode(benchmark::State& state) {
  const int64_t d = state.range(0), layers = state.range(1), heads = state.range(2), f = state.range(3);
  const int64_t sequences = state.range(4), tokens = state.range(5);
  const auto model = RandomEncoder(d, layers, heads, f);
  EngineOptions options;
  options.threads = static_cast<size_t>(state.range(6));
  const std::unique_ptr<Engine> engine = Engine::Create(options, *AvailableKernelSets().front()).value();
  EncodeRequest request;
  request.pieces.detail = static_cast<PieceDetail>(state.range(7));
  for (int64_t s = 0; s < sequences; ++s) {
    TokenIds ids;
    for (int64_t t = 0; t < tokens; ++t) ids.ids.push_back(static_cast<int32_t>((7 * s + 13 * t) % 100));
    request.inputs.emplace_back(std::move(ids));
  }
  for (auto _ : state) {
    const auto result = engine->EncodeAndWait(model, request);
    if (!result.ok()) {
      state.SkipWithError(result.status().ToString().c_str());
      return;
    }
    benchmark::DoNotOptimize(result->results.data());
  }
  state.SetLabel(engine->kernels().name);
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(sequences * tokens),
                                                  benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GFLOP/s"] =
      benchmark::Counter(static_cast<double>(sequences) * Operations(d, layers, f, tokens) / 1e9,
                         benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(Encode)
    ->ArgNames({"d", "layers", "heads", "f", "sequences", "tokens", "threads", "detail"})
    ->Args({512, 6, 8, 2048, 1, 1, 1, 0})
    ->Args({512, 6, 8, 2048, 1, 16, 1, 0})
    ->Args({512, 6, 8, 2048, 1, 128, 1, 0})
    ->Args({512, 6, 8, 2048, 1, 128, 2, 0})
    ->Args({512, 6, 8, 2048, 1, 128, 1, 1})
    ->Args({512, 6, 8, 2048, 1, 128, 1, 3})
    ->Args({256, 4, 8, 1024, 16, 8, 1, 0})
    ->Args({128, 3, 4, 512, 1, 8, 1, 0})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace splineserve

BENCHMARK_MAIN();
