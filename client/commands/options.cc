#include "client/commands/options.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/input_lines.h"
#include "client/sequence_input.h"
#include "core/base/status_macros.h"

namespace splineserve::client {
namespace {

std::string CheckServer(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (absl::StartsWith(text, "unix:") || absl::StrContains(text, "://")) return "";
  int port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(text.substr(colon + 1), &port) ||
      port < 1 || port > 65535) {
    return absl::StrCat("expected HOST:PORT, found \"", text, "\"");
  }
  return "";
}

// Splits NAME:VERSION; version 0 where there is none; nullopt if it is neither form.
std::optional<std::pair<std::string, uint32_t>> SplitModel(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) {
    if (text.empty()) return std::nullopt;
    return std::make_pair(text, 0u);
  }
  uint32_t version = 0;
  if (colon == 0 || !absl::SimpleAtoi(text.substr(colon + 1), &version) || version == 0) return std::nullopt;
  return std::make_pair(text.substr(0, colon), version);
}

v1::Site::Value ToSite(const std::string& name) {
  if (name == "self") return v1::Site::SELF_ATTENTION;
  if (name == "cross") return v1::Site::CROSS_ATTENTION;
  return v1::Site::FEED_FORWARD;
}

// An option that takes one value and may be given again, so that it never eats the arguments after it.
CLI::Option* AddRepeatable(CLI::App& command, const std::string& name, std::vector<std::string>& values,
                           const std::string& description) {
  return command.add_option(name, values, description)->allow_extra_args(false);
}

}  // namespace

CLI::App& AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     const std::string& example) {
  CLI::App& command = *app.add_subcommand(name, description);
  command.footer("\n" + example);
  return command;
}

std::optional<absl::Duration> ParseDuration(const std::string& text) {
  double seconds = 0;
  absl::Duration duration;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return std::nullopt;
  }
  if (duration < absl::ZeroDuration()) return std::nullopt;
  return duration == absl::ZeroDuration() ? absl::InfiniteDuration() : duration;
}

std::string CheckDuration(const std::string& text) {
  return ParseDuration(text) ? ""
                             : absl::StrCat("expected a duration such as 10s or 500ms, found \"", text, "\"");
}

ClientOptions ConnectionFlags::ToClientOptions() const {
  return {.server = server, .deadline = ParseDuration(deadline).value_or(absl::InfiniteDuration())};
}

void AddConnectionFlags(CLI::App& command, ConnectionFlags& flags) {
  command.add_option("--server", flags.server, "Address of the server")
      ->envname("SPLINESERVE_SERVER")
      ->type_name("HOST:PORT")
      ->capture_default_str()
      ->check(CheckServer);
  command
      .add_option("--deadline", flags.deadline,
                  "Time allowed for each call, as in 10s or 500ms; 0 for no limit")
      ->type_name("DURATION")
      ->capture_default_str()
      ->check(CheckDuration);
  command.add_flag("--json", flags.json, "Print JSON: the API's messages, with ids and bits in base64");
}

v1::ModelRef ModelFlag::ToProto() const {
  v1::ModelRef reference;
  if (const auto parts = SplitModel(text)) {
    reference.set_name(parts->first);
    reference.set_version(parts->second);
  }
  return reference;
}

void AddModelFlag(CLI::App& command, ModelFlag& flag, bool required) {
  command
      .add_option("MODEL,--model", flag.text,
                  "Name of the model; NAME:VERSION for another than its highest version")
      ->type_name("")
      ->required(required)
      ->check([](const std::string& text) {
        return SplitModel(text) ? "" : absl::StrCat("expected NAME or NAME:VERSION, found \"", text, "\"");
      });
}

absl::Status PieceFlags::Apply(v1::PieceOptions& options) const {
  if (!wanted()) {
    if (margins || !layers.empty() || !sites.empty()) {
      return absl::InvalidArgumentError(
          "--margins, --layers and --sites choose what --pieces shows: add --pieces");
    }
    return absl::OkStatus();
  }
  if (detail == "id") options.set_detail(v1::PieceOptions::ID);
  if (detail.empty() || detail == "counts") options.set_detail(v1::PieceOptions::COUNTS);
  if (detail == "bits") options.set_detail(v1::PieceOptions::BITS);
  for (uint32_t layer : layers) options.add_layers(layer);
  for (const std::string& site : sites) options.add_sites(ToSite(site));
  options.set_margins(margins);
  return absl::OkStatus();
}

void AddPieceFlags(CLI::App& command, PieceFlags& flags) {
  CLI::Option_group& group = *command.add_option_group("Pieces", "Which gates are open");
  group
      .add_option("--pieces", flags.detail,
                  "Show each token's piece: its id, with counts (as without a value) the open gates, with "
                  "bits the gates "
                  "themselves")
      ->expected(0, 1)
      ->type_name("id|counts|bits")
      ->check([](const std::string& text) {
        const bool known =
            text.empty() || text == "none" || text == "id" || text == "counts" || text == "bits";
        return known ? "" : absl::StrCat("expected id, counts or bits, found \"", text, "\"");
      });
  group.add_option("--layers", flags.layers, "List the gates of these layers only (from 0), as in 0,2")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("N,...");
  group.add_option("--sites", flags.sites, "List the gates of these sites only: self, cross, ffn")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("SITE,...")
      ->check([](const std::string& text) {
        const bool known = text == "self" || text == "cross" || text == "ffn";
        return known ? "" : absl::StrCat("expected self, cross or ffn, found \"", text, "\"");
      });
  group.add_flag("--margins", flags.margins, "Say, too, how far the nearest gate is from changing its sign");
}

void MonitorFlags::ApplyAlways(v1::MonitorOptions& options) const {
  options.set_name(name);
  if (gamma) options.set_gamma(*gamma);
}

void AddMonitorFlags(CLI::App& command, MonitorFlags& flags) {
  command
      .add_option_function<std::string>(
          "--monitor",
          [&flags](const std::string& name) {
            flags.wanted = true;
            flags.name = name;
          },
          "Say whether each sequence is like recorded traffic; NAME where the model has several monitors")
      ->expected(0, 1)
      ->type_name("NAME");
  command.add_option("--gamma", flags.gamma, "Accept this distance instead of the monitor's own")
      ->type_name("N");
}

absl::StatusOr<std::vector<v1::Sequence>> SequenceFlags::Read(std::istream& standard_input) const {
  std::vector<v1::Sequence> sequences;
  for (const std::string& text : texts) sequences.push_back(TextSequence(text));
  for (const std::string& ids : tokens) {
    SPLINESERVE_ASSIGN_OR_RETURN(v1::Sequence sequence, ParseTokens(ids));
    sequences.push_back(std::move(sequence));
  }
  for (const std::string& path : vectors) {
    SPLINESERVE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, standard_input));
    SPLINESERVE_ASSIGN_OR_RETURN(std::vector<v1::Sequence> more,
                                 ParseVectors(text, path == "-" ? "standard input" : path));
    for (v1::Sequence& sequence : more) sequences.push_back(std::move(sequence));
  }
  return sequences;
}

void AddSequenceFlags(CLI::App& command, SequenceFlags& flags, const std::string& what) {
  const std::string dashes = "--" + flags.prefix;
  AddRepeatable(command, dashes + "text", flags.texts, what + " as text; may be repeated")->type_name("TEXT");
  AddRepeatable(command, dashes + "tokens", flags.tokens,
                what + " as token ids, as in 1,2,3; may be repeated")
      ->type_name("IDS");
  AddRepeatable(
      command, dashes + "vectors", flags.vectors,
      what + " as rows of numbers from a CSV file (- for standard input); a blank line starts the next one")
      ->type_name("FILE");
}

v1::OutputKind::Value OutputFlags::ToProto() const {
  if (output == "hidden") return v1::OutputKind::HIDDEN;
  if (output == "head") return v1::OutputKind::HEAD;
  return v1::OutputKind::UNSPECIFIED;
}

void AddOutputFlags(CLI::App& command, OutputFlags& flags) {
  command
      .add_option("--output", flags.output,
                  "Rows before the head or after it (where the model has one: head)")
      ->type_name("hidden|head")
      ->check([](const std::string& text) {
        const bool known = text == "hidden" || text == "head";
        return known ? "" : absl::StrCat("expected hidden or head, found \"", text, "\"");
      });
  command.add_flag("--full", flags.full, "Print every number, with the digits that determine it");
}

void AddErrorFlags(CLI::App& command, OutputFlags& flags) {
  command.add_flag("--float64", flags.float64,
                   "Evaluate in float64, too, and list the gates that float32's rounding may have flipped");
  command.add_flag("--smoothing-error", flags.smoothing_error,
                   "Of a smoothed model: how far its output is from its spline's, measured and proven");
}

}  // namespace splineserve::client
