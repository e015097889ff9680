// Pieces as tables for people.
#ifndef SPLINESERVE_CLIENT_PIECE_TEXT_H_
#define SPLINESERVE_CLIENT_PIECE_TEXT_H_

#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/repeated_field.h"
#include "splineserve/v1/model.pb.h"
#include "splineserve/v1/types.pb.h"

namespace splineserve::client {

using TokenPieces = google::protobuf::RepeatedPtrField<v1::TokenPiece>;

// Lowercase hexadecimal digits, two a byte.
std::string Hex(std::string_view bytes);

// "self-attention".
std::string SiteName(v1::Site::Value site);

// One line a token and layer (with ids alone, a token), the open gates of every head beside each other:
//
//   token     piece                             layer  self-attention  feed-forward
//       0  h  3f0c...                               0  1 0 2 3 of 8       12 of 640
//                                                   1  0 0 1 1 of 8        4 of 640
//
// With bits, one line a group, with the bits in hexadecimal (least significant bit first within a byte, as
// they are hashed). Margins, where asked for, in a last column. `labels` (may be empty) say what the tokens
// are. Every line starts with `indent`.
std::string PieceTable(const TokenPieces& pieces, const std::vector<std::string>& labels,
                       std::string_view indent);

// "open gates: 33 of 128 in self-attention (25.8 %), 41 of 5120 in feed-forward (0.8 %)" over the listed
// groups of all tokens; empty if none is listed.
std::string OpenGatesLine(const TokenPieces& pieces);

// What must be said wherever pieces are shown, with what the model's class makes of a piece.
std::string PieceNote(v1::ModelInfo::SplineClass spline_class, uint64_t degree_bound);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_PIECE_TEXT_H_
