// Smoothed models and their errors as text for people.
#ifndef SPLINESERVE_CLIENT_SMOOTHING_TEXT_H_
#define SPLINESERVE_CLIENT_SMOOTHING_TEXT_H_

#include <string>
#include <string_view>
#include <vector>

#include "splineserve/v1/inference.pb.h"
#include "splineserve/v1/types.pb.h"

namespace splineserve::client {

// "SoftPlus with beta 20 for the ReLU of digits".
std::string SmoothingText(const v1::Smoothing& smoothing);

// The largest errors, and under them a line a row, if there are several and not more than 16 or all are
// wanted. `labels` (may be empty) stand before the rows.
std::string SmoothingErrorText(const v1::SmoothingError& error, const std::vector<std::string>& labels,
                               bool full, std::string_view indent);

// What the numbers mean.
std::string SmoothingErrorNote();

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_SMOOTHING_TEXT_H_
