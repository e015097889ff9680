// Requests from the wire to the engine's. What only the wire can get wrong is checked here (enum values,
// matrix shapes); everything else is the engine's to check, before it admits a request.
#ifndef SPLINESERVE_SERVER_CONVERT_REQUEST_H_
#define SPLINESERVE_SERVER_CONVERT_REQUEST_H_

#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/engine/request.h"
#include "core/engine/sequence_checker.h"
#include "core/spline/pattern.h"
#include "splineserve/v1/inference.pb.h"
#include "splineserve/v1/monitor.pb.h"

namespace splineserve {

// Pure functions; thread-safe. INVALID_ARGUMENT names the field ("inputs[2].vectors.values"), what was
// expected and what was found. Cost: a copy of the request's numbers.
absl::StatusOr<EncodeRequest> FromProto(const v1::EncodeRequest& request);
absl::StatusOr<DecodeRequest> FromProto(const v1::DecodeRequest& request);
absl::StatusOr<GenerateRequest> FromProto(const v1::GenerateRequest& request);
// The traffic to record: Decode's where there are targets, else Encode's. Nothing of pieces is asked for yet.
absl::StatusOr<std::variant<EncodeRequest, DecodeRequest>> FromProto(
    const v1::RecordPatternsRequest& request);
// Normalized; whether it fits a model is CheckSelection's to say.
absl::StatusOr<PatternSelection> FromProto(const v1::MonitorSelection& selection, PieceRecorder::Stack stack);

// Their parts. `where` is the field's path. Enums are open in proto3: any number may arrive.
// Whether a Matrix or Matrix64 has as many numbers as its sizes say.
template <typename MatrixMessage>
absl::Status CheckNumbers(const MatrixMessage& matrix, const std::string& where) {
  const uint64_t expected = uint64_t{matrix.rows()} * matrix.cols();
  if (static_cast<uint64_t>(matrix.values_size()) == expected) return absl::OkStatus();
  return InvalidField(
      absl::StrCat(where, ".values"),
      absl::StrCat("rows * cols = ", matrix.rows(), " * ", matrix.cols(), " = ", expected, " numbers"),
      absl::StrCat(matrix.values_size()));
}
absl::StatusOr<Sequence> ToSequence(const v1::Sequence& sequence, const std::string& where);
absl::StatusOr<OutputKind> ToOutputKind(int value, const std::string& where);
absl::StatusOr<Site> ToSite(int value, const std::string& where);
absl::StatusOr<PieceOptions> ToPieceOptions(const v1::PieceOptions& pieces);  // the field "pieces"

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_CONVERT_REQUEST_H_
