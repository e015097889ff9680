// A model as the engine holds it: immutable, shared by every request that uses it.
#ifndef SPLINESERVE_CORE_ENGINE_LOADED_MODEL_H_
#define SPLINESERVE_CORE_ENGINE_LOADED_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/thread_pool.h"
#include "core/format/model_config.h"
#include "core/format/vocabulary.h"
#include "core/model/screening.h"
#include "core/model/weights.h"
#include "core/spline/float64_weights.h"
#include "core/spline/smoothing.h"
#include "core/spline/spline_class.h"

namespace splineserve {

// Immutable after Load; thread-safe. Requests hold a shared_ptr, so that a model outlives its removal from a
// registry.
class LoadedModel {
 public:
  struct LoadOptions {
    ThreadPool* pool = nullptr;  // spreads the work, the digest beside the packing; null: this thread alone
    Precision precision = Precision::kFloat32;
    // Measures on these where sparse products win; null: assume the usual.
    const KernelSet* kernels = nullptr;
    // What is screened with `kernels`; without a value, what fits beside the weights.
    std::optional<ScreenOptions> screening;
    // SoftPlus in place of ReLU; config() then says so. Weights and digest are the spline's.
    std::optional<Smoothing> smoothing;
  };
  // Opens, checks and packs the directory: all or nothing. Errors are ModelDirectory::Open's and, of a model
  // that cannot be smoothed, Smoothed's. Throws std::bad_alloc.
  static absl::StatusOr<std::shared_ptr<const LoadedModel>> Load(const std::string& name, int version,
                                                                 const std::string& path,
                                                                 const LoadOptions& options);
  static absl::StatusOr<std::shared_ptr<const LoadedModel>> Load(const std::string& name, int version,
                                                                 const std::string& path) {
    return Load(name, version, path, LoadOptions());
  }

  const std::string& name() const { return name_; }
  int version() const { return version_; }
  const ModelConfig& config() const { return weights_.config; }
  const ModelWeights& weights() const { return weights_; }
  const std::optional<Vocabulary>& vocabulary() const { return vocabulary_; }  // of config().input
  const std::optional<Vocabulary>& target_vocabulary() const {
    return target_vocabulary_;
  }  // of target_input
  // The vocabulary of the decoder stack: target_vocabulary of an encoder_decoder, vocabulary of a decoder.
  const std::optional<Vocabulary>& decoder_vocabulary() const {
    return config().architecture == Architecture::kEncoderDecoder ? target_vocabulary_ : vocabulary_;
  }
  const std::string& digest() const { return digest_; }  // 32 lowercase hex digits
  Precision precision() const { return weights_.precision; }
  SplineClass spline_class() const { return ClassOf(config()); }
  uint64_t degree_bound() const { return DegreeBound(config()); }
  // Of what this model is the smoothing; nothing if it is served as its directory says.
  const std::optional<Smoothing>& smoothing() const { return smoothing_; }
  size_t weight_bytes() const { return weight_bytes_; }  // as stored on disk
  size_t parameters() const { return parameters_; }

  // For analysis; made when first asked for, which takes as long as reading the weights, and kept: 8 bytes a
  // parameter. FAILED_PRECONDITION in lower precision, or above kMaxAnalysedParameters.
  absl::StatusOr<const ModelWeights64*> weights64() const;
  // 2 GiB in float64.
  static constexpr size_t kMaxAnalysedParameters = size_t{1} << 28;

 private:
  LoadedModel() = default;
  std::string name_;
  int version_ = 1;
  ModelWeights weights_;
  std::optional<Vocabulary> vocabulary_, target_vocabulary_;
  std::string digest_;
  std::optional<Smoothing> smoothing_;
  size_t weight_bytes_ = 0;
  size_t parameters_ = 0;
  mutable std::mutex weights64_mutex_;
  mutable std::unique_ptr<const ModelWeights64> weights64_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_LOADED_MODEL_H_
