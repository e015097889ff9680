// The command line of splineserve-client.
#ifndef SPLINESERVE_CLIENT_COMMAND_LINE_H_
#define SPLINESERVE_CLIENT_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "client/commands/session.h"

namespace splineserve::client {

// Runs one command (`arguments` without the program's name) and returns the exit status: 0, 1 (failed call,
// unwritable output) or 2 (bad usage). Prints to the session's streams alone.
int RunCommandLine(std::vector<std::string> arguments, Session& session);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMAND_LINE_H_
