// Monitors and their verdicts as text for people.
#ifndef SPLINESERVE_CLIENT_MONITOR_TEXT_H_
#define SPLINESERVE_CLIENT_MONITOR_TEXT_H_

#include <string>
#include <vector>

#include "google/protobuf/repeated_field.h"
#include "splineserve/v1/inference.pb.h"
#include "splineserve/v1/monitor.pb.h"

namespace splineserve::client {

// "known" (the very pattern is recorded for the class), "accepted" or "WARNING".
std::string VerdictWord(const v1::MonitorVerdict& verdict);

// "monitor last: accepted: 3 of 1536 gates differ from the nearest pattern of class 7 (gamma 12)".
std::string VerdictLine(const v1::MonitorVerdict& verdict);

// The verdicts on a generation's hypotheses, a line each after two spaces; of several, with
// "hypothesis 2: " before it. Empty without verdicts.
std::string GenerationVerdicts(const v1::GenerationResult& result);

// One line a result, and a summary:
//
//   input   class  verdict   distance  of gates  nearest class  its distance
//       0       1  known            0       768              1             0
//       1       4  WARNING         31       768              9            28
//
//   1 of 2 accepted by monitor last (gamma 12), 1 of them known
//
// `labels` (may be empty) are the true classes: with them a column more, and how many of the right and of the
// wrong answers were accepted.
std::string VerdictTable(const google::protobuf::RepeatedPtrField<v1::SequenceResult>& results,
                         const std::vector<uint32_t>& labels);

// One line a monitor: name, models, selection, kind, gamma, classes, patterns, memory.
std::string MonitorTable(const google::protobuf::RepeatedPtrField<v1::MonitorInfo>& monitors);

// What was recorded: a line for each class.
std::string RecordingText(const v1::RecordPatternsResponse& response);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_MONITOR_TEXT_H_
