#include "core/format/vocabulary.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"
#include "core/format/untrusted_text.h"

namespace splineserve {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

}  // namespace

absl::StatusOr<Vocabulary> Vocabulary::Parse(std::string_view text, std::string_view file,
                                             VocabularySplit split, size_t expected_size) {
  Vocabulary vocabulary;
  vocabulary.split_ = split;
  for (size_t line = 1; !text.empty(); ++line) {
    const auto fail = [&](const std::string& problem) {
      return FileError(file, absl::StrCat("line ", line, ": ", problem));
    };
    if (vocabulary.size() == expected_size) {
      return fail(absl::StrCat("expected the end, after one entry for each of the ", expected_size,
                               " ids of vocab_size, found more"));
    }
    const size_t newline = text.find('\n');
    std::string_view entry = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    if (!entry.empty() && entry.back() == '\r') entry.remove_suffix(1);

    if (entry.empty()) return fail("expected an entry, found an empty line");
    if (const size_t valid = ValidUtf8Prefix(entry); valid != entry.size()) {
      return fail(absl::StrCat("expected UTF-8, found an invalid byte at column ", valid + 1, " of \"",
                               Excerpt(entry), "\""));
    }
    if (split == VocabularySplit::kWhitespace && std::any_of(entry.begin(), entry.end(), IsSpace)) {
      return fail(absl::StrCat("expected an entry without whitespace, found \"", Excerpt(entry), "\""));
    }
    const auto [at, inserted] = vocabulary.ids_.emplace(entry, static_cast<int32_t>(vocabulary.size()));
    if (!inserted) {
      return fail(absl::StrCat("expected a new entry, found \"", Excerpt(entry), "\", which is on line ",
                               at->second + 1, " too"));
    }
    vocabulary.entries_.emplace_back(entry);
  }
  if (vocabulary.size() != expected_size) {
    return FileError(
        file, absl::StrCat("expected ", expected_size, " entries, one for each id of vocab_size, found ",
                           vocabulary.size()));
  }
  return vocabulary;
}

absl::StatusOr<std::vector<int32_t>> Vocabulary::Encode(std::string_view text) const {
  if (const size_t valid = ValidUtf8Prefix(text); valid != text.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected UTF-8, found an invalid byte at offset ", valid));
  }
  std::vector<int32_t> ids;
  for (size_t offset = 0; offset < text.size();) {
    size_t end = offset;
    if (split_ == VocabularySplit::kCharacters) {
      end += CodePointLength(text.substr(offset));
    } else {
      if (IsSpace(text[offset])) {
        ++offset;
        continue;
      }
      while (end < text.size() && !IsSpace(text[end])) ++end;
    }
    const std::string token(text.substr(offset, end - offset));
    const auto it = ids_.find(token);
    if (it == ids_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("token ", ids.size(), " at byte ", offset,
                                                     ": expected an entry of the vocabulary, found \"",
                                                     Excerpt(token), "\""));
    }
    ids.push_back(it->second);
    offset = end;
  }
  return ids;
}

std::string Vocabulary::Decode(absl::Span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    if (split_ == VocabularySplit::kWhitespace && !text.empty()) text += ' ';
    text += entry(id);
  }
  return text;
}

}  // namespace splineserve
