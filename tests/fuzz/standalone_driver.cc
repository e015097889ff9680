// main() of a fuzzer without libFuzzer.
//
//   FUZZER FILE...                   replays each file
//   FUZZER [--runs=N] [--seed=S]     runs every built-in seed, then N seeded mutations of them
//
// The seed is printed first and each run derives its own generator from it, so that "--seed=S" repeats a
// failure. The input of a run that aborts is in crash-input in the working directory.
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/fuzz/fuzzer.h"
#include "tests/fuzz/mutate.h"

namespace {

std::string current;  // the input being run, for the signal handler

extern "C" void SaveInput(int signal) {
  // Not async-signal-safe, but the process is lost anyway and the input is what helps.
  if (std::FILE* file = std::fopen("crash-input", "wb")) {
    std::fwrite(current.data(), 1, current.size(), file);
    std::fclose(file);
    std::fprintf(stderr, "failing input of %zu bytes saved in crash-input\n", current.size());
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void Run(std::string input) {
  current = std::move(input);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
}

// The number in "--name=N".
bool ParseOption(std::string_view argument, std::string_view prefix, uint64_t* value) {
  if (argument.substr(0, prefix.size()) != prefix) return false;
  argument.remove_prefix(prefix.size());
  const auto [end, error] = std::from_chars(argument.data(), argument.data() + argument.size(), *value);
  return error == std::errc() && end == argument.data() + argument.size();
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 1000, seed = 1;
  bool replayed = false;
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS}) std::signal(signal, SaveInput);
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (ParseOption(argument, "--runs=", &runs) || ParseOption(argument, "--seed=", &seed)) continue;
    std::ifstream file(argv[i], std::ios::binary);
    if (!file || argument.substr(0, 2) == "--") {
      std::fprintf(stderr, "%s: no such file or option; usage: %s FILE... | [--runs=N] [--seed=S]\n", argv[i],
                   argv[0]);
      return 2;
    }
    Run({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
    replayed = true;
  }
  if (replayed) return 0;

  const std::vector<std::string> seeds = splineserve::testing::FuzzerSeeds();
  std::printf("%zu seeds, %llu mutations, --seed=%llu\n", seeds.size(), static_cast<unsigned long long>(runs),
              static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  for (const std::string& input : seeds) Run(input);
  for (uint64_t run = 0; run < runs; ++run) {
    std::mt19937_64 random(seed * 0x9e3779b97f4a7c15 + run);
    Run(splineserve::testing::Mutate(seeds[run % seeds.size()], random));
  }
  return 0;
}
