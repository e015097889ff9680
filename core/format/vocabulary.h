// Text <-> token ids through a vocabulary file: one entry a line, the line number (from 0) is the id.
#ifndef SPLINESERVE_CORE_FORMAT_VOCABULARY_H_
#define SPLINESERVE_CORE_FORMAT_VOCABULARY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/format/model_config.h"

namespace splineserve {

// Immutable after Parse; thread-safe.
class Vocabulary {
 public:
  // INVALID_ARGUMENT (file and line) for: invalid UTF-8, an empty or repeated entry, an entry with whitespace
  // when splitting by whitespace, a number of entries other than `expected_size`. One final newline and CRLF
  // are fine.
  static absl::StatusOr<Vocabulary> Parse(std::string_view text, std::string_view file, VocabularySplit split,
                                          size_t expected_size);

  // Characters: each UTF-8 code point is one token. Whitespace: each run of non-space is one.
  // INVALID_ARGUMENT names the first unknown token and its position, or the first byte that is not UTF-8.
  // Empty text gives no ids.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const;

  // Entries joined by nothing (characters) or single spaces (whitespace). Ids must be in [0, size()).
  std::string Decode(absl::Span<const int32_t> ids) const;

  const std::string& entry(int32_t id) const { return entries_[id]; }
  size_t size() const { return entries_.size(); }
  VocabularySplit split() const { return split_; }

 private:
  std::vector<std::string> entries_;
  std::unordered_map<std::string, int32_t> ids_;
  VocabularySplit split_ = VocabularySplit::kCharacters;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_VOCABULARY_H_
