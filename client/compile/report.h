// What splineserve-compile tells about a model that it made.
#ifndef SPLINESERVE_CLIENT_COMPILE_REPORT_H_
#define SPLINESERVE_CLIENT_COMPILE_REPORT_H_

#include <string>

#include "client/compile/model_check.h"
#include "core/spline/compile/compile.h"

namespace splineserve::client {

struct Report {
  std::string input;      // the file
  std::string directory;  // of the model
  const SplineSource& source;
  Extrapolation extrapolation;
  const CompiledSpline& compiled;
  const ModelCheck& check;
};

// Aligned lines for people; JSON with the same contents and full precision for programs. Both end in a
// newline.
std::string ReportText(const Report& report);
std::string ReportJson(const Report& report);

// One line for a check that has not passed: where, what was expected and what was found.
std::string FailureText(const ModelCheck& check);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMPILE_REPORT_H_
