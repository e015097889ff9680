// splineserve-client: see command_line.h.
#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "client/command_line.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  // Else reading a line would flush cout, while another thread prints: lines came out twice.
  std::cin.tie(nullptr);
  splineserve::client::Session session{
      .in = std::cin, .out = std::cout, .err = std::cerr, .err_is_terminal = isatty(STDERR_FILENO) == 1};
  return splineserve::client::RunCommandLine(std::vector<std::string>(argv + 1, argv + argc), session);
}
