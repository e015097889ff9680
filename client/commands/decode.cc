// `decode`: the decoder's rows for whole given sequences (teacher forcing).
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/commands/commands.h"
#include "client/commands/evaluation.h"
#include "client/commands/options.h"
#include "client/json.h"

namespace splineserve::client {
namespace {

struct Flags {
  ConnectionFlags connection;
  ModelFlag model;
  SequenceFlags sources{.prefix = "source-"};
  SequenceFlags targets{.prefix = "target-"};
  OutputFlags output;
  PieceFlags pieces;
  MonitorFlags monitor;
};

int Run(const Flags& flags, Session& session) {
  if (flags.targets.empty()) {
    return session.FailUsage("nothing to decode: give --target-text, --target-tokens or --target-vectors",
                             "decode");
  }
  absl::StatusOr<std::vector<v1::Sequence>> sources = flags.sources.Read(session.in);
  if (!sources.ok()) return session.FailUsage(sources.status(), "decode");
  absl::StatusOr<std::vector<v1::Sequence>> targets = flags.targets.Read(session.in);
  if (!targets.ok()) return session.FailUsage(targets.status(), "decode");
  if (!sources->empty() && sources->size() != targets->size()) {
    return session.FailUsage(absl::StrCat("expected one source for each target, found ", sources->size(),
                                          " sources and ", targets->size(), " targets"),
                             "decode");
  }

  v1::DecodeRequest request;
  *request.mutable_model() = flags.model.ToProto();
  request.mutable_sources()->Add(sources->begin(), sources->end());
  request.mutable_targets()->Add(targets->begin(), targets->end());
  request.set_output(flags.output.ToProto());
  request.set_smoothing_error(flags.output.smoothing_error);
  if (flags.output.float64)
    request.mutable_float64()->set_max_gates(flags.output.full ? kMostListedGates : 0);
  if (absl::Status status = flags.pieces.Apply(*request.mutable_pieces()); !status.ok()) {
    return session.FailUsage(status, "decode");
  }
  if (absl::Status status = flags.monitor.Apply(request); !status.ok())
    return session.FailUsage(status, "decode");

  const Client client(flags.connection.ToClientOptions());
  const absl::StatusOr<v1::DecodeResponse> response = client.Decode(request);
  if (!response.ok()) return session.FailCall(response.status(), flags.connection.server);
  if (flags.connection.json) {
    session.out << ToJson(*response, JsonLayout::kIndented) << "\n";
    return kSuccess;
  }
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(request.model());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  const bool is_head = info->head().kind() == "linear" && request.output() != v1::OutputKind::HIDDEN;
  const EvaluationText text{
      .info = *info, .is_head = is_head, .full = flags.output.full, .pieces = flags.pieces.wanted()};
  session.out << text.ToString(response->model(), *targets, response->results(), response->timing());
  return kSuccess;
}

}  // namespace

void AddDecode(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = AddCommand(
      app, "decode",
      "Run the decoder over whole given sequences, all positions at once. Targets are taken as they are: "
      "nothing is "
      "put before them",
      "Example:\n"
      "  splineserve-client decode g2p --source-text cat --target-tokens 1,22,5,33 --pieces counts\n"
      "  splineserve-client decode words --target-text spline");
  AddModelFlag(command, flags->model, /*required=*/true);
  AddSequenceFlags(command, flags->sources, "Source of an encoder-decoder");
  AddSequenceFlags(command, flags->targets, "Target");
  AddOutputFlags(command, flags->output);
  AddErrorFlags(command, flags->output);
  AddPieceFlags(command, flags->pieces);
  AddMonitorFlags(command, flags->monitor);
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Run(*flags, session); }; });
}

}  // namespace splineserve::client
