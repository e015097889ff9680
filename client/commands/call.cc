// `call`: any method of the API, with JSON in and JSON out.
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/commands/commands.h"
#include "client/commands/options.h"
#include "client/input_lines.h"
#include "client/json.h"
#include "client/method_call.h"

namespace splineserve::client {
namespace {

using google::protobuf::Message;

struct Flags {
  ConnectionFlags connection;
  std::string method;
  bool list = false;
};

absl::StatusOr<std::unique_ptr<Message>> ParseRequest(const std::string& json,
                                                      const google::protobuf::Descriptor& type) {
  std::unique_ptr<Message> request = NewMessage(type);
  // No input at all is the request with nothing set, as for ListModels.
  const bool empty = absl::StripAsciiWhitespace(json).empty();
  if (absl::Status status = FromJson(empty ? "{}" : json, *request); !status.ok()) return status;
  return request;
}

int Run(const Flags& flags, Session& session) {
  if (flags.list) {
    for (const std::string& name : MethodNames()) session.out << name << "\n";
    return kSuccess;
  }
  if (flags.method.empty()) return session.FailUsage("which method? `call --list` lists them", "call");
  const absl::StatusOr<const google::protobuf::MethodDescriptor*> method = FindMethod(flags.method);
  if (!method.ok()) return session.FailUsage(method.status(), "call");

  std::vector<std::unique_ptr<Message>> requests;
  if ((*method)->client_streaming()) {
    absl::StatusOr<InputLines> lines = InputLines::Open("-", session.in);
    while (std::optional<InputLines::Line> line = lines->Next()) {
      if (absl::StripAsciiWhitespace(line->text).empty()) continue;
      absl::StatusOr<std::unique_ptr<Message>> request = ParseRequest(line->text, *(*method)->input_type());
      if (!request.ok()) {
        return session.FailUsage(absl::StrCat("line ", line->index + 1, ": ", request.status().message()),
                                 "call");
      }
      requests.push_back(*std::move(request));
    }
  } else {
    const absl::StatusOr<std::string> json = ReadFile("-", session.in);
    absl::StatusOr<std::unique_ptr<Message>> request = ParseRequest(*json, *(*method)->input_type());
    if (!request.ok()) return session.FailUsage(request.status(), "call");
    requests.push_back(*std::move(request));
  }

  const ClientOptions options = flags.connection.ToClientOptions();
  const JsonLayout layout = (*method)->server_streaming() ? JsonLayout::kOneLine : JsonLayout::kIndented;
  const absl::Status status = CallMethod(**method, requests, MakeChannel(options.server), options.deadline,
                                         [&](const Message& response) {
                                           session.out << ToJson(response, layout) << "\n" << std::flush;
                                         });
  return status.ok() ? kSuccess : session.FailCall(status, options.server);
}

}  // namespace

void AddCall(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      AddCommand(app, "call",
                 "Call any method: a request as JSON on standard input (nothing for an empty one), the "
                 "answer as JSON on standard "
                 "output; streams one message a line",
                 "Example:\n"
                 "  echo '{\"model\": {\"name\": \"g2p\"}, \"source\": {\"text\": \"spline\"}}' |\n"
                 "    splineserve-client call InferenceService/Generate");
  command.add_option("METHOD", flags->method, "SERVICE/METHOD, with or without the package's name")
      ->type_name("");
  command.add_flag("--list", flags->list, "List the methods");
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Run(*flags, session); }; });
}

}  // namespace splineserve::client
