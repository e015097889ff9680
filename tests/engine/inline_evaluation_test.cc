// A caller that waits evaluates its request itself if the engine is idle. Which threads evaluate is seen by
// who reads the engine's clock, which the evaluation of a chunk does when it begins; nothing is timed.
#include <atomic>
#include <cfenv>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/pending_request.h"
#include "tests/engine/tiny_models.h"
#include "tests/testing/comparison.h"

namespace splineserve::testing {
namespace {

constexpr size_t kChunkTokens = 6;

// Notes who reads it. After HoldReading(n) the n-th reader from then on stands still until Release(), after
// ThrowAtReading(n) it has no memory.
class WatchedClock : public Clock {
 public:
  absl::Time Now() const override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      readers_.insert(std::this_thread::get_id());
    }
    if (until_hold_.fetch_sub(1) == 1) {
      held_.count_down();
      release_.wait();
    }
    if (until_throw_.fetch_sub(1) == 1) throw std::bad_alloc();
    return absl::UnixEpoch();
  }
  std::set<std::thread::id> TakeReaders() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(readers_, {});
  }
  void HoldReading(int n) { until_hold_ = n; }
  void ThrowAtReading(int n) { until_throw_ = n; }
  void WaitUntilHeld() { held_.wait(); }
  void Release() { release_.count_down(); }

 private:
  mutable std::mutex mutex_;
  mutable std::set<std::thread::id> readers_;
  mutable std::atomic<int> until_hold_{0}, until_throw_{0};
  mutable std::latch held_{1}, release_{1};
};

EncodeRequest Tokens(size_t n, size_t sequences = 1) {
  EncodeRequest request;
  request.inputs.assign(sequences, TokenIds{std::vector<int32_t>(n, 1)});
  request.pieces = AllPieces();
  return request;
}

class InlineEvaluationTest : public ::testing::Test {
 protected:
  InlineEvaluationTest() {
    EngineOptions options;
    options.threads = 2;
    options.max_batch_tokens = kChunkTokens;
    options.max_queue_bytes = 400000;
    engine_ = Engine::Create(options, *AvailableKernelSets().front(), clock_).value();
  }
  // Whether this thread alone evaluated it.
  bool EvaluatedHere(EncodeRequest request) {
    clock_.TakeReaders();
    EXPECT_TRUE(engine_->EncodeAndWait(model_.loaded(), std::move(request)).ok());
    return clock_.TakeReaders() == std::set<std::thread::id>{std::this_thread::get_id()};
  }
  absl::Status Submit(EncodeRequest request, PendingRequest* pending) {
    return engine_->Encode(model_.loaded(), std::move(request), std::make_shared<CancellationToken>(),
                           pending->Callback());
  }
  // A thread that stands still in the middle of evaluating its own request. Its first reading of the clock is
  // at admission, the second when the evaluation begins.
  std::thread HeldCaller() {
    clock_.HoldReading(2);
    std::thread caller([&] { EXPECT_TRUE(engine_->EncodeAndWait(model_.loaded(), Tokens(3)).ok()); });
    clock_.WaitUntilHeld();
    return caller;
  }

  const TestModel model_{kTinyEncoder, ModelOptions{.seed = 1}};
  const TestModel generator_{kTinyDecoder, ModelOptions{.seed = 1}};
  WatchedClock clock_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(InlineEvaluationTest, AnIdleEngineLeavesAChunkToWhoWaits) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(EvaluatedHere(Tokens(kChunkTokens)));
}

TEST_F(InlineEvaluationTest, ButNotMoreThanAChunk) { EXPECT_FALSE(EvaluatedHere(Tokens(3, 3))); }

TEST_F(InlineEvaluationTest, NorAnythingToWhoDoesNotWait) {
  PendingRequest pending;
  ASSERT_TRUE(Submit(Tokens(3), &pending).ok());
  ASSERT_TRUE(pending.Wait().ok());
  EXPECT_EQ(clock_.TakeReaders().size(), 2u);
}

TEST_F(InlineEvaluationTest, ABusyEngineKeepsItsTurns) {
  std::thread::id waiter;
  std::thread caller;
  {
    HeldExecutor held(engine_.get(), model_.loaded(), Tokens(3));
    clock_.TakeReaders();
    caller = std::thread([&] {
      EXPECT_TRUE(engine_->EncodeAndWait(model_.loaded(), Tokens(3)).ok());
      waiter = std::this_thread::get_id();
    });
    while (engine_->stats().queued_requests == 0) std::this_thread::yield();
  }
  caller.join();
  std::set<std::thread::id> readers = clock_.TakeReaders();
  EXPECT_EQ(readers.erase(waiter), 1u) << "at admission";
  EXPECT_EQ(readers.size(), 1u) << "the executor";
}

// What comes while a caller evaluates waits for the executor, which takes it when the caller is done.
TEST_F(InlineEvaluationTest, OthersWaitForTheCaller) {
  std::thread caller = HeldCaller();
  std::vector<PendingRequest> pending(4);
  for (PendingRequest& request : pending) {
    ASSERT_TRUE(Submit(Tokens(3), &request).ok());
  }
  for (int i = 0; i < 1000; ++i) {  // time for an executor that did not wait
    std::this_thread::yield();
    ASSERT_FALSE(pending.front().answered());
  }
  EXPECT_EQ(engine_->stats().queued_requests, pending.size());
  clock_.TakeReaders();
  clock_.Release();
  for (PendingRequest& request : pending) {
    ASSERT_TRUE(request.Wait().ok());
    EXPECT_EQ(request.Wait()->timing.batch_tokens, 6) << "joined while they waited";
  }
  caller.join();
}

// A caller that evaluates counts as work that a drain waits for.
TEST_F(InlineEvaluationTest, ADrainWaitsForTheCaller) {
  std::thread caller = HeldCaller();
  std::atomic<bool> released = false;
  std::thread drain([&] {
    engine_->Drain(absl::InfiniteDuration());
    EXPECT_TRUE(released);
  });
  // Until it has begun. These exceed the byte budget, so that none of them is work to wait for.
  absl::Status refused;
  do {
    PendingRequest pending;
    refused = Submit(Tokens(8000), &pending);
  } while (absl::IsResourceExhausted(refused));
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
  released = true;
  clock_.Release();
  drain.join();
  caller.join();
}

// By the executor, by a caller, and from several callers at once beside generations: the same bits.
TEST_F(InlineEvaluationTest, TheSameBitsWhoeverEvaluates) {
  PendingRequest pending;
  ASSERT_TRUE(Submit(Tokens(5), &pending).ok());
  ASSERT_TRUE(pending.Wait().ok());
  const SequenceResult expected = pending.Wait()->results.front();
  const GenerateRequest generate = {.max_new_tokens = 40};
  const auto generated = engine_->GenerateAndWait(generator_.loaded(), generate);
  ASSERT_TRUE(generated.ok()) << generated.status();
  const float score = generated->back().hypotheses.front().score;

  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        if (t == 0 && i % 10 == 0) {
          const auto again = engine_->GenerateAndWait(generator_.loaded(), generate);
          ASSERT_TRUE(again.ok()) << again.status();
          EXPECT_EQ(again->back().hypotheses.front().score, score);
        }
        const absl::StatusOr<EvaluationResult> actual = engine_->EncodeAndWait(model_.loaded(), Tokens(5));
        ASSERT_TRUE(actual.ok()) << actual.status();
        EXPECT_TRUE(RowsEqual(ToRows(expected.output), ToRows(actual->results.front().output)));
        EXPECT_TRUE(TokensEqual(ToTokens(expected.pieces), ToTokens(actual->results.front().pieces)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(InlineEvaluationTest, DecodeToo) {
  DecodeRequest request{.targets = {TokenIds{{1, 2, 3}}}};
  ASSERT_TRUE(engine_->DecodeAndWait(generator_.loaded(), request).ok());
  EXPECT_EQ(clock_.TakeReaders(), std::set<std::thread::id>{std::this_thread::get_id()});
}

// A caller's own rounding mode changes nothing, and is its own again afterwards.
TEST_F(InlineEvaluationTest, InTheDefaultFloatingPointEnvironment) {
  const absl::StatusOr<EvaluationResult> expected = engine_->EncodeAndWait(model_.loaded(), Tokens(5));
  ASSERT_TRUE(expected.ok());
  for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    ASSERT_EQ(std::fesetround(mode), 0);
    const absl::StatusOr<EvaluationResult> actual = engine_->EncodeAndWait(model_.loaded(), Tokens(5));
    EXPECT_EQ(std::fegetround(), mode);
    std::fesetround(FE_TONEAREST);
    ASSERT_TRUE(actual.ok());
    EXPECT_EQ(expected->results[0].output.values, actual->results[0].output.values);
  }
}

// What a caller's memory does not suffice for ends that call, and nobody else's.
TEST_F(InlineEvaluationTest, TheEngineSurvivesAnException) {
  clock_.ThrowAtReading(2);  // the first is at admission
  EXPECT_THROW(engine_->EncodeAndWait(model_.loaded(), Tokens(3)).IgnoreError(), std::bad_alloc);
  EXPECT_TRUE(EvaluatedHere(Tokens(3)));
  PendingRequest pending;
  ASSERT_TRUE(Submit(Tokens(3), &pending).ok());
  EXPECT_TRUE(pending.Wait().ok());
  engine_->Drain(absl::InfiniteDuration());
}

// A cancelled request that makes room for a caller's is answered.
TEST_F(InlineEvaluationTest, WhoeverMakesRoomIsAnswered) {
  const std::unique_ptr<Engine> engine =
      Engine::Create({.threads = 1, .max_queue_requests = 1}, *AvailableKernelSets().front()).value();
  std::vector<PendingRequest> pending;
  for (int i = 0; i < 300; ++i) {
    const auto token = std::make_shared<CancellationToken>();
    PendingRequest cancelled;
    const absl::Status admitted = engine->Encode(model_.loaded(), Tokens(3), token, cancelled.Callback());
    token->Cancel();
    if (admitted.ok()) pending.push_back(cancelled);
    const auto result = engine->EncodeAndWait(model_.loaded(), Tokens(3));
    EXPECT_TRUE(result.ok() || absl::IsResourceExhausted(result.status())) << result.status();
  }
  engine->Drain(absl::InfiniteDuration());
  EXPECT_GT(pending.size(), 100u);
  for (const PendingRequest& request : pending) ASSERT_TRUE(request.answered());
}

}  // namespace
}  // namespace splineserve::testing
