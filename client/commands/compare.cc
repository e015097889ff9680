// `compare`: how much the pieces of several inputs differ.
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/commands/commands.h"
#include "client/commands/evaluation.h"
#include "client/commands/model_input_options.h"
#include "client/commands/options.h"
#include "client/distance_text.h"
#include "client/json.h"
#include "client/piece_text.h"
#include "client/sequence_input.h"

namespace splineserve::client {
namespace {

struct Flags {
  ConnectionFlags connection;
  ModelFlag model;
  ModelInputFlags inputs{""};
};

// What to call the tokens of each input's sequence in a stack.
std::vector<std::vector<std::string>> LabelsOf(const v1::CompareRequest& request,
                                               const v1::StackComparison& stack) {
  std::vector<std::vector<std::string>> labels;
  for (int i = 0; i < request.inputs_size() && i < stack.tokens_size(); ++i) {
    const v1::ModelInput& input = request.inputs(i);
    labels.push_back(TokenLabels(stack.stack() == v1::GateRef::ENCODER ? input.source() : input.target(),
                                 stack.tokens(i)));
  }
  return labels;
}

int Run(const Flags& flags, Session& session) {
  if (flags.inputs.empty()) {
    return session.FailUsage("nothing to compare: give --text, --tokens or --vectors, twice or more",
                             "compare");
  }
  const Client client(flags.connection.ToClientOptions());
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(flags.model.ToProto());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  absl::StatusOr<std::vector<v1::ModelInput>> inputs = flags.inputs.Read(*info, session.in);
  if (!inputs.ok()) return session.FailUsage(inputs.status(), "compare");
  if (inputs->size() < 2) {
    return session.FailUsage("expected two inputs or more, found one: repeat --text, --tokens or --vectors",
                             "compare");
  }
  v1::CompareRequest request;
  *request.mutable_model() = flags.model.ToProto();
  request.mutable_inputs()->Add(inputs->begin(), inputs->end());
  const absl::StatusOr<v1::CompareResponse> response = client.Compare(request);
  if (!response.ok()) return session.FailCall(response.status(), flags.connection.server);
  if (flags.connection.json) {
    session.out << ToJson(*response, JsonLayout::kIndented) << "\n";
    return kSuccess;
  }
  std::string text = absl::StrCat(ModelHeading(response->model(), *info), "\n");
  for (int i = 0; i < request.inputs_size(); ++i) {
    absl::StrAppend(&text, i, ": ", Describe(request.inputs(i)), "\n");
  }
  for (const v1::StackComparison& stack : response->stacks()) {
    absl::StrAppend(&text, "\n", ComparisonText(stack, LabelsOf(request, stack)));
  }
  session.out << text << "\n"
              << PieceNote(info->spline_class(), info->degree_bound()) << "\n"
              << TimingText(response->timing());
  return kSuccess;
}

}  // namespace

void AddCompare(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      AddCommand(app, "compare", "Compare the pieces of two or more inputs: how many gates differ, and where",
                 "Example:\n"
                 "  splineserve-client compare g2p --text cat --text cut --text cats\n"
                 "  splineserve-client compare digits --vectors digits.csv --json");
  AddModelFlag(command, flags->model, /*required=*/true);
  AddModelInputFlags(command, flags->inputs, "Input");
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Run(*flags, session); }; });
}

}  // namespace splineserve::client
