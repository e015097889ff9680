#include "client/generation_text.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/piece_text.h"

namespace splineserve::client {

std::string HypothesisText(const v1::Hypothesis& hypothesis, bool has_vocabulary) {
  if (has_vocabulary) return hypothesis.text();
  return absl::StrJoin(hypothesis.tokens(), ",", [](std::string* out, const v1::GeneratedToken& token) {
    absl::StrAppend(out, token.id());
  });
}

std::string ResultText(const v1::GenerationResult& result, bool has_vocabulary) {
  return absl::StrJoin(result.hypotheses(), "\t", [&](std::string* out, const v1::Hypothesis& hypothesis) {
    absl::StrAppend(out, HypothesisText(hypothesis, has_vocabulary));
  });
}

std::string StreamedText(const v1::GeneratedToken& token, bool first, bool has_vocabulary,
                         bool split_by_whitespace) {
  if (!has_vocabulary) return absl::StrCat(first ? "" : ",", token.id());
  return absl::StrCat(first || !split_by_whitespace ? "" : " ", token.text());
}

std::string GenerationPieces(const v1::GenerateResponse& response) {
  TokenPieces pieces = response.prompt_pieces();
  std::vector<std::string> labels(static_cast<size_t>(pieces.size()), "prompt");
  if (response.result().hypotheses().empty()) return "";
  const v1::Hypothesis& best = response.result().hypotheses(0);
  for (const v1::GeneratedToken& token : best.tokens()) {
    if (!token.has_piece()) continue;
    *pieces.Add() = token.piece();
    labels.push_back(absl::StrCat("-> ", token.text().empty() ? absl::StrCat(token.id()) : token.text()));
  }
  if (best.has_end_piece()) {
    *pieces.Add() = best.end_piece();
    labels.push_back("-> (end)");
  }
  std::string text = PieceTable(pieces, labels, "  ");
  if (const std::string line = OpenGatesLine(pieces); !line.empty()) absl::StrAppend(&text, "  ", line, "\n");
  if (!best.sequence_id().empty()) absl::StrAppend(&text, "  sequence ", Hex(best.sequence_id()), "\n");
  return text;
}

}  // namespace splineserve::client
