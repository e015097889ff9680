// The engine: admission, batching and evaluation of requests. The whole face of core to the server and to
// tests.
//
//   SPLINESERVE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(options, kernels));
//   auto token = std::make_shared<CancellationToken>(deadline);
//   absl::Status admitted = engine->Encode(model, std::move(request), token, [](auto result) { ... });
//
// A request is checked completely before it is admitted; what is wrong with it is said at once, with its
// place, what was expected and what was found. Admitted requests wait in a bounded queue; one executor thread
// runs them on the thread pool, a chunk at a time (or an idle engine's caller that waits, EncodeAndWait):
// whole sequences of one model and kind, of at most max_batch_tokens and about max_batch_work_per_thread
// multiply-adds a thread. It goes round and round:
//
//   1. a chunk of small Encode and Decode requests (those that fit into one chunk): the oldest, and with it
//      those that it can be joined with, in order of arrival;
//   2. a chunk of one larger request: up to four of them take turns;
//   3. a token of the generations, all sequences of one model together; models take turns.
//
// What is promised: a small request waits for the small ones that came before it and, with each chunk of
// those and once for itself, for at most one chunk of larger ones and one step of generations, whatever their
// size and number. A larger one gets a chunk in every fourth round at least, however many small ones keep
// coming; a fifth waits until one of four is finished. A single sequence is never split: one that exceeds the
// bounds makes a longer turn; and a step of generations is bounded by max_active_generations and, in what
// enters with it, by about a chunk for each model that generates. Turns change when an answer comes, and not
// a bit of it.
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
  // Batch policy: how much is evaluated at a time (core/engine/chunk.h).
  size_t max_batch_tokens = 4096;
  // Estimated multiply-adds, for each thread of the pool. A core with AVX-512 does 50 G/s, so a chunk takes
  // about 40 ms whatever the model and the number of threads: a wait that an interactive caller bears. It is
  // no loss: there are 100 rows of an encoder of d = 512 with 6 layers in it (19 M a row), and products are
  // at full speed from 16 rows up.
  double max_batch_work_per_thread = 0x1p31;
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

  // Blocking forms of the same, for programs that hold the engine themselves. Where the engine is idle, the
  // calling thread evaluates a request of one chunk instead of waiting for the executor: waking that and
  // being switched back to takes 3 to 6 us, a fifth of a call of `digits`. (Not for Encode and Decode: a
  // server's threads would read fewer requests meanwhile, which then meet in fewer batches. 8 callers over
  // gRPC had their answers 14 % later.)
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
