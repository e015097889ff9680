// Driving the engine's asynchronous face from a test, without sleeping. The waits are std::latch, not
// absl::Notification: the distribution's Abseil is built without the thread sanitizer, which then sees no
// order between the two threads.
#ifndef SPLINESERVE_TESTS_ENGINE_PENDING_REQUEST_H_
#define SPLINESERVE_TESTS_ENGINE_PENDING_REQUEST_H_

#include <latch>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "core/engine/engine.h"

namespace splineserve::testing {

// The answer to one Encode or Decode, when it comes.
class PendingRequest {
 public:
  Engine::EvaluationDone Callback() {
    return [state = state_](absl::StatusOr<EvaluationResult> result) {
      state->result = std::move(result);
      state->done.count_down();
    };
  }
  const absl::StatusOr<EvaluationResult>& Wait() const {
    state_->done.wait();
    return state_->result;
  }
  bool answered() const { return state_->done.try_wait(); }

 private:
  struct State {
    absl::StatusOr<EvaluationResult> result = absl::UnknownError("not answered yet");
    std::latch done{1};
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// Holds the executor inside a callback, so that a test decides what waits in the queue when it goes on.
// (Callbacks must not block; this one does it on purpose.)
class HeldExecutor {
 public:
  // Returns once the executor stands still. `request` must be valid for `model`.
  HeldExecutor(Engine* engine, std::shared_ptr<const LoadedModel> model, EncodeRequest request) {
    const absl::Status status =
        engine->Encode(std::move(model), std::move(request), std::make_shared<CancellationToken>(), Hold());
    Admitted(status);
  }
  HeldExecutor(Engine* engine, std::shared_ptr<const LoadedModel> model, DecodeRequest request) {
    const absl::Status status =
        engine->Decode(std::move(model), std::move(request), std::make_shared<CancellationToken>(), Hold());
    Admitted(status);
  }
  ~HeldExecutor() { Release(); }

  void Release() {
    if (!state_->release.try_wait()) state_->release.count_down();
  }

 private:
  struct State {
    std::latch entered{1}, release{1};
  };
  Engine::EvaluationDone Hold() {
    return [state = state_](absl::StatusOr<EvaluationResult>) {
      state->entered.count_down();
      state->release.wait();
    };
  }
  void Admitted(const absl::Status& status) {
    if (status.ok()) state_->entered.wait();
  }
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_ENGINE_PENDING_REQUEST_H_
