#include "server/generation_monitoring.h"

#include <optional>

namespace splineserve {

std::vector<v1::MonitorVerdict> GenerationMonitoring::Judge(GenerateEvent& event) {
  for (const TokenPiece& piece : event.prompt_pieces) pattern_.Add(piece);
  if (event.token && event.token->piece) pattern_.Add(*event.token->piece);
  std::vector<v1::MonitorVerdict> verdicts;
  for (const Hypothesis& hypothesis : event.hypotheses) {
    // The last one may go on with what all have in common; only beam search has others.
    const bool last = &hypothesis == &event.hypotheses.back();
    std::optional<PatternBuilder> copy;
    PatternBuilder& whole = last ? pattern_ : copy.emplace(pattern_);
    for (const GeneratedToken& token : hypothesis.tokens) {
      if (token.piece) whole.Add(*token.piece);
    }
    if (hypothesis.end_piece) whole.Add(*hypothesis.end_piece);
    verdicts.push_back(monitoring_.Judge(whole.pattern(), /*label=*/0));  // decoders have one class
  }
  Narrow(event);
  return verdicts;
}

void GenerationMonitoring::Narrow(GenerateEvent& event) const {
  const bool wanted = monitoring_.wants_pieces();
  const auto narrow = [&](std::optional<TokenPiece>& piece) {
    if (!wanted) piece.reset();
    if (piece) monitoring_.Narrow(*piece);
  };
  if (!wanted) event.prompt_pieces.clear();
  for (TokenPiece& piece : event.prompt_pieces) monitoring_.Narrow(piece);
  if (event.token) narrow(event.token->piece);
  for (Hypothesis& hypothesis : event.hypotheses) {
    for (GeneratedToken& token : hypothesis.tokens) narrow(token.piece);
    narrow(hypothesis.end_piece);
    if (!wanted) hypothesis.sequence_id.clear();
  }
}

}  // namespace splineserve
