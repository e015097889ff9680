// Sequences as people write them: text, token ids, rows of numbers.
#ifndef SPLINESERVE_CLIENT_SEQUENCE_INPUT_H_
#define SPLINESERVE_CLIENT_SEQUENCE_INPUT_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "splineserve/v1/types.pb.h"

namespace splineserve::client {

v1::Sequence TextSequence(std::string text);

// "1,2,3" or "1 2 3". INVALID_ARGUMENT names the part that is not a whole number of 32 bits, or says that
// there is none.
absl::StatusOr<v1::Sequence> ParseTokens(std::string_view text);

// Rows of numbers, separated by commas, semicolons or spaces; a blank line ends a sequence, lines that start
// with '#' are skipped. INVALID_ARGUMENT names `name`, line and column of what is not a finite float32, or of
// a row that is longer or shorter than its sequence's first, or says that there is no row.
absl::StatusOr<std::vector<v1::Sequence>> ParseVectors(std::string_view text, std::string_view name);

// What to call the tokens of a sequence that has `tokens` of them: the characters or words of a text, the
// ids, or nothing where that is not known. Control characters are shown as "\x0a".
std::vector<std::string> TokenLabels(const v1::Sequence& sequence, size_t tokens);

// Tokens of a sequence, by `split` ("characters" or "whitespace") for text.
size_t CountTokens(const v1::Sequence& sequence, std::string_view split);

// "hello", [1, 2, 3] or 8 x 8 numbers: a sequence in a heading.
std::string Describe(const v1::Sequence& sequence);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_SEQUENCE_INPUT_H_
