// Patterns and monitors of tests: near each other, so that distances, ties and repetitions all occur.
#ifndef SPLINESERVE_TESTS_SPLINE_RANDOM_PATTERNS_H_
#define SPLINESERVE_TESTS_SPLINE_RANDOM_PATTERNS_H_

#include <random>
#include <utility>

#include "core/spline/monitor.h"

namespace splineserve::testing {

inline MonitorDescription Description(MonitorKind kind, uint32_t classes) {
  return {.digest = "00112233445566778899aabbccddeeff", .kind = kind, .classes = classes};
}

// Of one of two shapes of so many gates, a few of them open.
inline Pattern RandomPattern(uint32_t gates, std::mt19937_64& random) {
  Pattern pattern{{1 + static_cast<uint32_t>(random() % 2), 0, gates},
                  std::vector<uint64_t>(PatternWords(gates))};
  for (size_t opened = random() % 6; opened > 0; --opened) {
    const size_t gate = random() % gates;
    pattern.words[gate / 64] |= uint64_t{1} << (gate % 64);
  }
  return pattern;
}

inline PatternMonitor RandomMonitor(MonitorKind kind, size_t patterns, std::mt19937_64& random) {
  MonitorDescription description = Description(kind, 3);
  description.precision = Precision::kInt8;
  description.selection = {.stack = PieceRecorder::Stack::kDecoder,
                           .layers = {0, 2},
                           .sites = {Site::kSelfAttention, Site::kFeedForward},
                           .units = {1, 4, 9}};
  if (kind == MonitorKind::kBits) description.gamma = 7;
  MonitorBuilder builder = MonitorBuilder::Create(description).value();
  for (size_t i = 0; i < patterns; ++i) {
    const uint32_t label = static_cast<uint32_t>(random() % 3);
    builder.Add(label, RandomPattern(11 + 60 * (random() % 2), random)).value();
  }
  return std::move(builder).Build();
}

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_SPLINE_RANDOM_PATTERNS_H_
