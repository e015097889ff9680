// Driving the engine's asynchronous face from a test, without sleeping.
#ifndef SPLINESERVE_TESTS_ENGINE_PENDING_REQUEST_H_
#define SPLINESERVE_TESTS_ENGINE_PENDING_REQUEST_H_

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "core/engine/engine.h"

namespace splineserve::testing {

// The answer to one Encode or Decode, when it comes.
class PendingRequest {
 public:
  Engine::EvaluationDone Callback() {
    return [state = state_](absl::StatusOr<EvaluationResult> result) {
      state->result = std::move(result);
      state->done.Notify();
    };
  }
  const absl::StatusOr<EvaluationResult>& Wait() const {
    state_->done.WaitForNotification();
    return state_->result;
  }
  bool answered() const { return state_->done.HasBeenNotified(); }

 private:
  struct State {
    absl::StatusOr<EvaluationResult> result = absl::UnknownError("not answered yet");
    absl::Notification done;
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
    if (!state_->release.HasBeenNotified()) state_->release.Notify();
  }

 private:
  struct State {
    absl::Notification entered, release;
  };
  Engine::EvaluationDone Hold() {
    return [state = state_](absl::StatusOr<EvaluationResult>) {
      state->entered.Notify();
      state->release.WaitForNotification();
    };
  }
  void Admitted(const absl::Status& status) {
    if (status.ok()) state_->entered.WaitForNotification();
  }
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_ENGINE_PENDING_REQUEST_H_
