// Generated sequences as text for people.
#ifndef SPLINESERVE_CLIENT_GENERATION_TEXT_H_
#define SPLINESERVE_CLIENT_GENERATION_TEXT_H_

#include <string>

#include "splineserve/v1/inference.pb.h"

namespace splineserve::client {

// The text of a hypothesis, or its ids (1,2,3) where the model has no vocabulary to write it with.
std::string HypothesisText(const v1::Hypothesis& hypothesis, bool has_vocabulary);

// All hypotheses, best first, with tabs between.
std::string ResultText(const v1::GenerationResult& result, bool has_vocabulary);

// What a token adds to a line that shows tokens as they come: words and ids (unlike characters) have spaces
// between.
std::string StreamedText(const v1::GeneratedToken& token, bool first, bool has_vocabulary,
                         bool split_by_whitespace);

// The pieces of the best hypothesis: those of the prompt's positions, then for each token the piece of the
// position that chose it; with the open gates and the sequence id. Every line starts with two spaces.
std::string GenerationPieces(const v1::GenerateResponse& response);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_GENERATION_TEXT_H_
