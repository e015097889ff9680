// SplineServe's side of the comparison: the engine in a process of its own, driven by lines of JSON on stdin,
// one line of JSON on stdout for each. compare.sh starts it; by hand:
//
//   build/release/bench/compare_worker
//   {"op": "hello"}
//   {"op": "load", "model": "models/repository/g2p/1", "threads": 1, "precision": "float32"}
//   {"op": "prepare", "inputs": "inputs.json", "detail": "NONE"}
//   {"op": "run", "seconds": 0.2}          -> {"seconds": [time of each call], "cpu_seconds": of one call}
//   {"op": "output", "path": "ours.bin"}   -> raw float32 numbers, and texts where text is generated
//   {"op": "counts"} {"op": "memory"} {"op": "peak"} {"op": "quit"}
//
// inputs.json is {"mode": "encode", "sequences": [...]}, {"mode": "decode", "sequences": [...]} or {"mode":
// "generate", "sequences": [...], "in_flight": B, "max_new_tokens": N, "measure": "total" | "steps"}. A
// sequence is a text, a list of ids, or {"rows", "cols", "values"}. A call is one Encode or Decode, or B
// generations in flight together; with "steps" the time of a call is that between two tokens of a generation,
// the prompt not counted. A failed operation answers {"error": text} and the process lives on.
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/engine/engine.h"
#include "nlohmann/json.hpp"
#include "tests/bench/fma_peak.h"

namespace splineserve {
namespace {

using Json = nlohmann::json;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of all threads of the process: the pool's work is counted, the waiting of the caller is not.
double CpuNow() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// A field of /proc/self/status, given there in kB, as MB (10^6 bytes).
double StatusMegabytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) == 0) return std::stod(line.substr(field.size() + 1)) * 1024 / 1e6;
  }
  return 0;
}

template <typename T>
T ValueOrThrow(absl::StatusOr<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().ToString());
  return *std::move(result);
}

Sequence ParseSequence(const Json& value) {
  if (value.is_string()) return Text{value.get<std::string>()};
  if (value.is_array()) return TokenIds{value.get<std::vector<int32_t>>()};
  return Matrix{value.at("rows").get<size_t>(), value.at("cols").get<size_t>(),
                value.at("values").get<std::vector<float>>()};
}

PieceDetail ParseDetail(const std::string& name) {
  static const std::map<std::string, PieceDetail> kDetails = {{"NONE", PieceDetail::kNone},
                                                              {"ID", PieceDetail::kId},
                                                              {"COUNTS", PieceDetail::kCounts},
                                                              {"BITS", PieceDetail::kBits}};
  const auto found = kDetails.find(name);
  if (found == kDetails.end())
    throw std::runtime_error("detail: NONE, ID, COUNTS or BITS expected, found " + name);
  return found->second;
}

const char* SiteName(Site site) {
  switch (site) {
    case Site::kSelfAttention:
      return "self_attention";
    case Site::kCrossAttention:
      return "cross_attention";
    case Site::kFeedForward:
      return "feed_forward";
  }
  return "unknown";
}

// One generation as its events arrive.
struct Generation {
  double first_token = 0, last_token = 0;  // seconds
  size_t tokens = 0;
  Hypothesis result;
};

class Worker {
 public:
  Json Handle(const Json& request) {
    const std::string op = request.at("op");
    if (op == "hello") return Hello();
    if (op == "load") return Load(request);
    if (op == "prepare") return Prepare(request);
    if (op == "run") return Run(request.value("seconds", 0.1));
    if (op == "output") return Output(request.at("path"));
    if (op == "counts") return Counts();
    if (op == "memory") return Memory();
    if (op == "peak") return Peak();
    throw std::runtime_error("unknown op " + op);
  }

 private:
  enum class Mode { kEncode, kDecode, kGenerate };

  Json Hello() const {
    return {{"name", "SplineServe"}, {"version", "1"}, {"simd_target", AvailableKernelSets().front()->name}};
  }

  Json Memory() const {
    return {{"rss_mb", StatusMegabytes("VmRSS")},
            {"peak_rss_mb", StatusMegabytes("VmHWM")},
            {"start_rss_mb", start_rss_}};
  }

  Json Load(const Json& request) {
    const std::string precision = request.value("precision", "float32");
    EngineOptions options;
    options.threads = request.value("threads", size_t{1});
    options.max_queue_bytes = size_t{8} << 30;  // a benchmark is never refused for its size
    options.max_batch_tokens = 8192;
    const double start = Now();
    engine_ = ValueOrThrow(
        Engine::Create(options, *ValueOrThrow(SelectKernelSet(request.value("simd_target", "auto")))));
    LoadedModel::LoadOptions load;
    load.precision = ValueOrThrow(ParsePrecision(precision));
    load.kernels = AvailableKernelSets().front();
    model_ = ValueOrThrow(LoadedModel::Load("model", 1, request.at("model").get<std::string>(), load));
    Json reply = Memory();
    reply["load_seconds"] = Now() - start;
    reply["threads"] = engine_->threads();
    reply["simd_target"] = engine_->kernels().name;
    reply["weight_mb"] = static_cast<double>(model_->weight_bytes()) / 1e6;
    return reply;
  }

  Json Prepare(const Json& request) {
    if (model_ == nullptr) throw std::runtime_error("prepare: no model is loaded");
    std::ifstream file(request.at("inputs").get<std::string>());
    const Json inputs = Json::parse(file);
    const std::string mode = inputs.at("mode");
    mode_ = mode == "encode" ? Mode::kEncode : mode == "decode" ? Mode::kDecode : Mode::kGenerate;
    pieces_ = {};
    pieces_.detail = ParseDetail(request.value("detail", "NONE"));
    sequences_.clear();
    for (const Json& sequence : inputs.at("sequences")) sequences_.push_back(ParseSequence(sequence));
    in_flight_ = inputs.value("in_flight", size_t{1});
    max_new_tokens_ = inputs.value("max_new_tokens", size_t{0});
    measure_steps_ = inputs.value("measure", "total") == "steps";
    return {{"sequences", sequences_.size()}};
  }

  EvaluationResult Evaluate(const PieceOptions& pieces) {
    if (mode_ == Mode::kEncode) {
      EncodeRequest request;
      request.inputs = sequences_;
      request.pieces = pieces;
      return ValueOrThrow(engine_->EncodeAndWait(model_, std::move(request)));
    }
    DecodeRequest request;
    request.targets = sequences_;
    request.pieces = pieces;
    return ValueOrThrow(engine_->DecodeAndWait(model_, std::move(request)));
  }

  // Sequences [begin, end) in flight together; returns when all have ended.
  std::vector<Generation> Generate(size_t begin, size_t end) {
    std::vector<Generation> generations(end - begin);
    std::mutex mutex;
    std::condition_variable done;
    size_t left = generations.size();
    absl::Status failure;
    for (size_t i = begin; i < end; ++i) {
      GenerateRequest request;
      const bool has_source = model_->config().architecture == Architecture::kEncoderDecoder;
      (has_source ? request.source : request.prompt) = sequences_[i];
      request.max_new_tokens = max_new_tokens_;
      request.pieces = pieces_;
      Generation& generation = generations[i - begin];
      const absl::Status admitted =
          engine_->Generate(model_, std::move(request), std::make_shared<CancellationToken>(),
                            [&, this](absl::StatusOr<GenerateEvent> event) {
                              if (event.ok() && event->token.has_value()) {
                                generation.last_token = Now();
                                if (generation.tokens++ == 0) generation.first_token = generation.last_token;
                                return true;
                              }
                              if (event.ok() && !event->final) return true;
                              std::lock_guard lock(mutex);
                              if (event.ok()) {
                                generation.result = std::move(event->hypotheses.at(0));
                              } else {
                                failure = event.status();
                              }
                              if (--left == 0) done.notify_one();
                              return true;
                            });
      if (!admitted.ok()) {
        std::lock_guard lock(mutex);
        failure = admitted;
        --left;
      }
    }
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return left == 0; });
    if (!failure.ok()) throw std::runtime_error(failure.ToString());
    return generations;
  }

  // Repeats calls for at least `seconds` (at least once); all sequences are gone through in turn.
  Json Run(double seconds) {
    if (sequences_.empty()) throw std::runtime_error("run: nothing is prepared");
    std::vector<double> times;
    const double start = Now(), cpu_start = CpuNow();
    double now = start;
    do {
      if (mode_ != Mode::kGenerate) {
        Evaluate(pieces_);
        const double end = Now();
        times.push_back(end - now);
        now = end;
        continue;
      }
      size_t calls = 0;
      double total = 0;
      for (size_t begin = 0; begin < sequences_.size(); begin += in_flight_, ++calls) {
        const double call_start = Now();
        const auto generations = Generate(begin, std::min(begin + in_flight_, sequences_.size()));
        if (measure_steps_) {
          const Generation& first = generations.front();
          if (first.tokens < 2) throw std::runtime_error("run: steps need two generated tokens");
          total += (first.last_token - first.first_token) / static_cast<double>(first.tokens - 1);
        } else {
          total += Now() - call_start;
        }
      }
      times.push_back(total / static_cast<double>(calls));
      now = Now();
    } while (now - start < seconds);
    return {{"seconds", times}, {"cpu_seconds", (CpuNow() - cpu_start) / static_cast<double>(times.size())}};
  }

  // Runs once and writes all output numbers in order; of generations the tokens' log-probabilities.
  Json Output(const std::string& path) {
    std::ofstream file(path, std::ios::binary);
    size_t numbers = 0;
    const auto write = [&](const float* data, size_t count) {
      file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(count * sizeof(float)));
      numbers += count;
    };
    Json reply;
    if (mode_ != Mode::kGenerate) {
      for (const SequenceResult& result : Evaluate(pieces_).results) {
        write(result.output.values.data(), result.output.values.size());
      }
    } else {
      reply["ids"] = Json::array();
      for (size_t begin = 0; begin < sequences_.size(); begin += in_flight_) {
        for (const Generation& generation :
             Generate(begin, std::min(begin + in_flight_, sequences_.size()))) {
          std::vector<int32_t> ids;
          for (const GeneratedToken& token : generation.result.tokens) {
            ids.push_back(token.id);
            write(&token.log_probability, 1);
          }
          reply["ids"].push_back(ids);
        }
      }
    }
    file.flush();
    if (!file) throw std::runtime_error("output: cannot write " + path);
    reply["numbers"] = numbers;
    return reply;
  }

  // Fraction of open gates by site, over all tokens of Encode and Decode.
  Json Counts() {
    if (mode_ == Mode::kGenerate) throw std::runtime_error("counts: of encode and decode only");
    PieceOptions counts;
    counts.detail = PieceDetail::kCounts;
    std::map<std::string, std::pair<double, double>> sums;
    for (const SequenceResult& result : Evaluate(counts).results) {
      for (const TokenPiece& piece : result.pieces) {
        for (const PieceGroup& group : piece.groups) {
          auto& [open, all] = sums[SiteName(group.site)];
          open += group.open;
          all += group.width;
        }
      }
    }
    Json reply = Json::object();
    for (const auto& [site, sum] : sums) reply[site] = sum.second > 0 ? sum.first / sum.second : 0.0;
    return reply;
  }

  // The best of several short measurements, so that a disturbed one does not count.
  Json Peak() const {
    double best = 0;
    for (int i = 0; i < 10; ++i) {
      const double start = Now();
      const auto operations = static_cast<double>(bench::RunFmaPeak(2'000'000));
      best = std::max(best, operations / (Now() - start) / 1e9);
    }
    return {{"fma_peak_gflops", best}};
  }

  const double start_rss_ = StatusMegabytes("VmRSS");
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<const LoadedModel> model_;
  Mode mode_ = Mode::kEncode;
  PieceOptions pieces_;
  std::vector<Sequence> sequences_;
  size_t in_flight_ = 1;
  size_t max_new_tokens_ = 0;
  bool measure_steps_ = false;
};

}  // namespace
}  // namespace splineserve

int main() {
  splineserve::Worker worker;
  for (std::string line; std::getline(std::cin, line);) {
    nlohmann::json reply;
    try {
      const nlohmann::json request = nlohmann::json::parse(line);
      if (request.at("op") == "quit") return 0;
      reply = worker.Handle(request);
    } catch (const std::exception& error) {
      reply = {{"error", error.what()}};
    }
    std::cout << reply.dump() << std::endl;
  }
  return 0;
}
