// What `monitor record` and `monitor check` send: sequences with their labels, in calls that a server takes.
#ifndef SPLINESERVE_CLIENT_COMMANDS_MONITOR_TRAFFIC_H_
#define SPLINESERVE_CLIENT_COMMANDS_MONITOR_TRAFFIC_H_

#include <cstdint>
#include <istream>
#include <string>
#include <type_traits>
#include <vector>

#include "client/commands/options.h"
#include "splineserve/v1/model.pb.h"
#include "splineserve/v1/monitor.pb.h"

namespace splineserve::client {

struct Traffic {
  std::vector<v1::Sequence> inputs;            // for Encode, or ...
  std::vector<v1::Sequence> sources, targets;  // ... for Decode; a source for each target, or none
  std::vector<uint32_t> labels;                // one for each sequence, or none

  bool of_decoder() const { return !targets.empty(); }
  size_t size() const { return of_decoder() ? targets.size() : inputs.size(); }

  // INVALID_ARGUMENT, naming the options to use, for inputs of a decoder and targets of an encoder.
  absl::Status CheckFits(const v1::ModelInfo& info) const;

  // How many sequences from `first` on fit into one call beside `bytes` of other contents, by what the
  // model's limits say. At least one: if that is too much, the server says so.
  size_t ChunkFrom(size_t first, const v1::ModelInfo& info, size_t bytes) const;

  // Adds those of [first, first + count) to a request of Encode, Decode or RecordPatterns.
  template <typename Request>
  void Fill(size_t first, size_t count, Request& request) const {
    for (size_t i = first; i < first + count; ++i) {
      if constexpr (!std::is_same_v<Request, v1::DecodeRequest>) {
        if (!of_decoder()) *request.add_inputs() = inputs[i];
      }
      if constexpr (!std::is_same_v<Request, v1::EncodeRequest>) {
        if (!sources.empty()) *request.add_sources() = sources[i];
        if (of_decoder()) *request.add_targets() = targets[i];
      }
    }
  }
};

struct TrafficFlags {
  SequenceFlags inputs;
  SequenceFlags sources{.prefix = "source-"};
  SequenceFlags targets{.prefix = "target-"};
  std::string labels;

  // INVALID_ARGUMENT or NOT_FOUND for what cannot be read, is missing, or does not go together.
  absl::StatusOr<Traffic> Read(std::istream& standard_input) const;
};
void AddTrafficFlags(CLI::App& command, TrafficFlags& flags);

// Whole numbers, one a line; blank lines and lines that start with '#' are skipped. INVALID_ARGUMENT names
// `name` and the line.
absl::StatusOr<std::vector<uint32_t>> ParseLabels(std::string_view text, std::string_view name);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMANDS_MONITOR_TRAFFIC_H_
