// The file of a monitor, from a stranger. With an odd first byte the rest is the file as it is, with an even
// one its body, to which the right checksum is added: else mutation would never get past it. What is accepted
// has one form and judges any pattern.
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/spline/monitor_file.h"
#include "core/spline/piece.h"
#include "tests/fuzz/fuzzer.h"
#include "tests/spline/random_patterns.h"

namespace splineserve {
namespace {

constexpr size_t kHashBytes = 16;

void Promise(bool kept) {
  if (!kept) abort();
}

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void FuzzMonitor(const std::string& file) {
  const auto monitor = ParseMonitor(Bytes(file), "fuzz");
  if (!monitor.ok()) {
    Promise(absl::IsInvalidArgument(monitor.status()));
    Promise(!monitor.status().message().empty() && monitor.status().message().size() < 1000);
    return;
  }
  Promise(SerializeMonitor(*monitor) == file);
  Promise(monitor->bytes() <= PatternMonitor::kMaxBytes &&
          monitor->patterns() <= PatternMonitor::kMaxPatterns);
  for (const PatternMonitor::Group& group : monitor->groups()) {
    Pattern pattern{group.shape, std::vector<uint64_t>(PatternWords(group.shape.gates))};
    const PatternMonitor::Verdict verdict = monitor->Judge(pattern, group.label, group.shape.gates);
    if (monitor->description().kind == MonitorKind::kBits) {
      Promise(verdict.accepted && verdict.own->index < group.count);
      Promise(verdict.nearest->distance <= verdict.own->distance);
      Promise(verdict.own->distance <= group.shape.gates);
    }
  }
  Promise(SerializeMonitor(MonitorBuilder(*monitor).Build()) == file);
}

}  // namespace

namespace testing {

std::vector<std::string> FuzzerSeeds() {
  std::mt19937_64 random(1);
  std::vector<std::string> seeds;
  for (const MonitorKind kind : {MonitorKind::kBits, MonitorKind::kHashed}) {
    for (const size_t patterns : {0, 1, 20}) {
      const std::string file = SerializeMonitor(RandomMonitor(kind, patterns, random));
      seeds.push_back("\1" + file);
      seeds.push_back(std::string(1, '\0') + file.substr(0, file.size() - kHashBytes));
    }
  }
  return seeds;
}

}  // namespace testing
}  // namespace splineserve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string file(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) file += splineserve::PieceHash(splineserve::Bytes(file));
  splineserve::FuzzMonitor(file);
  return 0;
}
