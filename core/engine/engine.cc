#include "core/engine/engine.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/base/event.h"
#include "core/base/float_environment.h"
#include "core/base/status_macros.h"
#include "core/base/thread.h"
#include "core/base/thread_pool.h"
#include "core/engine/active_evaluations.h"
#include "core/engine/chunk.h"
#include "core/engine/executor_context.h"
#include "core/engine/generation.h"
#include "core/engine/request_queue.h"
#include "core/engine/validation.h"

namespace splineserve {

namespace {

std::unique_ptr<EvaluationJob> NewJob(std::shared_ptr<const LoadedModel> model, CheckedEvaluation work,
                                      std::shared_ptr<CancellationToken> token, Engine::EvaluationDone done) {
  return std::make_unique<EvaluationJob>(
      EvaluationJob{std::move(model), std::move(work), std::move(token), std::move(done), {}, nullptr});
}

}  // namespace

class Engine::Impl {
 public:
  Impl(const EngineOptions& options, const KernelSet& kernels, const Clock& clock,
       std::unique_ptr<ThreadPool> pool)
      : options_(options),
        limits_{options.max_batch_tokens,
                options.max_batch_work_per_thread * static_cast<double>(pool->threads())},
        clock_(clock),
        context_(kernels, clock, std::move(pool)),
        queue_(options, limits_) {}

  absl::Status Start() {
    SPLINESERVE_ASSIGN_OR_RETURN(executor_, StartThread([this] { Execute(); }));
    return absl::OkStatus();
  }

  ~Impl() {
    if (!executor_.joinable()) return;  // never started
    Drain(absl::ZeroDuration());
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    executor_.join();
  }

  // `caller_waits`: it has nothing better to do than to evaluate the job itself.
  template <typename Job>
  absl::Status Submit(std::unique_ptr<Job> job, bool caller_waits = false) {
    SPLINESERVE_RETURN_IF_ERROR(job->token->Check());
    job->admitted = clock_.Now();
    const bool may_run_here = caller_waits && IsOneChunk(*job);
    std::unique_lock<std::mutex> lock(mutex_);
    if (draining_) return absl::UnavailableError("the server is shutting down; retry elsewhere");
    absl::Status pushed = queue_.Push(job);
    RequestQueue::Departed departed;
    if (!pushed.ok()) {  // nobody waits for some of what fills the queue, perhaps
      departed = queue_.TakeDeparted();
      if (!departed.empty()) pushed = queue_.Push(job);
    }
    if (pushed.ok() && may_run_here && !busy_ && !inline_ && queue_.waiting() == 1 && departed.empty()) {
      RunInline(lock);
      return pushed;
    }
    if (pushed.ok()) wake_.notify_one();
    if (!departed.empty()) Answer(departed, lock);
    return pushed;
  }

  absl::StatusOr<EvaluationResult> EvaluateAndWait(std::shared_ptr<const LoadedModel> model,
                                                   CheckedEvaluation work) {
    absl::StatusOr<EvaluationResult> answer;
    Event answered;
    SPLINESERVE_RETURN_IF_ERROR(
        Submit(NewJob(std::move(model), std::move(work), std::make_shared<CancellationToken>(),
                      [&](absl::StatusOr<EvaluationResult> result) {
                        answer = std::move(result);
                        answered.Notify();
                      }),
               /*caller_waits=*/true));
    answered.Wait();
    return answer;
  }

  void Drain(absl::Duration grace) {
    std::unique_lock<std::mutex> lock(mutex_);
    draining_ = true;
    const auto idle = [this] { return Idle(); };
    const auto wait = std::chrono::milliseconds(
        std::clamp<int64_t>(absl::ToInt64Milliseconds(grace), 0, int64_t{24} * 3600 * 1000));
    if (idle_.wait_for(lock, wait, idle)) return;
    // Queued and running work sees this at its next check, between layers, and answers UNAVAILABLE.
    context_.aborting.store(true, std::memory_order_relaxed);
    wake_.notify_all();
    idle_.wait(lock, idle);
  }

  EngineStats stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    return {queue_.waiting(), queue_.bytes(), active_sequences_,
            context_.batches.load(std::memory_order_relaxed),
            context_.tokens.load(std::memory_order_relaxed)};
  }

  const EngineOptions& options() const { return options_; }
  const ExecutorContext& context() const { return context_; }

 private:
  bool Idle() const { return queue_.waiting() == 0 && !busy_ && !inline_ && answering_ == 0; }

  // Whether the job is one turn, which any thread may run. Steps of generations are turns of the executor's.
  bool IsOneChunk(const EvaluationJob& job) const { return limits_.Allow(job.work.total); }
  static bool IsOneChunk(const GenerationJob&) { return false; }

  // Runs the only request that waits, on the calling thread. What comes meanwhile wakes the executor
  // afterwards: it sleeps as long as somebody else uses the context.
  void RunInline(std::unique_lock<std::mutex>& lock) {
    std::vector<std::unique_ptr<EvaluationJob>> jobs = queue_.TakeBatch();
    inline_ = true;
    lock.unlock();
    // Also where memory ends, which is then the caller's to bear: the engine goes on.
    const absl::Cleanup leave = [&] {
      lock.lock();
      inline_ = false;
      if (queue_.waiting() != 0) wake_.notify_one();
      if (Idle()) idle_.notify_all();
    };
    const DefaultFloatEnvironment environment;
    ActiveEvaluations(context_, limits_).RunSmall(std::move(jobs));
  }

  // Tells departed requests why they end; without the lock, for callbacks may be slow.
  void Answer(const RequestQueue::Departed& departed, std::unique_lock<std::mutex>& lock) {
    ++answering_;
    lock.unlock();
    for (const auto& job : departed.evaluations) job->done(job->token->Check());
    for (const auto& job : departed.generations) job->sink(job->token->Check());
    lock.lock();
    --answering_;
    if (Idle()) idle_.notify_all();
  }

  // The executor thread goes round: a chunk of small evaluations, a chunk of a larger one, a step of the
  // generations. Whatever comes waits for one turn of each at most before its kind has its own.
  void Execute() {
    ActiveGenerations generations(context_, options_.max_batch_tokens);
    ActiveEvaluations evaluations(context_, limits_);
    while (true) {
      std::vector<std::unique_ptr<EvaluationJob>> small;
      std::unique_ptr<EvaluationJob> large;
      std::vector<std::unique_ptr<GenerationJob>> fresh;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        busy_ = !evaluations.empty() || !generations.empty();
        active_sequences_ = generations.sequences();
        if (Idle()) idle_.notify_all();
        wake_.wait(lock, [&] { return busy_ || (queue_.waiting() != 0 && !inline_) || stopping_; });
        if (stopping_ && !busy_ && queue_.waiting() == 0) return;
        small = queue_.TakeBatch();
        if (evaluations.HasRoom()) large = queue_.TakeLarge();
        fresh = TakeGenerations(generations.sequences());
        busy_ = true;
      }
      for (std::unique_ptr<GenerationJob>& job : fresh) generations.Add(std::move(job));
      if (large != nullptr) evaluations.AddLarge(std::move(large));
      evaluations.RunSmall(std::move(small));
      evaluations.RunLarge();
      if (!generations.empty()) generations.Step();
    }
  }

  // Those that enter now. Sources and prompts of all that enter run in one step, so only about a chunk of
  // them does: what more waits enters in the next rounds.
  std::vector<std::unique_ptr<GenerationJob>> TakeGenerations(size_t sequences) {
    std::vector<std::unique_ptr<GenerationJob>> fresh;
    for (Work work; fresh.empty() || limits_.Allow(work);) {
      std::unique_ptr<GenerationJob> job = queue_.TakeGeneration(sequences);
      if (job == nullptr) break;
      sequences += job->work.beams;
      work += job->work.first_step;
      fresh.push_back(std::move(job));
    }
    return fresh;
  }

  const EngineOptions options_;
  const ChunkLimits limits_;
  const Clock& clock_;
  ExecutorContext context_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, idle_;
  RequestQueue queue_;
  size_t active_sequences_ = 0;
  size_t answering_ = 0;  // callers of Submit who answer departed requests
  bool busy_ = false;     // the executor
  bool inline_ = false;   // a caller of Submit evaluates
  bool draining_ = false;
  bool stopping_ = false;
  std::thread executor_;  // last: it uses everything above
};

namespace {

absl::Status Positive(const char* name, size_t value) {
  if (value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": expected at least 1, found 0"));
}

}  // namespace

absl::Status Engine::ValidateOptions(const EngineOptions& options) {
  SPLINESERVE_RETURN_IF_ERROR(Positive("max_queue_requests", options.max_queue_requests));
  SPLINESERVE_RETURN_IF_ERROR(Positive("max_queue_bytes", options.max_queue_bytes));
  SPLINESERVE_RETURN_IF_ERROR(Positive("max_batch_tokens", options.max_batch_tokens));
  // NaN fails the comparison, too.
  if (!(options.max_batch_work_per_thread >= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("max_batch_work_per_thread: expected at least 1, found ",
                                                   options.max_batch_work_per_thread));
  }
  SPLINESERVE_RETURN_IF_ERROR(Positive("max_active_generations", options.max_active_generations));
  SPLINESERVE_RETURN_IF_ERROR(Positive("max_sequences_per_request", options.max_sequences_per_request));
  SPLINESERVE_RETURN_IF_ERROR(Positive("max_tokens_per_sequence", options.max_tokens_per_sequence));
  SPLINESERVE_RETURN_IF_ERROR(Positive("max_tokens_per_request", options.max_tokens_per_request));
  SPLINESERVE_RETURN_IF_ERROR(Positive("max_new_tokens", options.max_new_tokens));
  SPLINESERVE_RETURN_IF_ERROR(Positive("max_beam_width", options.max_beam_width));
  constexpr size_t kMaxThreads = 1024;
  if (options.threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads: expected at most ", kMaxThreads, ", found ", options.threads));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options, const KernelSet& kernels,
                                                       const Clock& clock) {
  SPLINESERVE_RETURN_IF_ERROR(ValidateOptions(options));
  SPLINESERVE_ASSIGN_OR_RETURN(
      std::unique_ptr<ThreadPool> pool,
      ThreadPool::Create(options.threads == 0 ? ThreadPool::AvailableCores() : options.threads));
  auto impl = std::make_unique<Impl>(options, kernels, clock, std::move(pool));
  SPLINESERVE_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

absl::Status Engine::Encode(std::shared_ptr<const LoadedModel> model, EncodeRequest request,
                            std::shared_ptr<CancellationToken> token, EvaluationDone done) {
  SPLINESERVE_ASSIGN_OR_RETURN(CheckedEvaluation work,
                               CheckEncode(*model, std::move(request), impl_->options()));
  return impl_->Submit(NewJob(std::move(model), std::move(work), std::move(token), std::move(done)));
}

absl::Status Engine::Decode(std::shared_ptr<const LoadedModel> model, DecodeRequest request,
                            std::shared_ptr<CancellationToken> token, EvaluationDone done) {
  SPLINESERVE_ASSIGN_OR_RETURN(CheckedEvaluation work,
                               CheckDecode(*model, std::move(request), impl_->options()));
  return impl_->Submit(NewJob(std::move(model), std::move(work), std::move(token), std::move(done)));
}

absl::Status Engine::Generate(std::shared_ptr<const LoadedModel> model, GenerateRequest request,
                              std::shared_ptr<CancellationToken> token, GenerateEventSink sink) {
  SPLINESERVE_ASSIGN_OR_RETURN(CheckedGeneration work,
                               CheckGenerate(*model, std::move(request), impl_->options()));
  return impl_->Submit(std::make_unique<GenerationJob>(
      GenerationJob{std::move(model), std::move(work), std::move(token), std::move(sink), {}}));
}

absl::StatusOr<EvaluationResult> Engine::EncodeAndWait(std::shared_ptr<const LoadedModel> model,
                                                       EncodeRequest request) {
  SPLINESERVE_ASSIGN_OR_RETURN(CheckedEvaluation work,
                               CheckEncode(*model, std::move(request), impl_->options()));
  return impl_->EvaluateAndWait(std::move(model), std::move(work));
}

absl::StatusOr<EvaluationResult> Engine::DecodeAndWait(std::shared_ptr<const LoadedModel> model,
                                                       DecodeRequest request) {
  SPLINESERVE_ASSIGN_OR_RETURN(CheckedEvaluation work,
                               CheckDecode(*model, std::move(request), impl_->options()));
  return impl_->EvaluateAndWait(std::move(model), std::move(work));
}

absl::StatusOr<std::vector<GenerateEvent>> Engine::GenerateAndWait(std::shared_ptr<const LoadedModel> model,
                                                                   GenerateRequest request) {
  std::vector<GenerateEvent> events;
  absl::Status status;
  Event ended;
  SPLINESERVE_RETURN_IF_ERROR(Generate(std::move(model), std::move(request),
                                       std::make_shared<CancellationToken>(),
                                       [&](absl::StatusOr<GenerateEvent> event) {
                                         const bool ok = event.ok(), last = !ok || event->final;
                                         if (ok) {
                                           events.push_back(*std::move(event));
                                         } else {
                                           status = event.status();
                                         }
                                         // Whoever waits may be gone from here on.
                                         if (last) ended.Notify();
                                         return ok;
                                       }));
  ended.Wait();
  SPLINESERVE_RETURN_IF_ERROR(status);
  return events;
}

void Engine::Drain(absl::Duration grace) { impl_->Drain(grace); }
const EngineOptions& Engine::options() const { return impl_->options(); }
const KernelSet& Engine::kernels() const { return impl_->context().kernels; }
size_t Engine::threads() const { return impl_->context().pool->threads(); }
EngineStats Engine::stats() const { return impl_->stats(); }

}  // namespace splineserve
