// Lines of a file or of standard input, handed out one by one to several threads.
#ifndef SPLINESERVE_CLIENT_INPUT_LINES_H_
#define SPLINESERVE_CLIENT_INPUT_LINES_H_

#include <cstddef>
#include <istream>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace splineserve::client {

// The whole of a file; "-" is `standard_input`. NOT_FOUND with the system's reason if it cannot be read.
absl::StatusOr<std::string> ReadFile(const std::string& path, std::istream& standard_input);

// Thread-safe.
class InputLines {
 public:
  struct Line {
    size_t index = 0;  // from 0
    std::string text;  // without its end ("\n" or "\r\n")
  };

  // The lines of a file are counted beforehand. Those of `standard_input` ("-") are read when they are asked
  // for, so that a program that writes them one by one sees their results as they come.
  static absl::StatusOr<InputLines> Open(const std::string& path, std::istream& standard_input);
  static InputLines Of(std::vector<std::string> lines);

  std::optional<size_t> total() const { return total_; }
  // nullopt at the end.
  std::optional<Line> Next();

  // Not while another thread uses either.
  InputLines(InputLines&& other) noexcept;
  InputLines& operator=(InputLines&& other) noexcept;

 private:
  InputLines() = default;

  std::mutex mutex_;
  std::istream* stream_ = nullptr;  // null: lines_
  std::vector<std::string> lines_;
  std::optional<size_t> total_;
  size_t next_ = 0;
};

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_INPUT_LINES_H_
