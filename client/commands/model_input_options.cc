#include "client/commands/model_input_options.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/sequence_input.h"
#include "core/base/status_macros.h"

namespace splineserve::client {

absl::StatusOr<std::vector<v1::ModelInput>> ModelInputFlags::Read(const v1::ModelInfo& info,
                                                                  std::istream& standard_input) const {
  SPLINESERVE_ASSIGN_OR_RETURN(std::vector<v1::Sequence> firsts, sequences.Read(standard_input));
  SPLINESERVE_ASSIGN_OR_RETURN(std::vector<v1::Sequence> seconds, targets.Read(standard_input));
  const bool both = info.architecture() == v1::ModelInfo::ENCODER_DECODER;
  if (!seconds.empty() && !both) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", targets.prefix, "text, --", targets.prefix, "tokens and --", targets.prefix,
                     "vectors are for encoder-decoders: for ", info.name(), " use --", sequences.prefix,
                     "text, --", sequences.prefix, "tokens or --", sequences.prefix, "vectors"));
  }
  if (!seconds.empty() && seconds.size() != firsts.size()) {
    return absl::InvalidArgumentError(absl::StrCat("expected one target for each source, or none, found ",
                                                   firsts.size(), " sources and ", seconds.size(),
                                                   " targets"));
  }
  std::vector<v1::ModelInput> inputs(firsts.size());
  for (size_t i = 0; i < firsts.size(); ++i) {
    const bool decodes = info.architecture() == v1::ModelInfo::DECODER;
    *(decodes ? inputs[i].mutable_target() : inputs[i].mutable_source()) = std::move(firsts[i]);
    if (!seconds.empty()) *inputs[i].mutable_target() = std::move(seconds[i]);
  }
  return inputs;
}

void AddModelInputFlags(CLI::App& command, ModelInputFlags& flags, const std::string& what) {
  AddSequenceFlags(command, flags.sequences, what);
  AddSequenceFlags(command, flags.targets, what + ": an encoder-decoder's target");
}

const v1::Sequence& LastSequence(const v1::ModelInput& input) {
  return input.has_target() ? input.target() : input.source();
}

const std::string& LastSplit(const v1::ModelInput& input, const v1::ModelInfo& info) {
  return input.has_target() && info.has_target_input() ? info.target_input().vocabulary_split()
                                                       : info.input().vocabulary_split();
}

std::string Describe(const v1::ModelInput& input) {
  if (!input.has_target()) return Describe(input.source());
  if (!input.has_source()) return Describe(input.target());
  return absl::StrCat(Describe(input.source()), " -> ", Describe(input.target()));
}

}  // namespace splineserve::client
