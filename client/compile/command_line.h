// The command line of splineserve-compile.
#ifndef SPLINESERVE_CLIENT_COMPILE_COMMAND_LINE_H_
#define SPLINESERVE_CLIENT_COMPILE_COMMAND_LINE_H_

#include <istream>
#include <ostream>
#include <string>
#include <vector>

namespace splineserve::client {

// Runs the program (`arguments` without its name) and returns the exit status: 0, 1 (the spline was refused
// or the model failed its check, and nothing is left behind) or 2 (bad usage). Prints to the streams alone.
int RunCompile(std::vector<std::string> arguments, std::istream& in, std::ostream& out, std::ostream& err);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMPILE_COMMAND_LINE_H_
