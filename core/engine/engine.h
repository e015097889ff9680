// The engine: admission, batching and evaluation of requests. The whole face of core to the server and to
// tests.
//
//   SPLINESERVE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(options, kernels));
//   auto token = std::make_shared<CancellationToken>(deadline);
//   absl::Status admitted = engine->Encode(model, std::move(request), token, [](auto result) { ... });
//
// A request is checked completely before it is admitted; what is wrong with it is said at once, with its
// place, what was expected and what was found. Admitted requests wait in a bounded queue; one executor thread
// takes them in order of arrival, joins requests of one model and kind into a batch of at most
// max_batch_tokens, and runs it on the thread pool. Generations advance one token a turn, all sequences of
// one model together, and take turns with batches, so that neither starves the other.
#ifndef SPLINESERVE_CORE_ENGINE_ENGINE_H_
#define SPLINESERVE_CORE_ENGINE_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/cancellation.h"
#include "core/engine/loaded_model.h"
#include "core/engine/request.h"
#include "core/kernels/kernel_set.h"

namespace splineserve {

struct EngineOptions {
  size_t threads = 0;  // of the pool that evaluates; 0: as many as the process may use
  // Queue bounds: a request that would exceed one is refused with RESOURCE_EXHAUSTED.
  size_t max_queue_requests = 1024;  // waiting ones; those whose work has begun do not count
  // Estimated memory of waiting and running requests and of their results until those are gone
  // (MemoryCharge).
  size_t max_queue_bytes = size_t{512} << 20;
  // Batch policy.
  size_t max_batch_tokens = 4096;
  size_t max_active_generations = 256;  // sequences advanced together; further ones wait in the queue
  // Limits of one request: more is INVALID_ARGUMENT.
  size_t max_sequences_per_request = 4096;
  size_t max_tokens_per_sequence = 8192;
  size_t max_tokens_per_request = 65536;
  size_t max_new_tokens = 1024;
  size_t max_beam_width = 16;
};

// What the engine is doing, for metrics. A snapshot; numbers since start are monotone.
struct EngineStats {
  size_t queued_requests = 0;
  size_t queued_bytes = 0;
  size_t active_generations = 0;
  uint64_t batches = 0;
  uint64_t tokens = 0;  // evaluated rows, encoder and decoder
};

// Thread-safe.
class Engine {
 public:
  using EvaluationDone = std::function<void(absl::StatusOr<EvaluationResult>)>;
  // Called for every event of a generation in order; an error status is the last call. Returns false if the
  // receiver wants no more events (the generation then ends without further calls).
  using GenerateEventSink = std::function<bool(absl::StatusOr<GenerateEvent>)>;

  // Starts the threads. INVALID_ARGUMENT as ValidateOptions says, RESOURCE_EXHAUSTED if a thread cannot be
  // started. `kernels` and `clock` must outlive the engine.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        const KernelSet& kernels,
                                                        const Clock& clock = Clock::Real());
  ~Engine();  // Drain()s with no grace: queued requests end with UNAVAILABLE
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // INVALID_ARGUMENT, naming the field, for a 0 where that has no meaning and for too many threads.
  static absl::Status ValidateOptions(const EngineOptions& options);

  // Each returns a failure (INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE while draining, CANCELLED or
  // DEADLINE_EXCEEDED if `token` already says so) and will never call back, or OK and calls back exactly once
  // (Generate: until the final event or an error), from the executor thread or that of a later request, with
  // the result or DEADLINE_EXCEEDED, CANCELLED, OUT_OF_RANGE (a number overflowed: layer and token are
  // named), UNAVAILABLE. Callbacks must not block. Encode needs an encoder, Decode and Generate a decoder,
  // Generate a head of the decoder vocabulary's size over token inputs.
  absl::Status Encode(std::shared_ptr<const LoadedModel> model, EncodeRequest request,
                      std::shared_ptr<CancellationToken> token, EvaluationDone done);
  absl::Status Decode(std::shared_ptr<const LoadedModel> model, DecodeRequest request,
                      std::shared_ptr<CancellationToken> token, EvaluationDone done);
  absl::Status Generate(std::shared_ptr<const LoadedModel> model, GenerateRequest request,
                        std::shared_ptr<CancellationToken> token, GenerateEventSink sink);

  // Blocking forms of the same, for tests and tools.
  absl::StatusOr<EvaluationResult> EncodeAndWait(std::shared_ptr<const LoadedModel> model,
                                                 EncodeRequest request);
  absl::StatusOr<EvaluationResult> DecodeAndWait(std::shared_ptr<const LoadedModel> model,
                                                 DecodeRequest request);
  absl::StatusOr<std::vector<GenerateEvent>> GenerateAndWait(std::shared_ptr<const LoadedModel> model,
                                                             GenerateRequest request);

  // Refuses new requests with UNAVAILABLE, waits until the admitted ones are done or `grace` has passed, then
  // ends what is left with UNAVAILABLE. Blocks; idempotent.
  void Drain(absl::Duration grace);

  const EngineOptions& options() const;
  const KernelSet& kernels() const;
  size_t threads() const;
  EngineStats stats() const;

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_ENGINE_H_
