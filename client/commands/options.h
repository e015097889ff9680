// Options that several commands share. Each Add... function puts them on a command's parser; the flags must
// outlive it. What they hold after parsing has been checked, so that the functions that convert them cannot
// fail unless they say so.
#ifndef SPLINESERVE_CLIENT_COMMANDS_OPTIONS_H_
#define SPLINESERVE_CLIENT_COMMANDS_OPTIONS_H_

#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "splineserve/v1/inference.pb.h"

namespace splineserve::client {

// A subcommand with an example at the end of its help.
CLI::App& AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     const std::string& example);

// "10s", "500ms", "2m" or plain seconds; 0 is without end. nullopt if it is none of these.
std::optional<absl::Duration> ParseDuration(const std::string& text);
// A CLI11 check for it.
std::string CheckDuration(const std::string& text);

struct ConnectionFlags {
  std::string server = "localhost:8001";
  std::string deadline = "60s";
  bool json = false;

  ClientOptions ToClientOptions() const;
};
void AddConnectionFlags(CLI::App& command, ConnectionFlags& flags);

// NAME or NAME:VERSION.
struct ModelFlag {
  std::string text;

  v1::ModelRef ToProto() const;
};
void AddModelFlag(CLI::App& command, ModelFlag& flag, bool required);

struct PieceFlags {
  std::string detail = "none";
  std::vector<uint32_t> layers;
  std::vector<std::string> sites;
  bool margins = false;

  bool wanted() const { return detail != "none"; }
  // Leaves `options` unset if no pieces are wanted. INVALID_ARGUMENT for filters or margins without --pieces.
  absl::Status Apply(v1::PieceOptions& options) const;
};
void AddPieceFlags(CLI::App& command, PieceFlags& flags);

// Whether answers come with a monitor's verdict.
struct MonitorFlags {
  std::string name;  // empty for the model's only one
  std::optional<uint32_t> gamma;
  bool wanted = false;

  void ApplyAlways(v1::MonitorOptions& options) const;
  // Leaves the request's `monitor` unset if no verdict is wanted. INVALID_ARGUMENT for a gamma without
  // --monitor.
  template <typename Request>
  absl::Status Apply(Request& request) const {
    if (wanted) ApplyAlways(*request.mutable_monitor());
    if (wanted || !gamma) return absl::OkStatus();
    return absl::InvalidArgumentError("--gamma is the distance that --monitor accepts: add --monitor");
  }
};
void AddMonitorFlags(CLI::App& command, MonitorFlags& flags);

// --text, --tokens and --vectors, each preceded by `prefix` ("", "source-", "target-").
struct SequenceFlags {
  std::string prefix;
  std::vector<std::string> texts, tokens, vectors;

  bool empty() const { return texts.empty() && tokens.empty() && vectors.empty(); }
  // Texts, then token ids, then the files' sequences. INVALID_ARGUMENT or NOT_FOUND for what cannot be read.
  absl::StatusOr<std::vector<v1::Sequence>> Read(std::istream& standard_input) const;
};
void AddSequenceFlags(CLI::App& command, SequenceFlags& flags, const std::string& what);

// The most that Float64Options.max_gates may ask for.
inline constexpr uint32_t kMostListedGates = 10000;

struct OutputFlags {
  std::string output;  // "", "hidden" or "head"
  bool full = false;
  bool smoothing_error = false;
  bool float64 = false;

  v1::OutputKind::Value ToProto() const;
};
void AddOutputFlags(CLI::App& command, OutputFlags& flags);
// --float64 and --smoothing-error: for encode and decode.
void AddErrorFlags(CLI::App& command, OutputFlags& flags);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMANDS_OPTIONS_H_
