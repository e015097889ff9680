// What `encode` and `decode` have in common: how their answers are printed.
#ifndef SPLINESERVE_CLIENT_COMMANDS_EVALUATION_H_
#define SPLINESERVE_CLIENT_COMMANDS_EVALUATION_H_

#include <string>
#include <vector>

#include "google/protobuf/repeated_field.h"
#include "splineserve/v1/inference.pb.h"
#include "splineserve/v1/model.pb.h"

namespace splineserve::client {

// "g2p version 1, EXACT, float32, digest 0123...", with what it is the smoothing of behind the class.
std::string ModelHeading(const v1::ServedModel& model, const v1::ModelInfo& info);

// "server: 0.037 ms waiting, 0.295 ms computing, batch of 6 tokens".
std::string TimingText(const v1::Timing& timing);

// Each result under the sequence it belongs to: its output (for a head's rows the classes they speak for, and
// the numbers if `full`), its pieces, its open gates. `info` is the model that answered.
struct EvaluationText {
  const v1::ModelInfo& info;
  bool is_head = false;  // the outputs are the head's rows
  bool full = false;
  bool pieces = false;

  std::string ToString(const v1::ServedModel& model, const std::vector<v1::Sequence>& sequences,
                       const google::protobuf::RepeatedPtrField<v1::SequenceResult>& results,
                       const v1::Timing& timing) const;
};

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMANDS_EVALUATION_H_
