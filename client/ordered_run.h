// Many calls in flight, their results in the order of the lines that asked for them.
#ifndef SPLINESERVE_CLIENT_ORDERED_RUN_H_
#define SPLINESERVE_CLIENT_ORDERED_RUN_H_

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "client/input_lines.h"

namespace splineserve::client {

struct LineResult {
  absl::Status status;
  std::string
      output;  // what to print, also for a failed line, so that lines of input and output stay in step
};

// Calls `work` for every line, on up to `concurrency` threads at a time, and `print` for every result, one at
// a time and in the order of the lines, as soon as all lines before it are printed. Returns how many lines
// failed.
size_t RunInOrder(InputLines& lines, size_t concurrency,
                  const std::function<LineResult(const InputLines::Line&)>& work,
                  const std::function<void(size_t index, const LineResult&)>& print);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_ORDERED_RUN_H_
