// The file of a monitor. Numbers are little-endian, 32 bits where nothing else is said:
//
//   8 bytes "SplMon\r\n"   version 1   kind: 1 bits, 2 hashed
//   16 bytes digest of the model   precision: 1 float32, 2 bfloat16, 3 int8
//   stack: 1 encoder, 2 decoder   gamma   classes
//   three lists, each its length and then its entries, strictly ascending: layers; sites (1 self-attention,
//     2 cross-attention, 3 feed-forward); units
//   number of groups, then each group: tokens, source tokens, gates, label, number of patterns (64 bits), the
//     patterns: (gates + 7) / 8 bytes each, or 16 bytes of XXH3-128, big-endian
//   16 bytes: XXH3-128 (seed 0) of all bytes before, big-endian
//
// A monitor has one such form: what Parse accepts, Serialize gives back byte for byte.
#ifndef SPLINESERVE_CORE_SPLINE_MONITOR_FILE_H_
#define SPLINESERVE_CORE_SPLINE_MONITOR_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/spline/monitor.h"

namespace splineserve {

std::string SerializeMonitor(const PatternMonitor& monitor);

// The bytes are anybody's: lengths are compared with the bytes that are left before they are used, and the
// checksum, which only tells damage, is trusted with nothing. INVALID_ARGUMENT with `file`, what was expected
// and what was found. Whether the monitor fits a model is CheckFits' to say. Cost: three passes over the
// bytes and a hash table of the patterns.
absl::StatusOr<PatternMonitor> ParseMonitor(absl::Span<const uint8_t> bytes, std::string_view file);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_MONITOR_FILE_H_
