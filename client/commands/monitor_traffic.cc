#include "client/commands/monitor_traffic.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/input_lines.h"
#include "client/sequence_input.h"
#include "core/base/status_macros.h"

namespace splineserve::client {
namespace {

// Enough for the server to work on in one go, few enough for a progress bar to move.
constexpr size_t kMostSequences = 256;

std::string SplitOf(const v1::ModelInfo& info, bool of_target) {
  return of_target && info.has_target_input() ? info.target_input().vocabulary_split()
                                              : info.input().vocabulary_split();
}

}  // namespace

absl::Status Traffic::CheckFits(const v1::ModelInfo& info) const {
  if (!of_decoder() && info.architecture() == v1::ModelInfo::DECODER) {
    return absl::InvalidArgumentError(absl::StrCat(
        info.name(),
        " is a decoder: give its sequences by --target-text, --target-tokens or --target-vectors"));
  }
  if (of_decoder() && info.architecture() == v1::ModelInfo::ENCODER) {
    return absl::InvalidArgumentError(
        absl::StrCat(info.name(), " is an encoder: give its sequences by --text, --tokens or --vectors"));
  }
  return absl::OkStatus();
}

size_t Traffic::ChunkFrom(size_t first, const v1::ModelInfo& info, size_t bytes) const {
  const v1::ModelInfo::Limits& limits = info.limits();
  const auto bound = [](uint64_t limit) { return limit == 0 ? ~uint64_t{0} : limit; };
  uint64_t tokens = 0;
  size_t count = 0;
  while (first + count < size() &&
         count < std::min<uint64_t>(kMostSequences, bound(limits.max_sequences_per_request()))) {
    const size_t i = first + count;
    const auto add = [&](const std::vector<v1::Sequence>& sequences, bool of_target) {
      if (i >= sequences.size()) return;
      tokens += CountTokens(sequences[i], SplitOf(info, of_target));
      bytes += sequences[i].ByteSizeLong() + 16;
    };
    add(inputs, false);
    add(sources, false);
    add(targets, true);
    const bool fits =
        tokens <= bound(limits.max_tokens_per_request()) && bytes <= bound(limits.max_message_bytes());
    if (!fits && count > 0) break;
    ++count;
  }
  return count;
}

absl::StatusOr<std::vector<uint32_t>> ParseLabels(std::string_view text, std::string_view name) {
  std::vector<uint32_t> labels;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    uint32_t label = 0;
    if (!absl::SimpleAtoi(line, &label)) {
      return absl::InvalidArgumentError(absl::StrCat(absl::string_view(name.data(), name.size()), ", line ",
                                                     number, ": expected a class as a whole number, found \"",
                                                     line, "\""));
    }
    labels.push_back(label);
  }
  return labels;
}

absl::StatusOr<Traffic> TrafficFlags::Read(std::istream& standard_input) const {
  Traffic traffic;
  SPLINESERVE_ASSIGN_OR_RETURN(traffic.inputs, inputs.Read(standard_input));
  SPLINESERVE_ASSIGN_OR_RETURN(traffic.sources, sources.Read(standard_input));
  SPLINESERVE_ASSIGN_OR_RETURN(traffic.targets, targets.Read(standard_input));
  if (traffic.size() == 0) {
    return absl::InvalidArgumentError(
        "no traffic: give --text, --tokens or --vectors, or for a decoder --target-text, --target-tokens or "
        "--target-vectors");
  }
  if (!traffic.inputs.empty() && (!traffic.targets.empty() || !traffic.sources.empty())) {
    return absl::InvalidArgumentError("expected either inputs or targets with their sources, found both");
  }
  if (!traffic.sources.empty() && traffic.sources.size() != traffic.targets.size()) {
    return absl::InvalidArgumentError(absl::StrCat("expected one source for each target, found ",
                                                   traffic.sources.size(), " sources and ",
                                                   traffic.targets.size(), " targets"));
  }
  if (labels.empty()) return traffic;
  SPLINESERVE_ASSIGN_OR_RETURN(const std::string text, ReadFile(labels, standard_input));
  SPLINESERVE_ASSIGN_OR_RETURN(traffic.labels, ParseLabels(text, labels));
  if (traffic.labels.size() != traffic.size()) {
    return absl::InvalidArgumentError(absl::StrCat(labels, ": expected one label for each of ",
                                                   traffic.size(), " sequences, found ",
                                                   traffic.labels.size()));
  }
  return traffic;
}

void AddTrafficFlags(CLI::App& command, TrafficFlags& flags) {
  AddSequenceFlags(command, flags.inputs, "Input");
  AddSequenceFlags(command, flags.sources, "Source of an encoder-decoder");
  AddSequenceFlags(command, flags.targets, "Target");
  command
      .add_option("--labels", flags.labels, "True class of each sequence: a file with a whole number a line")
      ->type_name("FILE");
}

}  // namespace splineserve::client
