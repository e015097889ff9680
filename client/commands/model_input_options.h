// Options that name a model's inputs: what one evaluation takes, of whatever architecture.
#ifndef SPLINESERVE_CLIENT_COMMANDS_MODEL_INPUT_OPTIONS_H_
#define SPLINESERVE_CLIENT_COMMANDS_MODEL_INPUT_OPTIONS_H_

#include <istream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/commands/options.h"
#include "splineserve/v1/model.pb.h"
#include "splineserve/v1/spline.pb.h"

namespace splineserve::client {

// --text, --tokens and --vectors for an encoder's or a decoder's sequences, or an encoder_decoder's sources;
// --target-text and so on for its targets. All preceded by `prefix` ("", "gates-").
struct ModelInputFlags {
  explicit ModelInputFlags(const std::string& prefix)
      : sequences{.prefix = prefix}, targets{.prefix = prefix + "target-"} {}

  SequenceFlags sequences, targets;

  bool empty() const { return sequences.empty() && targets.empty(); }
  // In the order of SequenceFlags::Read, which sequences are the model's sources and which its targets by its
  // architecture. INVALID_ARGUMENT for targets of a model that takes none, and for other numbers of targets
  // than of sources.
  absl::StatusOr<std::vector<v1::ModelInput>> Read(const v1::ModelInfo& info,
                                                   std::istream& standard_input) const;
};
void AddModelInputFlags(CLI::App& command, ModelInputFlags& flags, const std::string& what);

// The sequence that goes through the last stack.
const v1::Sequence& LastSequence(const v1::ModelInput& input);
// How the last stack splits its text into tokens: "characters", "whitespace" or empty.
const std::string& LastSplit(const v1::ModelInput& input, const v1::ModelInfo& info);
// "\"cat\"" or "\"cat\" -> [1, 22]".
std::string Describe(const v1::ModelInput& input);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMANDS_MODEL_INPUT_OPTIONS_H_
