// `encode`: the encoder's rows for whole sequences.
#include <memory>
#include <utility>

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
  SequenceFlags inputs;
  OutputFlags output;
  PieceFlags pieces;
  MonitorFlags monitor;
};

int Run(const Flags& flags, Session& session) {
  if (flags.inputs.empty())
    return session.FailUsage("nothing to encode: give --text, --tokens or --vectors", "encode");
  absl::StatusOr<std::vector<v1::Sequence>> inputs = flags.inputs.Read(session.in);
  if (!inputs.ok()) return session.FailUsage(inputs.status(), "encode");

  v1::EncodeRequest request;
  *request.mutable_model() = flags.model.ToProto();
  request.mutable_inputs()->Add(inputs->begin(), inputs->end());
  request.set_output(flags.output.ToProto());
  request.set_smoothing_error(flags.output.smoothing_error);
  if (flags.output.float64)
    request.mutable_float64()->set_max_gates(flags.output.full ? kMostListedGates : 0);
  if (absl::Status status = flags.pieces.Apply(*request.mutable_pieces()); !status.ok()) {
    return session.FailUsage(status, "encode");
  }
  if (absl::Status status = flags.monitor.Apply(request); !status.ok())
    return session.FailUsage(status, "encode");

  const Client client(flags.connection.ToClientOptions());
  const absl::StatusOr<v1::EncodeResponse> response = client.Encode(request);
  if (!response.ok()) return session.FailCall(response.status(), flags.connection.server);
  if (flags.connection.json) {
    session.out << ToJson(*response, JsonLayout::kIndented) << "\n";
    return kSuccess;
  }
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(request.model());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  const bool is_head = info->architecture() == v1::ModelInfo::ENCODER && info->head().kind() == "linear" &&
                       request.output() != v1::OutputKind::HIDDEN;
  const EvaluationText text{
      .info = *info, .is_head = is_head, .full = flags.output.full, .pieces = flags.pieces.wanted()};
  session.out << text.ToString(response->model(), *inputs, response->results(), response->timing());
  return kSuccess;
}

}  // namespace

void AddEncode(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = AddCommand(app, "encode", "Run the encoder over whole sequences",
                                 "Example:\n"
                                 "  splineserve-client encode g2p --text spline --pieces counts\n"
                                 "  splineserve-client encode digits --vectors digit.csv --pieces counts\n"
                                 "  splineserve-client encode digits --vectors digit.csv --monitor\n"
                                 "  splineserve-client encode digits@softplus1000 --vectors digit.csv "
                                 "--smoothing-error");
  AddModelFlag(command, flags->model, /*required=*/true);
  AddSequenceFlags(command, flags->inputs, "Input");
  AddOutputFlags(command, flags->output);
  AddErrorFlags(command, flags->output);
  AddPieceFlags(command, flags->pieces);
  AddMonitorFlags(command, flags->monitor);
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Run(*flags, session); }; });
}

}  // namespace splineserve::client
