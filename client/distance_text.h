// Distances between pieces as text for people.
#ifndef SPLINESERVE_CLIENT_DISTANCE_TEXT_H_
#define SPLINESERVE_CLIENT_DISTANCE_TEXT_H_

#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/repeated_field.h"
#include "splineserve/v1/spline.pb.h"

namespace splineserve::client {

// "12 of 7824 gates differ (0.15 %)", with ", 9 have no counterpart" where some are unmatched.
std::string DistanceText(const v1::HammingDistance& distance);

// One line a layer, the differing gates of every head beside each other, summed over tokens:
//
//   layer  self-attention  feed-forward
//       0    0 1 0 2 of 9    12 of 1920
//
// Every line starts with `indent`.
std::string DistanceTable(const google::protobuf::RepeatedPtrField<v1::GroupDistance>& groups,
                          std::string_view indent);

// One stack of a comparison: which inputs share a piece, all distances as a matrix, and every pair by layer
// and by token. `labels` of an input's tokens (may be empty), one list an input.
std::string ComparisonText(const v1::StackComparison& stack,
                           const std::vector<std::vector<std::string>>& labels);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_DISTANCE_TEXT_H_
