// What is known of models, as text for people.
#ifndef SPLINESERVE_CLIENT_MODEL_TEXT_H_
#define SPLINESERVE_CLIENT_MODEL_TEXT_H_

#include <string>

#include "splineserve/v1/model.pb.h"

namespace splineserve::client {

// One line a model: name, version, architecture, spline class, degree bound, parameters, layers, digest.
std::string ModelTable(const v1::ListModelsResponse& models);

// Everything about one model, a line each.
std::string ModelText(const v1::ModelInfo& model);

// "2^64 - 1 (saturated)" for the largest number, "-" for 0 (not a spline).
std::string DegreeText(uint64_t degree_bound);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_MODEL_TEXT_H_
