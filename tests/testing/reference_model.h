// The slow, obviously right evaluator that the engine must equal: plain loops in reading order, no packing,
// no batches, no cache, no SIMD.
//
// ReferenceModel<float> is the specification of exact models: every number is one chain of std::fma in
// ascending inner index, and the engine returns the same bits (-0 equals +0). ReferenceModel<double>
// evaluates the same formulas in double precision: the yardstick for models with SoftMax, SoftPlus, GELU,
// SiLU or norms, which agree to a tolerance.
#ifndef SPLINESERVE_TESTS_TESTING_REFERENCE_MODEL_H_
#define SPLINESERVE_TESTS_TESTING_REFERENCE_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/format/model_config.h"
#include "core/format/model_directory.h"
#include "core/spline/piece.h"

namespace splineserve::testing {

template <typename T>
using Rows = std::vector<std::vector<T>>;  // [tokens][columns]

// One sequence: `ids` for a token input, `vectors` for a vector input. The other ones are empty.
struct ReferenceInput {
  std::vector<int32_t> ids;
  Rows<float> vectors;
  // Instead of either: the continuous input, vectors or embeddings times the scale, in double precision.
  Rows<double> continuous;
  size_t size() const {
    return !continuous.empty() ? continuous.size() : ids.empty() ? vectors.size() : ids.size();
  }
};

struct ReferenceGroup {
  size_t layer = 0;
  Site site = Site::kFeedForward;
  size_t head = 0;
  size_t width = 0;
  size_t open = 0;
  std::vector<uint8_t> bits;  // least significant bit first, zero-padded to whole bytes
  double margin = 0;          // min |argument|; of ReferenceModel<float> a float32 number
  std::vector<double> arguments;
};

struct ReferenceToken {
  std::string id;  // 16 bytes, or empty without groups
  std::vector<ReferenceGroup> groups;
};

template <typename T>
struct ReferenceResult {
  Rows<T> hidden;  // final rows of the stack, before the head
  Rows<T> head;    // one row where the head pools; empty without a head
  std::vector<ReferenceToken> tokens;
  std::string sequence_id;  // 16 bytes, or empty
  // A query, key, value, gate argument or final row (of the encoder too) was not finite. The head is not
  // looked at.
  bool overflowed = false;
};

// What becomes of F64 weights: rounded to float32, as the engine reads them, or kept, to see the construction
// of a model without its rounding.
enum class ReferenceWeights { kFloat32, kAsStored };

// T is float or double. Reads every tensor at construction; a tensor that cannot be read throws
// std::runtime_error. Inputs must be valid (ids in the vocabulary, lengths within max_positions): they are
// not checked. Numbers that overflow are returned as they come.
template <typename T>
class ReferenceModel {
 public:
  explicit ReferenceModel(const ModelDirectory& directory,
                          ReferenceWeights weights = ReferenceWeights::kFloat32);

  // The encoder stack; with the head only where the architecture is an encoder.
  ReferenceResult<T> Encode(const ReferenceInput& input) const;
  // The decoder stack, teacher-forced. `source` is ignored by a decoder without an encoder.
  ReferenceResult<T> Decode(const ReferenceInput& source, const ReferenceInput& target) const;

  // The same with the gates of `encoder` and `decoder`, results for inputs of the same lengths, whatever the
  // arguments' signs: a gate lets its argument through if it is open there. The result's tokens hold the
  // arguments' own signs.
  using Gates = std::vector<ReferenceToken>;
  ReferenceResult<T> EncodeOnPiece(const ReferenceInput& input, const Gates& encoder) const;
  ReferenceResult<T> DecodeOnPiece(const ReferenceInput& source, const ReferenceInput& target,
                                   const Gates& encoder, const Gates& decoder) const;

 private:
  using Tensor = std::vector<T>;  // row-major

  // `frozen` is null where the arguments' signs open the gates.
  ReferenceResult<T> Encode(const ReferenceInput& input, const Gates* frozen) const;
  ReferenceResult<T> Decode(const ReferenceInput& source, const ReferenceInput& target, const Gates* encoder,
                            const Gates* decoder) const;

  Rows<T> Embed(const std::string& stack, const InputConfig& input, const ReferenceInput& sequence) const;
  T PositionValue(const std::string& stack, size_t position, size_t column) const;
  ReferenceResult<T> Stack(const std::string& stack, size_t layers, Rows<T> x, bool causal,
                           const Rows<T>* memory, const Gates* frozen) const;
  Rows<T> Attention(const std::string& name, size_t layer, Site site, const Rows<T>& queries,
                    const Rows<T>& keys_and_values, bool causal, const Gates* frozen,
                    ReferenceResult<T>* result) const;
  Rows<T> FeedForward(const std::string& name, size_t layer, const Rows<T>& x, const Gates* frozen,
                      ReferenceResult<T>* result) const;
  template <typename Function>
  Rows<T> Sublayer(const Rows<T>& x, const std::string& norm_name, const Function& function) const;
  Rows<T> Norm(const std::string& name, const Rows<T>& x) const;
  Rows<T> Linear(const std::string& name, const Rows<T>& x) const;
  Rows<T> Head(const Rows<T>& hidden) const;

  const Tensor& Get(const std::string& name) const { return tensors_.at(name); }
  T BiasOrZero(const std::string& name, size_t i) const;

  ModelConfig config_;
  std::map<std::string, Tensor> tensors_;  // optional ones that the files lack are absent
};

extern template class ReferenceModel<float>;
extern template class ReferenceModel<double>;

// XXH3-128 (seed 0) as 16 canonical bytes.
std::string ReferenceHash(const std::string& bytes);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_REFERENCE_MODEL_H_
