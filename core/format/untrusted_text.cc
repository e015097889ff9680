#include "core/format/untrusted_text.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"

namespace splineserve {

std::string Excerpt(std::string_view text) {
  constexpr size_t kMaxBytes = 100;
  std::string_view shown = text.substr(0, kMaxBytes);
  if (shown.size() < text.size()) {
    // Not in the middle of a code point, where that is what was cut.
    const size_t whole = ValidUtf8Prefix(shown);
    if (shown.size() - whole < 4) shown = shown.substr(0, whole);
  }
  const absl::string_view bytes(shown.data(), shown.size());
  std::string out =
      ValidUtf8Prefix(shown) == shown.size() ? absl::Utf8SafeCHexEscape(bytes) : absl::CHexEscape(bytes);
  if (shown.size() < text.size()) out += "...";
  return out;
}

absl::Status FileError(std::string_view file, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(file), ": ", problem));
}

absl::Status TensorError(std::string_view file, std::string_view tensor, const std::string& problem) {
  return FileError(file, absl::StrCat("tensor ", Excerpt(tensor), ": ", problem));
}

bool IsPlainFileName(std::string_view name) {
  if (name.empty() || name.size() > 255 || name == "." || name == "..") return false;
  for (const char c : name) {
    if (c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

}  // namespace splineserve
