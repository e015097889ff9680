// Requests that end early: cancelled, expired, refused by a full queue, met by a drain. No test sleeps.
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/pending_request.h"
#include "tests/testing/manual_clock.h"

namespace splineserve::testing {
namespace {

constexpr char kEncoder[] = R"({
  "model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 6, "num_attention_heads": 2,
  "intermediate_size": 9, "num_encoder_layers": 4, "input": {"kind": "tokens", "vocab_size": 7}})";

EncodeRequest Tokens(size_t n = 3) { return {.inputs = {TokenIds{std::vector<int32_t>(n, 1)}}}; }

class LifecycleTest : public ::testing::Test {
 protected:
  void Start(EngineOptions options = {}) {
    options.threads = 1;
    engine_ = Engine::Create(options, *AvailableKernelSets().front(), clock_).value();
  }
  absl::Status Submit(PendingRequest* pending,
                      std::shared_ptr<CancellationToken> token = std::make_shared<CancellationToken>()) {
    return engine_->Encode(model_.loaded(), Tokens(), std::move(token), pending->Callback());
  }

  const TestModel model_{kEncoder, ModelOptions{.seed = 1}};
  ManualClock clock_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(LifecycleTest, CancelledBeforeAdmissionNeverCallsBack) {
  Start();
  const auto token = std::make_shared<CancellationToken>();
  token->Cancel();
  PendingRequest pending;
  EXPECT_EQ(absl::StatusCode::kCancelled, Submit(&pending, token).code());
  engine_.reset();
  EXPECT_FALSE(pending.answered());
}

TEST_F(LifecycleTest, ExpiredBeforeAdmissionNeverCallsBack) {
  Start();
  PendingRequest pending;
  const auto token = std::make_shared<CancellationToken>(clock_.Now() - absl::Seconds(1), clock_);
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, Submit(&pending, token).code());
  engine_.reset();
  EXPECT_FALSE(pending.answered());
}

TEST_F(LifecycleTest, CancelledWhileWaitingAndOthersGoOn) {
  Start();
  std::vector<PendingRequest> pending(3);
  const auto cancelled = std::make_shared<CancellationToken>();
  {
    HeldExecutor held(engine_.get(), model_.loaded(), Tokens());
    ASSERT_TRUE(Submit(&pending[0]).ok());
    ASSERT_TRUE(Submit(&pending[1], cancelled).ok());
    ASSERT_TRUE(Submit(&pending[2]).ok());
    cancelled->Cancel();
  }
  EXPECT_TRUE(pending[0].Wait().ok());
  EXPECT_EQ(absl::StatusCode::kCancelled, pending[1].Wait().status().code());
  EXPECT_TRUE(pending[2].Wait().ok());
}

TEST_F(LifecycleTest, ExpiredWhileWaiting) {
  Start();
  std::vector<PendingRequest> pending(2);
  {
    HeldExecutor held(engine_.get(), model_.loaded(), Tokens());
    ASSERT_TRUE(
        Submit(&pending[0], std::make_shared<CancellationToken>(clock_.Now() + absl::Seconds(5), clock_))
            .ok());
    ASSERT_TRUE(
        Submit(&pending[1], std::make_shared<CancellationToken>(clock_.Now() + absl::Seconds(50), clock_))
            .ok());
    clock_.Advance(absl::Seconds(10));
  }
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, pending[0].Wait().status().code());
  EXPECT_TRUE(pending[1].Wait().ok());
}

// Time passes only when it is read: after `reads` readings the deadline is over.
class ReadingClock : public Clock {
 public:
  explicit ReadingClock(int reads) : left_(reads) {}
  absl::Time Now() const override { return absl::FromUnixSeconds(left_.fetch_sub(1) > 0 ? 0 : 1000); }

 private:
  mutable std::atomic<int> left_;
};

// The deadline is looked at between layers: the later it passes, the later the request stops, until it is in
// time.
TEST_F(LifecycleTest, DeadlineStopsWorkBetweenLayers) {
  Start();
  int stopped_after_admission = 0;
  bool finished = false;
  for (int reads = 1; reads <= 200 && !finished; ++reads) {
    const ReadingClock clock(reads);
    PendingRequest pending;
    const auto token = std::make_shared<CancellationToken>(absl::FromUnixSeconds(500), clock);
    const absl::Status admitted = Submit(&pending, token);
    if (!admitted.ok()) {
      EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, admitted.code());
      continue;
    }
    const absl::Status status = pending.Wait().status();
    finished = status.ok();
    if (finished) break;
    EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, status.code()) << status;
    ++stopped_after_admission;
    engine_->Drain(absl::InfiniteDuration());  // the clock must outlive its readers
    Start();
  }
  EXPECT_TRUE(finished);
  EXPECT_GE(stopped_after_admission, 4) << "fewer checks than layers";
  engine_.reset();
}

TEST_F(LifecycleTest, FullQueueRefusesAndRecovers) {
  EngineOptions options;
  options.max_queue_requests = 2;
  Start(options);
  std::vector<PendingRequest> pending(4);
  {
    HeldExecutor held(engine_.get(), model_.loaded(), Tokens());
    size_t admitted = 0;
    while (admitted < 3 && Submit(&pending[admitted]).ok()) ++admitted;
    // The held request has left the queue or still counts: either way the bound is reached by the third.
    ASSERT_GE(admitted, 1u);
    ASSERT_LE(admitted, 2u);
    const absl::Status refused = Submit(&pending[3]);
    EXPECT_EQ(absl::StatusCode::kResourceExhausted, refused.code()) << refused;
    EXPECT_EQ(admitted, engine_->stats().queued_requests);
    held.Release();
    for (size_t i = 0; i < admitted; ++i) EXPECT_TRUE(pending[i].Wait().ok());
  }
  EXPECT_FALSE(pending[3].answered());
  EXPECT_TRUE(engine_->EncodeAndWait(model_.loaded(), Tokens()).ok());
}

TEST_F(LifecycleTest, WhoNobodyWaitsForLeavesAFullQueue) {
  EngineOptions options;
  options.max_queue_requests = 2;
  Start(options);
  std::vector<PendingRequest> pending(4);
  const auto cancelled = std::make_shared<CancellationToken>();
  {
    HeldExecutor held(engine_.get(), model_.loaded(), Tokens());
    ASSERT_TRUE(Submit(&pending[0], cancelled).ok());
    ASSERT_TRUE(Submit(&pending[1]).ok());
    EXPECT_EQ(absl::StatusCode::kResourceExhausted, Submit(&pending[2]).code());
    cancelled->Cancel();
    EXPECT_TRUE(Submit(&pending[2]).ok());
    ASSERT_TRUE(pending[0].answered()) << "by the thread that took its place";
    EXPECT_EQ(absl::StatusCode::kCancelled, pending[0].Wait().status().code());
    EXPECT_EQ(absl::StatusCode::kResourceExhausted, Submit(&pending[3]).code());
  }
  EXPECT_TRUE(pending[1].Wait().ok());
  EXPECT_TRUE(pending[2].Wait().ok());
  EXPECT_FALSE(pending[3].answered());
}

TEST_F(LifecycleTest, AResultInUseStaysCharged) {
  Start();
  {
    const auto result = engine_->EncodeAndWait(model_.loaded(), Tokens());
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_GE(engine_->stats().queued_bytes, result->results[0].output.values.size() * sizeof(float));
  }
  EXPECT_EQ(0u, engine_->stats().queued_bytes);
}

TEST_F(LifecycleTest, ADeadlineStaysPassedWhenTheClockIsSetBack) {
  const CancellationToken token(clock_.Now() + absl::Seconds(1), clock_);
  EXPECT_TRUE(token.Check().ok());
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, token.Check().code());
  clock_.Advance(-absl::Seconds(60));
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, token.Check().code());
}

TEST_F(LifecycleTest, ByteBudgetRefusesAndRecovers) {
  EngineOptions options;
  options.max_queue_bytes = 4000;
  Start(options);
  const auto large = engine_->EncodeAndWait(model_.loaded(), Tokens(1000));
  EXPECT_EQ(absl::StatusCode::kResourceExhausted, large.status().code()) << large.status();
  for (int i = 0; i < 200; ++i) {  // charges are given back
    const auto small = engine_->EncodeAndWait(model_.loaded(), Tokens());
    ASSERT_TRUE(small.ok()) << small.status();
  }
}

TEST_F(LifecycleTest, BatchesRespectTheTokenLimit) {
  EngineOptions options;
  options.max_batch_tokens = 7;
  Start(options);
  std::vector<PendingRequest> pending(5);
  {
    HeldExecutor held(engine_.get(), model_.loaded(), Tokens());
    for (PendingRequest& request : pending) ASSERT_TRUE(Submit(&request).ok());
  }
  int64_t sixes = 0;
  for (PendingRequest& request : pending) {
    ASSERT_TRUE(request.Wait().ok());
    EXPECT_LE(request.Wait()->timing.batch_tokens, 7);
    sixes += request.Wait()->timing.batch_tokens == 6;
  }
  EXPECT_EQ(4, sixes);  // two and two of three tokens each, and one alone
  const auto alone =
      engine_->EncodeAndWait(model_.loaded(), Tokens(20));  // larger than a batch: a batch of its own
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(20, alone->timing.batch_tokens);
}

TEST_F(LifecycleTest, DrainFinishesWhatWasAdmittedAndRefusesTheRest) {
  Start();
  std::vector<PendingRequest> pending(3);
  {
    HeldExecutor held(engine_.get(), model_.loaded(), Tokens());
    ASSERT_TRUE(Submit(&pending[0]).ok());
    ASSERT_TRUE(Submit(&pending[1]).ok());
  }
  engine_->Drain(absl::InfiniteDuration());
  EXPECT_TRUE(pending[0].answered());
  EXPECT_TRUE(pending[0].Wait().ok());
  EXPECT_TRUE(pending[1].Wait().ok());
  EXPECT_EQ(absl::StatusCode::kUnavailable, Submit(&pending[2]).code());
  engine_->Drain(absl::InfiniteDuration());  // idempotent
  EXPECT_FALSE(pending[2].answered());
}

TEST_F(LifecycleTest, DestructionAnswersEveryRequestOnce) {
  Start();
  std::vector<PendingRequest> pending(20);
  for (PendingRequest& request : pending) ASSERT_TRUE(Submit(&request).ok());
  engine_.reset();
  for (PendingRequest& request : pending) {
    ASSERT_TRUE(request.answered());
    const absl::Status status = request.Wait().status();
    EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << status;
  }
}

TEST_F(LifecycleTest, OptionsOfZeroAreRefused) {
  const auto expect_refused = [](size_t EngineOptions::*field) {
    EngineOptions options;
    options.*field = 0;
    EXPECT_EQ(absl::StatusCode::kInvalidArgument, Engine::ValidateOptions(options).code());
  };
  EXPECT_TRUE(Engine::ValidateOptions({}).ok());
  for (size_t EngineOptions::*const field :
       {&EngineOptions::max_queue_requests, &EngineOptions::max_queue_bytes, &EngineOptions::max_batch_tokens,
        &EngineOptions::max_active_generations, &EngineOptions::max_sequences_per_request,
        &EngineOptions::max_tokens_per_sequence, &EngineOptions::max_tokens_per_request,
        &EngineOptions::max_new_tokens, &EngineOptions::max_beam_width}) {
    expect_refused(field);
  }
}

}  // namespace
}  // namespace splineserve::testing
