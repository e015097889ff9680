#include "client/sequence_input.h"

#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/charconv.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/status_macros.h"

namespace splineserve::client {
namespace {

absl::string_view View(std::string_view text) { return absl::string_view(text.data(), text.size()); }

// UTF-8 code points; a byte that fits nowhere stands alone.
std::vector<std::string> Characters(std::string_view text) {
  std::vector<std::string> characters;
  for (char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) == 0x80 && !characters.empty()) {
      characters.back() += c;
    } else {
      characters.emplace_back(1, c);
    }
  }
  return characters;
}

std::vector<std::string> Words(std::string_view text) {
  return absl::StrSplit(View(text), absl::ByAnyChar(" \t\r\n\v\f"), absl::SkipEmpty());
}

std::string Printable(std::string_view text) {
  std::string shown;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&shown, "\\x%02x", byte);
    } else {
      shown += c;
    }
  }
  return shown;
}

absl::StatusOr<float> ParseFloat(absl::string_view text, const std::string& place) {
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  float value = 0;
  const absl::from_chars_result parsed = absl::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec == std::errc::invalid_argument || parsed.ptr != text.data() + text.size()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": expected a number, found \"", text, "\""));
  }
  // Out of range is also said of numbers too small to represent; those become 0 or the nearest subnormal
  // number.
  if (!std::isfinite(value) || (parsed.ec == std::errc::result_out_of_range && std::abs(value) > 1)) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": expected a finite float32, found ", text));
  }
  return value;
}

// The numbers of a line: between commas or semicolons, white space, or both. INVALID_ARGUMENT where a comma
// has nothing before it; the line's end may follow one.
absl::StatusOr<std::vector<absl::string_view>> Cells(absl::string_view line, const std::string& place) {
  std::vector<absl::string_view> cells;
  const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::ByAnyChar(",;"));
  for (size_t f = 0; f < fields.size(); ++f) {
    const size_t before = cells.size();
    for (absl::string_view cell : absl::StrSplit(fields[f], absl::ByAnyChar(" \t\r"), absl::SkipEmpty()))
      cells.push_back(cell);
    if (cells.size() == before && f + 1 < fields.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ", number ", before + 1, ": expected a number, found nothing"));
    }
  }
  return cells;
}

}  // namespace

v1::Sequence TextSequence(std::string text) {
  v1::Sequence sequence;
  sequence.set_text(std::move(text));
  return sequence;
}

absl::StatusOr<v1::Sequence> ParseTokens(std::string_view text) {
  v1::Sequence sequence;
  for (absl::string_view part : absl::StrSplit(View(text), absl::ByAnyChar(", \t"), absl::SkipEmpty())) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(part, &id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ids: expected a whole number, found \"", part, "\""));
    }
    sequence.mutable_tokens()->add_ids(id);
  }
  if (!sequence.has_tokens())
    return absl::InvalidArgumentError("token ids: expected at least one, as in 1,2,3");
  return sequence;
}

absl::StatusOr<std::vector<v1::Sequence>> ParseVectors(std::string_view text, std::string_view name) {
  std::vector<v1::Sequence> sequences;
  bool open = false;  // the last sequence may get more rows
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(absl::StripPrefix(View(text), "\xEF\xBB\xBF"), '\n')) {
    ++number;
    if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(line), "#")) continue;
    SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<absl::string_view> cells,
                                 Cells(line, absl::StrFormat("%s, line %d", View(name), number)));
    if (cells.empty()) {
      open = false;
      continue;
    }
    if (!std::exchange(open, true)) sequences.emplace_back();
    v1::Matrix& matrix = *sequences.back().mutable_vectors();
    if (matrix.rows() == 0) {
      matrix.set_cols(static_cast<uint32_t>(cells.size()));
    } else if (cells.size() != matrix.cols()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s, line %d: expected %d numbers, as in the rows above, found %d", View(name),
                          number, matrix.cols(), cells.size()));
    }
    for (size_t i = 0; i < cells.size(); ++i) {
      SPLINESERVE_ASSIGN_OR_RETURN(
          const float value,
          ParseFloat(cells[i], absl::StrFormat("%s, line %d, number %d", View(name), number, i + 1)));
      matrix.add_values(value);
    }
    matrix.set_rows(matrix.rows() + 1);
  }
  if (sequences.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(View(name), ": expected rows of numbers, found none"));
  }
  return sequences;
}

std::vector<std::string> TokenLabels(const v1::Sequence& sequence, size_t tokens) {
  std::vector<std::string> labels;
  if (sequence.has_text()) {
    labels = Characters(sequence.text());
    if (labels.size() != tokens) labels = Words(sequence.text());
  } else if (sequence.has_tokens()) {
    for (int32_t id : sequence.tokens().ids()) labels.push_back(absl::StrCat(id));
  }
  if (labels.size() != tokens) return {};
  for (std::string& label : labels) label = label == " " ? "' '" : Printable(label);
  return labels;
}

size_t CountTokens(const v1::Sequence& sequence, std::string_view split) {
  if (sequence.has_tokens()) return static_cast<size_t>(sequence.tokens().ids_size());
  if (sequence.has_vectors()) return sequence.vectors().rows();
  return split == "whitespace" ? Words(sequence.text()).size() : Characters(sequence.text()).size();
}

std::string Describe(const v1::Sequence& sequence) {
  if (sequence.has_text()) return absl::StrCat("\"", Printable(sequence.text()), "\"");
  if (sequence.has_tokens()) return absl::StrCat("[", absl::StrJoin(sequence.tokens().ids(), ", "), "]");
  return absl::StrCat(sequence.vectors().rows(), " x ", sequence.vectors().cols(), " numbers");
}

}  // namespace splineserve::client
