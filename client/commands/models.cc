// `models`: what the server holds.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/client.h"
#include "client/commands/commands.h"
#include "client/commands/options.h"
#include "client/json.h"
#include "client/model_text.h"

namespace splineserve::client {
namespace {

struct Flags {
  ConnectionFlags connection;
  ModelFlag model;
};

int Run(const Flags& flags, Session& session) {
  const Client client(flags.connection.ToClientOptions());
  if (flags.model.text.empty()) {
    const absl::StatusOr<v1::ListModelsResponse> response = client.ListModels();
    if (!response.ok()) return session.FailCall(response.status(), flags.connection.server);
    session.out << (flags.connection.json ? ToJson(*response, JsonLayout::kIndented) + "\n"
                                          : ModelTable(*response));
    return kSuccess;
  }
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(flags.model.ToProto());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  session.out << (flags.connection.json ? ToJson(*info, JsonLayout::kIndented) + "\n" : ModelText(*info));
  return kSuccess;
}

}  // namespace

void AddModels(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = AddCommand(app, "models", "List the models that the server holds, or describe one",
                                 "Example:\n"
                                 "  splineserve-client models\n"
                                 "  splineserve-client models g2p");
  AddModelFlag(command, flags->model, /*required=*/false);
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Run(*flags, session); }; });
}

}  // namespace splineserve::client
