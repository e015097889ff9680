// `monitor`: records patterns of gates, checks inputs against them, lists what a server has.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/commands/commands.h"
#include "client/commands/monitor_traffic.h"
#include "client/commands/options.h"
#include "client/input_lines.h"
#include "client/json.h"
#include "client/monitor_text.h"
#include "client/progress.h"

namespace splineserve::client {
namespace {

struct RecordFlags {
  ConnectionFlags connection;
  ModelFlag model;
  TrafficFlags traffic;
  std::vector<uint32_t> layers, units;
  std::vector<std::string> sites;
  std::string kind, extend, out;
  std::optional<uint32_t> gamma;
  bool only_correct = false;
};

struct CheckFlags {
  ConnectionFlags connection;
  ModelFlag model;
  TrafficFlags traffic;
  MonitorFlags monitor;
};

struct ListFlags {
  ConnectionFlags connection;
  ModelFlag model;
};

v1::RecordPatternsRequest RequestOf(const RecordFlags& flags) {
  v1::RecordPatternsRequest request;
  *request.mutable_model() = flags.model.ToProto();
  request.set_only_correct(flags.only_correct);
  if (flags.kind == "bits") request.set_kind(v1::MonitorKind::BITS);
  if (flags.kind == "hashed") request.set_kind(v1::MonitorKind::HASHED);
  if (flags.gamma) request.set_gamma(*flags.gamma);
  if (flags.layers.empty() && flags.sites.empty() && flags.units.empty()) return request;
  v1::MonitorSelection& selection = *request.mutable_selection();
  selection.mutable_layers()->Add(flags.layers.begin(), flags.layers.end());
  selection.mutable_units()->Add(flags.units.begin(), flags.units.end());
  for (const std::string& site : flags.sites) {
    selection.add_sites(site == "self"    ? v1::Site::SELF_ATTENTION
                        : site == "cross" ? v1::Site::CROSS_ATTENTION
                                          : v1::Site::FEED_FORWARD);
  }
  return request;
}

absl::Status WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

int Record(const RecordFlags& flags, Session& session) {
  constexpr char kName[] = "monitor record";
  const absl::StatusOr<Traffic> traffic = flags.traffic.Read(session.in);
  if (!traffic.ok()) return session.FailUsage(traffic.status(), kName);
  if (flags.only_correct && traffic->labels.empty())
    return session.FailUsage("--only-correct compares with labels: give --labels FILE", kName);
  v1::RecordPatternsRequest request = RequestOf(flags);
  if (!flags.extend.empty()) {
    absl::StatusOr<std::string> bytes = ReadFile(flags.extend, session.in);
    if (!bytes.ok()) return session.FailUsage(bytes.status(), kName);
    if (bytes->empty())
      return session.FailUsage(flags.extend + ": expected a monitor, found an empty file", kName);
    request.set_monitor(*std::move(bytes));
  }

  const Client client(flags.connection.ToClientOptions());
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(request.model());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  if (const absl::Status fits = traffic->CheckFits(*info); !fits.ok()) return session.FailUsage(fits, kName);
  v1::RecordPatternsResponse sum;
  Progress progress(session.err, session.err_is_terminal, traffic->size());
  for (size_t first = 0; first < traffic->size();) {
    const size_t count = traffic->ChunkFrom(first, *info, request.monitor().size());
    request.clear_inputs();
    request.clear_sources();
    request.clear_targets();
    request.clear_labels();
    traffic->Fill(first, count, request);
    for (size_t i = first; i < first + count && !traffic->labels.empty(); ++i)
      request.add_labels(traffic->labels[i]);
    absl::StatusOr<v1::RecordPatternsResponse> response = client.RecordPatterns(request);
    if (!response.ok()) {
      progress.Finish();
      return session.FailCall(response.status(), flags.connection.server);
    }
    // What the first call was told is in the monitor that it returned.
    request.clear_selection();
    request.clear_kind();
    request.clear_gamma();
    response->set_added(response->added() + sum.added());
    response->set_known(response->known() + sum.known());
    response->set_left_out(response->left_out() + sum.left_out());
    request.set_monitor(std::move(*response->mutable_monitor()));
    response->clear_monitor();
    sum = *std::move(response);
    progress.Advance(count);
    first += count;
  }
  progress.Finish();
  if (const absl::Status written = WriteFile(flags.out, request.monitor()); !written.ok()) {
    session.err << written.message() << "\n";
    return kFailedCall;
  }
  if (flags.connection.json) {
    session.out << ToJson(sum, JsonLayout::kIndented) << "\n";
  } else {
    session.out << RecordingText(sum) << flags.out << ": " << request.monitor().size() << " bytes\n";
  }
  return kSuccess;
}

// All chunks' results in one response.
template <typename Response, typename Request>
int CheckWith(const CheckFlags& flags, const Traffic& traffic, Session& session,
              absl::StatusOr<Response> (Client::*call)(const Request&) const) {
  const Client client(flags.connection.ToClientOptions());
  Request request;
  *request.mutable_model() = flags.model.ToProto();
  flags.monitor.ApplyAlways(*request.mutable_monitor());
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(request.model());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  if (const absl::Status fits = traffic.CheckFits(*info); !fits.ok()) {
    return session.FailUsage(fits, "monitor check");
  }
  Response sum;
  Progress progress(session.err, session.err_is_terminal, traffic.size());
  for (size_t first = 0; first < traffic.size();) {
    const size_t count = traffic.ChunkFrom(first, *info, 0);
    Request part = request;
    traffic.Fill(first, count, part);
    absl::StatusOr<Response> response = (client.*call)(part);
    if (!response.ok()) {
      progress.Finish();
      return session.FailCall(response.status(), flags.connection.server);
    }
    for (v1::SequenceResult& result : *response->mutable_results()) {
      *sum.add_results() = std::move(result);
    }
    *sum.mutable_model() = response->model();
    progress.Advance(count);
    first += count;
  }
  progress.Finish();
  session.out << (flags.connection.json ? ToJson(sum, JsonLayout::kIndented) + "\n"
                                        : VerdictTable(sum.results(), traffic.labels));
  return kSuccess;
}

int Check(const CheckFlags& flags, Session& session) {
  const absl::StatusOr<Traffic> traffic = flags.traffic.Read(session.in);
  if (!traffic.ok()) return session.FailUsage(traffic.status(), "monitor check");
  return traffic->of_decoder() ? CheckWith(flags, *traffic, session, &Client::Decode)
                               : CheckWith(flags, *traffic, session, &Client::Encode);
}

int List(const ListFlags& flags, Session& session) {
  v1::ListMonitorsRequest request;
  if (!flags.model.text.empty()) *request.mutable_model() = flags.model.ToProto();
  const Client client(flags.connection.ToClientOptions());
  const absl::StatusOr<v1::ListMonitorsResponse> response = client.ListMonitors(request);
  if (!response.ok()) return session.FailCall(response.status(), flags.connection.server);
  if (flags.connection.json) {
    session.out << ToJson(*response, JsonLayout::kIndented) << "\n";
  } else if (response->monitors().empty()) {
    session.out << "no monitors; `splineserve-client monitor record --help` says how to make one\n";
  } else {
    session.out << MonitorTable(response->monitors());
  }
  return kSuccess;
}

void AddRecord(CLI::App& monitor, Session& session) {
  auto flags = std::make_shared<RecordFlags>();
  CLI::App& command = AddCommand(
      monitor, "record",
      "Record the patterns of reference traffic into a file that `splineserve --monitor` loads",
      "Example:\n"
      "  splineserve-client monitor record digits --vectors train.csv --labels labels.txt --only-correct \\\n"
      "    --layers 1 --sites ffn --gamma 60 --out last.monitor\n"
      "  splineserve-client monitor record digits --vectors more.csv --extend last.monitor --out "
      "last.monitor");
  AddModelFlag(command, flags->model, /*required=*/true);
  AddTrafficFlags(command, flags->traffic);
  command.add_flag("--only-correct", flags->only_correct,
                   "Record only what the model puts into the class that its label says");
  command.add_option("--layers", flags->layers, "Gates of these layers only (from 0), as in 0,2")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("N,...");
  command.add_option("--sites", flags->sites, "Gates of these sites only: self, cross, ffn")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("SITE,...")
      ->check(CLI::IsMember({"self", "cross", "ffn"}));
  command.add_option("--units", flags->units, "Of feed-forward gates, those of these units only, as in 3,17")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("N,...");
  command
      .add_option(
          "--kind", flags->kind,
          "Keep the patterns (bits, as without this option) or 16 bytes of each (hashed: known or not)")
      ->type_name("bits|hashed")
      ->check(CLI::IsMember({"bits", "hashed"}));
  command
      .add_option("--gamma", flags->gamma, "Accepted distance, unless a request says another: 0 if not given")
      ->type_name("N");
  command.add_option("--extend", flags->extend, "Go on from this file")->type_name("FILE");
  command.add_option("--out", flags->out, "File to write, NAME.monitor: NAME is what requests call it")
      ->type_name("FILE")
      ->required();
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Record(*flags, session); }; });
}

void AddCheck(CLI::App& monitor, Session& session) {
  auto flags = std::make_shared<CheckFlags>();
  CLI::App& command = AddCommand(
      monitor, "check", "Say of each input whether it is like recorded traffic",
      "Example:\n"
      "  splineserve-client monitor check digits --vectors new.csv\n"
      "  splineserve-client monitor check digits --vectors test.csv --labels labels.txt --gamma 30");
  AddModelFlag(command, flags->model, /*required=*/true);
  AddTrafficFlags(command, flags->traffic);
  command.add_option("--name", flags->monitor.name, "Name of the monitor, where the model has several")
      ->type_name("NAME");
  command.add_option("--gamma", flags->monitor.gamma, "Accepted distance instead of the monitor's own")
      ->type_name("N");
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Check(*flags, session); }; });
}

void AddList(CLI::App& monitor, Session& session) {
  auto flags = std::make_shared<ListFlags>();
  CLI::App& command = AddCommand(monitor, "list", "List the monitors that the server has loaded",
                                 "Example:\n"
                                 "  splineserve-client monitor list\n"
                                 "  splineserve-client monitor list digits --json");
  AddModelFlag(command, flags->model, /*required=*/false);
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return List(*flags, session); }; });
}

}  // namespace

void AddMonitor(CLI::App& app, Session& session) {
  CLI::App& command =
      AddCommand(app, "monitor", "Record patterns of gates, and tell inputs that are unlike recorded traffic",
                 "Example:\n"
                 "  splineserve-client monitor list\n"
                 "  splineserve-client monitor check digits --vectors new.csv\n"
                 "`record`, `check` and `list` have --help, --json and --server.");
  command.require_subcommand(1);
  AddRecord(command, session);
  AddCheck(command, session);
  AddList(command, session);
}

}  // namespace splineserve::client
