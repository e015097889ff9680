#include "client/input_lines.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve::client {
namespace {

void StripCarriageReturn(std::string& line) {
  if (!line.empty() && line.back() == '\r') line.pop_back();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, std::istream& standard_input) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(standard_input), {});
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path, ": it is a directory"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", std::strerror(errno)));
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", std::strerror(errno)));
  return text;
}

absl::StatusOr<InputLines> InputLines::Open(const std::string& path, std::istream& standard_input) {
  if (path == "-") {
    InputLines lines;
    lines.stream_ = &standard_input;
    return lines;
  }
  SPLINESERVE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, standard_input));
  std::vector<std::string> lines;
  for (size_t start = 0; start < text.size();) {
    size_t end = text.find('\n', start);
    if (end == std::string::npos) end = text.size();
    lines.push_back(text.substr(start, end - start));
    StripCarriageReturn(lines.back());
    start = end + 1;
  }
  return Of(std::move(lines));
}

InputLines InputLines::Of(std::vector<std::string> lines) {
  InputLines result;
  result.total_ = lines.size();
  result.lines_ = std::move(lines);
  return result;
}

InputLines::InputLines(InputLines&& other) noexcept { *this = std::move(other); }

InputLines& InputLines::operator=(InputLines&& other) noexcept {
  stream_ = other.stream_;
  lines_ = std::move(other.lines_);
  total_ = other.total_;
  next_ = other.next_;
  return *this;
}

std::optional<InputLines::Line> InputLines::Next() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (stream_ == nullptr) {
    if (next_ == lines_.size()) return std::nullopt;
    const size_t index = next_++;
    return Line{index, std::move(lines_[index])};
  }
  std::string text;
  if (!std::getline(*stream_, text)) return std::nullopt;
  StripCarriageReturn(text);
  return Line{next_++, std::move(text)};
}

}  // namespace splineserve::client
