// splineserve-compile: see command_line.h.
#include <iostream>
#include <string>
#include <vector>

#include "client/compile/command_line.h"

int main(int argc, char** argv) {
  return splineserve::client::RunCompile(std::vector<std::string>(argv + 1, argv + argc), std::cin, std::cout,
                                         std::cerr);
}
