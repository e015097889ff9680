#include "client/command_line.h"

#include <algorithm>
#include <sstream>

#include "CLI/CLI.hpp"
#include "client/commands/commands.h"

namespace splineserve::client {

int RunCommandLine(std::vector<std::string> arguments, Session& session) {
  CLI::App app("Sample client of SplineServe: spline-form transformers, served with their pieces.",
               "splineserve-client");
  app.require_subcommand(1);
  app.footer(
      "\nExample:\n"
      "  splineserve-client models\n"
      "  splineserve-client generate g2p --text spline --pieces\n"
      "Exit status: 0, 1 (a call failed) or 2 (bad usage).");
  AddModels(app, session);
  AddEncode(app, session);
  AddDecode(app, session);
  AddGenerate(app, session);
  AddTrace(app, session);
  AddDifferentiate(app, session);
  AddEvaluateOnPiece(app, session);
  AddCompare(app, session);
  AddCall(app, session);
  AddBench(app, session);
  AddMonitor(app, session);
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    std::ostringstream message;
    const int status = app.exit(error, session.out, message);
    session.err << message.str();
    return status == 0 ? kSuccess : kBadUsage;
  }
  const int status = session.action();
  session.out.flush();
  if (!session.out) {
    session.err << "cannot write to the output\n";
    return kFailedCall;
  }
  return status;
}

}  // namespace splineserve::client
