// Options that the commands of SplineService share.
#ifndef SPLINESERVE_CLIENT_COMMANDS_ANALYSIS_H_
#define SPLINESERVE_CLIENT_COMMANDS_ANALYSIS_H_

#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/commands/options.h"
#include "splineserve/v1/spline.pb.h"

namespace splineserve::client {

// --output and --outputs.
struct OutputSelectionFlags {
  OutputFlags output;
  std::vector<std::string> indices;  // "ROW:COL"

  void Apply(v1::OutputSelection& selection) const;
};
void AddOutputSelectionFlags(CLI::App& command, OutputSelectionFlags& flags);

// The one sequence that the flags give; none if they are empty. INVALID_ARGUMENT for several.
absl::StatusOr<std::optional<v1::Sequence>> ReadOne(const SequenceFlags& flags, std::istream& in);

// "encoder layer 1 feed-forward, token 0 unit 30", "decoder layer 0 self-attention, token 2 head 1 key 0".
std::string GateName(const v1::GateRef& gate);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMANDS_ANALYSIS_H_
