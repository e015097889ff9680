// Who waits for whom: small requests beside large ones, large ones beside a stream of small ones. Nothing is
// timed: a gate holds the executor in the middle of a request, and turns are counted by the engine's batches.
#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/engine/active_evaluations.h"
#include "core/engine/chunk.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/pending_request.h"
#include "tests/engine/tiny_models.h"
#include "tests/testing/comparison.h"

namespace splineserve::testing {
namespace {

// The first reading after Arm() holds its reader until Open(). A request with a deadline reads its clock
// between layers, so its reader is the executor, at the start of a chunk.
class GateClock : public Clock {
 public:
  absl::Time Now() const override {
    if (armed_.exchange(false)) {
      entered_.count_down();
      open_.wait();
    }
    return absl::UnixEpoch();
  }
  void Arm() { armed_ = true; }
  void WaitForReader() { entered_.wait(); }
  void Open() { open_.count_down(); }

 private:
  mutable std::atomic<bool> armed_{false};
  mutable std::latch entered_{1}, open_{1};
};

// Three tokens of either kind each; two do not fit into a chunk.
constexpr size_t kTokens = 3, kChunkTokens = 4;

EncodeRequest Sequences(size_t count, int32_t first = 0) {
  EncodeRequest request;
  for (size_t i = 0; i < count; ++i) {
    const auto id = static_cast<int32_t>((first + i) % 7);
    request.inputs.push_back(TokenIds{{id, (id + 3) % 7, 2}});
  }
  request.pieces = AllPieces();
  return request;
}

// An answer, and how many chunks had run until then.
struct Answer {
  PendingRequest pending;
  std::atomic<uint64_t> batches{0};
  std::function<void()> then = [] {};  // called by the executor, too
  Engine::EvaluationDone Callback(Engine* engine) {
    return [this, engine, done = pending.Callback()](absl::StatusOr<EvaluationResult> result) {
      batches = engine->stats().batches;
      then();
      done(std::move(result));
    };
  }
};

class FairnessTest : public ::testing::Test {
 protected:
  FairnessTest() {
    options_.threads = 1;
    options_.max_batch_tokens = kChunkTokens;
  }
  void Start() { engine_ = Engine::Create(options_, *AvailableKernelSets().front()).value(); }
  void Submit(EncodeRequest request, Answer* answer,
              std::shared_ptr<CancellationToken> token = std::make_shared<CancellationToken>()) {
    const absl::Status status = engine_->Encode(model_.loaded(), std::move(request), std::move(token),
                                                answer->Callback(engine_.get()));
    ASSERT_TRUE(status.ok()) << status;
  }
  // Returns when the executor stands at the start of the first chunk of a request of `chunks` chunks; one
  // batch has run before.
  void SubmitAndStandIn(size_t chunks, Answer* answer) {
    HeldExecutor held(engine_.get(), model_.loaded(), Sequences(1));
    Submit(Sequences(chunks), answer,
           std::make_shared<CancellationToken>(absl::UnixEpoch() + absl::Hours(1), clock_));
    clock_.Arm();
    held.Release();
    clock_.WaitForReader();
    ASSERT_LE(engine_->stats().batches, 1u);
  }

  const TestModel model_{kTinyEncoder, ModelOptions{.seed = 1}};
  const TestModel generator_{kTinyDecoder, ModelOptions{.seed = 1}};
  GateClock clock_;
  EngineOptions options_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(FairnessTest, ASmallRequestWaitsForOneChunkOfALargeOne) {
  Start();
  Answer large, small;
  SubmitAndStandIn(20, &large);
  Submit(Sequences(1), &small);
  clock_.Open();
  ASSERT_TRUE(small.pending.Wait().ok());
  ASSERT_TRUE(large.pending.Wait().ok());
  EXPECT_EQ(3u, small.batches) << "the first, one chunk of the large one, its own";
  EXPECT_EQ(22u, large.batches);
}

TEST_F(FairnessTest, ALargeRequestAdvancesWhileSmallOnesKeepComing) {
  Start();
  constexpr size_t kChunks = 12, kTooMany = 100 * kChunks;
  Answer large;
  // Of the executor's thread, until `last`.
  bool large_answered = false;
  size_t small = 0;
  std::latch last(1);
  large.then = [&] { large_answered = true; };
  // Each answer sends the next request, so that one always waits.
  std::function<void()> send = [&] {
    const absl::Status status = engine_->Encode(model_.loaded(), Sequences(1),
                                                std::make_shared<CancellationToken>(), [&](const auto&) {
                                                  ++small;
                                                  if (large_answered || small == kTooMany) {
                                                    last.count_down();
                                                  } else {
                                                    send();
                                                  }
                                                });
    ASSERT_TRUE(status.ok()) << status;
  };
  SubmitAndStandIn(kChunks, &large);
  send();
  clock_.Open();
  last.wait();
  ASSERT_TRUE(large.pending.Wait().ok());
  EXPECT_EQ(kChunks, small) << "one between each two chunks, and one that waited when the last had run";
}

TEST_F(FairnessTest, ARequestOfTwoChunksPassesOneOfMany) {
  Start();
  Answer huge, medium;
  SubmitAndStandIn(40, &huge);
  Submit(Sequences(2), &medium);
  clock_.Open();
  ASSERT_TRUE(medium.pending.Wait().ok());
  ASSERT_TRUE(huge.pending.Wait().ok());
  EXPECT_EQ(6u, medium.batches) << "the first; then huge, huge, medium, huge, medium";
  EXPECT_EQ(43u, huge.batches);
}

TEST_F(FairnessTest, MoreLargeRequestsThanTakeTurnsHoldUpNoSmallOne) {
  Start();
  constexpr size_t kLarge = ActiveEvaluations::kMaxLarge + 3, kChunks = 5;
  std::vector<Answer> large(kLarge);
  Answer small, other;
  {
    const HeldExecutor held(engine_.get(), model_.loaded(), Sequences(1));
    for (size_t i = 0; i < kLarge; ++i) Submit(Sequences(kChunks, static_cast<int32_t>(i)), &large[i]);
    Submit(Sequences(1), &small);
    Submit(Sequences(1), &other);
  }
  EXPECT_TRUE(small.pending.Wait().ok());
  EXPECT_TRUE(other.pending.Wait().ok());
  EXPECT_EQ(2u, small.batches);
  EXPECT_EQ(4u, other.batches) << "the first, the small one, a chunk of a large one, its own";
  for (Answer& answer : large) ASSERT_TRUE(answer.pending.Wait().ok());
  for (size_t i = 1; i < kLarge; ++i) EXPECT_LT(large[i - 1].batches, large[i].batches) << i;
  // The first is done when the others of its round have had all but their last chunk, about.
  EXPECT_GE(large[0].batches, 3 + ActiveEvaluations::kMaxLarge * (kChunks - 2));
  EXPECT_EQ(3 + kLarge * kChunks, large[kLarge - 1].batches);
}

TEST_F(FairnessTest, AGenerationAdvancesBetweenChunks) {
  Start();
  Answer large;
  SubmitAndStandIn(20, &large);
  std::atomic<uint64_t> batches{0};
  std::latch final(1);
  const absl::Status status =
      engine_->Generate(generator_.loaded(), {.max_new_tokens = 4}, std::make_shared<CancellationToken>(),
                        [&](const absl::StatusOr<GenerateEvent>& event) {
                          EXPECT_TRUE(event.ok()) << event.status();
                          if (event.ok() && !event->final) return true;
                          batches = engine_->stats().batches;
                          final.count_down();
                          return false;
                        });
  ASSERT_TRUE(status.ok()) << status;
  clock_.Open();
  final.wait();
  ASSERT_TRUE(large.pending.Wait().ok());
  EXPECT_EQ(1 + 1 + 2 * 4u, batches) << "the first, one chunk, then chunk and step in turns";
}

// Sources and prompts of the generations that enter run in one step: no more enter at once than make a chunk.
TEST_F(FairnessTest, GenerationsEnterAChunkOfPromptsAtATime) {
  options_.max_batch_work_per_thread = 1;
  options_.max_batch_tokens = 1000;
  Start();
  constexpr size_t kGenerations = 4;
  std::vector<size_t> active;  // when the first has its next token
  std::latch finals(kGenerations);
  {
    const HeldExecutor held(engine_.get(), model_.loaded(), Sequences(1));
    for (size_t i = 0; i < kGenerations; ++i) {
      GenerateRequest request = {.prompt = TokenIds{std::vector<int32_t>(kMinChunkTokens + 1, 3)},
                                 .max_new_tokens = 8};
      const absl::Status status =
          engine_->Generate(generator_.loaded(), std::move(request), std::make_shared<CancellationToken>(),
                            [&, i](const absl::StatusOr<GenerateEvent>& event) {
                              EXPECT_TRUE(event.ok()) << event.status();
                              if (i == 0) active.push_back(engine_->stats().active_generations);
                              if (event.ok() && !event->final) return true;
                              finals.count_down();
                              return false;
                            });
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  finals.wait();
  ASSERT_GE(active.size(), 6u);
  EXPECT_EQ((std::vector<size_t>{0, 1, 2, 3, 4, 4}), std::vector<size_t>(active.begin(), active.begin() + 6))
      << "as each round began";
}

TEST_F(FairnessTest, MultiplyAddsBoundAChunkAndASequenceIsNotSplit) {
  constexpr size_t kLong = 20;
  static_assert(kLong > kMinChunkTokens);
  const double one = WorkOf(model_.config(), kLong, 0, /*head=*/false).multiply_adds;
  EncodeRequest request;
  for (int i = 0; i < 6; ++i) request.inputs.push_back(TokenIds{std::vector<int32_t>(kLong, i)});
  const auto chunks = [&](double multiply_adds, size_t threads) {
    options_.threads = threads;
    options_.max_batch_tokens = 1000;
    options_.max_batch_work_per_thread = multiply_adds;
    Start();
    EXPECT_TRUE(engine_->EncodeAndWait(model_.loaded(), request).ok());
    return engine_->stats().batches;
  };
  EXPECT_EQ(1u, chunks(6 * one, 1));
  EXPECT_EQ(2u, chunks(6 * one - 1, 1));
  EXPECT_EQ(3u, chunks(2 * one, 1));
  EXPECT_EQ(1u, chunks(3 * one, 2));
  EXPECT_EQ(6u, chunks(one, 1));
  EXPECT_EQ(6u, chunks(1, 1)) << "each exceeds the bound alone";
}

// However requests are cut and mixed, each has the answer that it has alone.
TEST_F(FairnessTest, TurnsChangeNoBit) {
  Start();
  const std::unique_ptr<Engine> alone = MakeEngine(*AvailableKernelSets().front(), 1);
  const size_t sizes[] = {1, 7, 2, 1, 12, 3, 1, 5, 9, 1};
  constexpr size_t kRequests = std::size(sizes);
  std::vector<Answer> answers(kRequests);
  {
    const HeldExecutor held(engine_.get(), model_.loaded(), Sequences(1));
    for (size_t i = 0; i < kRequests; ++i) Submit(Sequences(sizes[i], static_cast<int32_t>(i)), &answers[i]);
  }
  for (size_t i = 0; i < kRequests; ++i) {
    SCOPED_TRACE(i);
    const auto expected = alone->EncodeAndWait(model_.loaded(), Sequences(sizes[i], static_cast<int32_t>(i)));
    const absl::StatusOr<EvaluationResult>& actual = answers[i].pending.Wait();
    ASSERT_TRUE(expected.ok() && actual.ok()) << actual.status();
    ASSERT_EQ(expected->results.size(), actual->results.size());
    for (size_t s = 0; s < sizes[i]; ++s) {
      EXPECT_TRUE(RowsEqual(ToRows(expected->results[s].output), ToRows(actual->results[s].output)));
      EXPECT_TRUE(TokensEqual(ToTokens(expected->results[s].pieces), ToTokens(actual->results[s].pieces)));
      EXPECT_EQ(expected->results[s].sequence_id, actual->results[s].sequence_id);
    }
  }
}

// A drain's grace ends with requests in rotation and in the queue: each is answered once.
TEST_F(FairnessTest, DestructionAnswersWhoIsInTheMiddle) {
  Start();
  std::vector<PendingRequest> pending(10);
  Answer first;
  SubmitAndStandIn(30, &first);
  for (PendingRequest& request : pending) {
    const absl::Status status = engine_->Encode(model_.loaded(), Sequences(30),
                                                std::make_shared<CancellationToken>(), request.Callback());
    ASSERT_TRUE(status.ok()) << status;
  }
  clock_.Open();
  engine_.reset();
  EXPECT_TRUE(first.pending.answered());
  for (PendingRequest& request : pending) {
    ASSERT_TRUE(request.answered());
    const absl::Status status = request.Wait().status();
    EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << status;
  }
}

}  // namespace
}  // namespace splineserve::testing
