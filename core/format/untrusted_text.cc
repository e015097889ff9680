#include "core/format/untrusted_text.h"

#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace splineserve {

size_t CodePointLength(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // The second byte rules out what the lead alone cannot: overlong forms, surrogates, values above U+10FFFF.
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) > 0x9f) ||
      (lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) > 0x8f)) {
    return 0;
  }
  return length;
}

size_t ValidUtf8Prefix(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    const size_t length = CodePointLength(text.substr(offset));
    if (length == 0) break;
    offset += length;
  }
  return offset;
}

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
