// Does anything grow? A million small requests of every kind, right and wrong ones, several in flight, and
// the resident memory of the process that answers them.
//
//   build/release/bench/soak_bench [--requests 1000000] [--in-flight 32] [--threads 0] [--seed 1]
//   build/release/bench/soak_bench --server build/release/bin/splineserve [--requests 100000] [--in-flight 8]
//   both: [--repository models/repository]
//
// The first form is the engine in this process, the second a started server over gRPC, `in-flight` threads
// each waiting for its answer. After every 20th of the requests (50,000 of a million) the flight is let out
// and a line is printed: requests, seconds, resident memory, and for the engine what malloc holds as in use.
// Then a table of how the requests ended. Exit status 1 if a request ended as its kind may not, or if
// resident memory at any line after the first tenth is more than 2 MB (10^6 bytes) above that at the first
// tenth: malloc's smallest block (32 bytes) lost in every 15th of a million requests would be as much. A
// server has 4 MB: gRPC's threads come and go, each with a heap of malloc's to itself, and its peaks come
// rarely; such growth is in steps that become rarer, not in every line.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/format/model_directory.h"
#include "tests/bench/mixed_calls.h"
#include "tests/bench/server_process.h"
#include "tests/engine/request_mixture.h"

namespace splineserve {
namespace {

using testing::MixedKind;
using testing::MixedRequest;
using testing::RequestMixture;

constexpr double kEngineBoundMegabytes = 2, kServerBoundMegabytes = 4;
constexpr size_t kLines = 20;

struct Options {
  std::string server;  // empty: the engine in this process
  std::string repository = "models/repository";
  size_t requests = 0;  // 0: 1,000,000, or 100,000 over gRPC
  size_t in_flight = 0;
  size_t threads = 0;
  size_t seed = 1;
};

std::vector<std::shared_ptr<const LoadedModel>> LoadModels(const std::string& repository) {
  const auto entries = ListRepository(repository);
  if (!entries.ok()) throw std::runtime_error(entries.status().ToString());
  std::vector<std::shared_ptr<const LoadedModel>> models;
  for (const RepositoryEntry& entry : *entries) {
    auto model = LoadedModel::Load(entry.name, entry.version, entry.path);
    if (!model.ok()) throw std::runtime_error(model.status().ToString());
    models.push_back(*std::move(model));
  }
  return models;
}

// How the requests ended. Thread-safe.
class Tally {
 public:
  static constexpr int kCodes = 17;
  void Count(MixedKind kind, absl::StatusCode code) {
    ends_[static_cast<size_t>(kind)][static_cast<size_t>(code)].fetch_add(1, std::memory_order_relaxed);
  }
  // True if each kind ended as it may, or was refused for a full queue.
  bool Print() const {
    bool good = true;
    std::printf("\n%-20s  how they ended\n", "requests");
    for (size_t k = 0; k < ends_.size(); ++k) {
      const auto kind = static_cast<MixedKind>(k);
      std::string line;
      for (int c = 0; c < kCodes; ++c) {
        const size_t count = ends_[k][c].load();
        if (count == 0) continue;
        const auto code = static_cast<absl::StatusCode>(c);
        const bool may = MayEndSo(kind, code) || code == absl::StatusCode::kResourceExhausted;
        good = good && may;
        absl::StrAppend(&line, line.empty() ? "" : ", ", count, " ", absl::StatusCodeToString(code),
                        may ? "" : " (UNEXPECTED)");
      }
      std::printf("%-20s  %s\n", std::string(Name(kind)).c_str(), line.c_str());
    }
    return good;
  }

 private:
  std::array<std::array<std::atomic<size_t>, kCodes>, static_cast<size_t>(MixedKind::kKinds)> ends_{};
};

// The lines and the verdict.
class MemoryLog {
 public:
  MemoryLog(size_t requests, double bound_megabytes, std::function<double()> resident, bool heap)
      : requests_(requests), bound_(bound_megabytes), resident_(std::move(resident)), heap_(heap) {
    std::printf("%12s %10s %12s %12s\n", "requests", "seconds", "resident MB", heap_ ? "in use MB" : "");
    Line(0);
  }

  // Called when nothing is in flight.
  void Line(size_t done) {
    const double resident = resident_();
    std::printf("%12zu %10.0f %12.2f", done, absl::ToDoubleSeconds(absl::Now() - started_), resident);
    if (heap_) {
      const struct mallinfo2 info = mallinfo2();
      std::printf(" %12.3f", static_cast<double>(info.uordblks + info.hblkhd) / 1e6);
    }
    std::printf("\n");
    std::fflush(stdout);
    if (10 * done <= requests_) first_tenth_ = resident;
    most_ = std::max(most_, resident - first_tenth_);
    if (10 * done <= requests_) most_ = 0;
  }

  bool Holds() const {
    const bool holds = most_ <= bound_;
    std::printf("\nafter the first tenth resident memory grew by at most %.2f MB, the bound is %.0f MB: %s\n",
                most_, bound_, holds ? "holds" : "EXCEEDED");
    return holds;
  }

 private:
  const size_t requests_;
  const double bound_;
  const std::function<double()> resident_;
  const bool heap_;
  const absl::Time started_ = absl::Now();
  double first_tenth_ = 0, most_ = 0;
};

double OwnResidentMegabytes() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, resident = 0;
  if (!(statm >> size >> resident)) throw std::runtime_error("cannot read /proc/self/statm");
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

bool SoakEngine(const Options& options) {
  EngineOptions engine_options;
  engine_options.threads = options.threads;
  // Somewhat fewer than are in flight, so that some are refused for a full queue, too.
  engine_options.max_queue_requests = std::max<size_t>(1, options.in_flight * 15 / 16);
  const std::unique_ptr<Engine> engine =
      Engine::Create(engine_options, *AvailableKernelSets().front()).value();
  RequestMixture mixture(LoadModels(options.repository), options.seed, /*hurried=*/true);
  Tally tally;
  std::counting_semaphore<> slots(static_cast<std::ptrdiff_t>(options.in_flight));
  MemoryLog log(options.requests, kEngineBoundMegabytes, OwnResidentMegabytes, /*heap=*/true);
  const size_t step = std::max<size_t>(1, options.requests / kLines);
  for (size_t i = 1; i <= options.requests; ++i) {
    slots.acquire();
    MixedRequest request = mixture.Next();
    const MixedKind kind = request.kind;
    std::atomic<bool> full{false};
    Submit(*engine, std::move(request), [&tally, &slots, &full, kind](absl::StatusCode code) {
      tally.Count(kind, code);
      if (code == absl::StatusCode::kResourceExhausted) full = true;  // in this call of Submit, or never
      slots.release();
    });
    if (full) {  // retrying at once would count refusals only
      for (size_t s = 0; s < options.in_flight / 2; ++s) slots.acquire();
      slots.release(static_cast<std::ptrdiff_t>(options.in_flight / 2));
    }
    if (i % step != 0) continue;
    for (size_t s = 0; s < options.in_flight; ++s) slots.acquire();
    log.Line(i);
    slots.release(static_cast<std::ptrdiff_t>(options.in_flight));
  }
  for (size_t s = 0; s < options.in_flight; ++s) slots.acquire();
  const bool good = tally.Print();
  return log.Holds() && good;
}

bool SoakServer(const Options& options) {
  const ServerProcess process(options.server, options.repository);
  const MixedCalls calls(process.address());
  const auto models = LoadModels(options.repository);
  std::vector<RequestMixture> mixtures;
  for (size_t t = 0; t < options.in_flight; ++t) mixtures.emplace_back(models, options.seed + t, true);
  Tally tally;
  MemoryLog log(
      options.requests, kServerBoundMegabytes, [&] { return process.Memory("VmRSS"); }, /*heap=*/false);
  const size_t step = std::max<size_t>(1, options.requests / kLines);
  for (size_t done = 0; done < options.requests;) {
    const size_t count = std::min(step, options.requests - done);
    std::atomic<size_t> left{count};
    std::vector<std::thread> callers;
    for (RequestMixture& mixture : mixtures) {
      callers.emplace_back([&] {
        for (size_t before = left.load(); before != 0;) {
          if (!left.compare_exchange_weak(before, before - 1)) continue;
          const MixedRequest request = mixture.Next();
          const absl::Status status = calls.Call(request);
          // By a deadline, whatever its kind would say in one process.
          const bool late = request.kind == MixedKind::kExpired && status.ok();
          tally.Count(request.kind, late ? absl::StatusCode::kDeadlineExceeded : status.code());
          before = left.load();
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    done += count;
    log.Line(done);
  }
  const bool good = tally.Print();
  return log.Holds() && good;
}

int Main(int argc, char** argv) {
  Options options;
  const std::map<std::string, std::string*> words = {{"--server", &options.server},
                                                     {"--repository", &options.repository}};
  const std::map<std::string, size_t*> numbers = {{"--requests", &options.requests},
                                                  {"--in-flight", &options.in_flight},
                                                  {"--threads", &options.threads},
                                                  {"--seed", &options.seed}};
  if (argc % 2 == 0) throw std::runtime_error("expected a value after each option");
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i], value = argv[i + 1];
    if (const auto word = words.find(option); word != words.end()) {
      *word->second = value;
    } else if (const auto number = numbers.find(option); number != numbers.end()) {
      if (!absl::SimpleAtoi(value, number->second))
        throw std::runtime_error(option + ": expected a number, found " + value);
    } else {
      throw std::runtime_error(
          "expected --requests, --in-flight, --threads, --seed, --repository or --server, found " + option);
    }
  }
  const bool server = !options.server.empty();
  if (options.requests == 0) options.requests = server ? 100'000 : 1'000'000;
  if (options.in_flight == 0) options.in_flight = server ? 8 : 32;
  return (server ? SoakServer(options) : SoakEngine(options)) ? 0 : 1;
}

}  // namespace
}  // namespace splineserve

int main(int argc, char** argv) {
  try {
    return splineserve::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "soak_bench: %s\n", error.what());
    return 2;
  }
}
