// The commands of splineserve-client. Each function adds one to the parser; when it is chosen on the command
// line, `session.action` is set.
#ifndef SPLINESERVE_CLIENT_COMMANDS_COMMANDS_H_
#define SPLINESERVE_CLIENT_COMMANDS_COMMANDS_H_

#include "CLI/CLI.hpp"
#include "client/commands/session.h"

namespace splineserve::client {

void AddModels(CLI::App& app, Session& session);
void AddEncode(CLI::App& app, Session& session);
void AddDecode(CLI::App& app, Session& session);
void AddGenerate(CLI::App& app, Session& session);
void AddTrace(CLI::App& app, Session& session);
void AddDifferentiate(CLI::App& app, Session& session);
void AddEvaluateOnPiece(CLI::App& app, Session& session);
void AddCompare(CLI::App& app, Session& session);
void AddCall(CLI::App& app, Session& session);
void AddBench(CLI::App& app, Session& session);
void AddMonitor(CLI::App& app, Session& session);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMANDS_COMMANDS_H_
