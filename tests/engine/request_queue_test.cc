#include "core/engine/request_queue.h"

#include <gtest/gtest.h>

#include <utility>

namespace splineserve {
namespace {

// The queue compares models by address only.
std::shared_ptr<const LoadedModel> FakeModel(const int& identity) {
  return {std::shared_ptr<void>(), reinterpret_cast<const LoadedModel*>(&identity)};
}

std::unique_ptr<EvaluationJob> Evaluation(std::shared_ptr<const LoadedModel> model, size_t tokens,
                                          size_t bytes = 0, bool decode = false, double multiply_adds = 0) {
  auto job = std::make_unique<EvaluationJob>();
  job->model = std::move(model);
  job->work.total = {tokens, multiply_adds};
  job->work.bytes = bytes;
  if (decode) job->work.targets.resize(1);
  return job;
}

std::unique_ptr<GenerationJob> Generation(size_t beams) {
  auto job = std::make_unique<GenerationJob>();
  job->work.beams = beams;
  return job;
}

std::vector<size_t> Tokens(const std::vector<std::unique_ptr<EvaluationJob>>& batch) {
  std::vector<size_t> tokens;
  for (const auto& job : batch) tokens.push_back(job->work.total.tokens);
  return tokens;
}

class RequestQueueTest : public testing::Test {
 protected:
  RequestQueueTest() {
    options_.max_queue_requests = 4;
    options_.max_queue_bytes = 100;
    options_.max_active_generations = 4;
  }
  void PushEvaluation(std::unique_ptr<EvaluationJob> job) { ASSERT_TRUE(queue().Push(job).ok()); }
  RequestQueue& queue() {
    if (!queue_) queue_.emplace(options_, limits_);
    return *queue_;
  }
  EngineOptions options_;
  ChunkLimits limits_ = {.tokens = 10, .multiply_adds = 1000};
  std::optional<RequestQueue> queue_;
  int a_ = 0, b_ = 0;
};

TEST_F(RequestQueueTest, JoinsTheSameModelAndKindInOrderOfArrival) {
  PushEvaluation(Evaluation(FakeModel(a_), 3));
  PushEvaluation(Evaluation(FakeModel(b_), 4));
  PushEvaluation(Evaluation(FakeModel(a_), 5));
  PushEvaluation(Evaluation(FakeModel(a_), 1, 0, /*decode=*/true));
  EXPECT_EQ(Tokens(queue().TakeBatch()), (std::vector<size_t>{3, 5}));
  EXPECT_EQ(Tokens(queue().TakeBatch()), (std::vector<size_t>{4}));
  EXPECT_EQ(Tokens(queue().TakeBatch()), (std::vector<size_t>{1}));
  EXPECT_TRUE(queue().TakeBatch().empty());
}

TEST_F(RequestQueueTest, NothingOvertakesAJobThatDidNotFit) {
  PushEvaluation(Evaluation(FakeModel(a_), 6));
  PushEvaluation(Evaluation(FakeModel(a_), 6));
  PushEvaluation(Evaluation(FakeModel(a_), 1));
  EXPECT_EQ(Tokens(queue().TakeBatch()), (std::vector<size_t>{6}));
  EXPECT_EQ(Tokens(queue().TakeBatch()), (std::vector<size_t>{6, 1}));
}

TEST_F(RequestQueueTest, LargeJobsHaveALineOfTheirOwn) {
  PushEvaluation(Evaluation(FakeModel(a_), 50));
  PushEvaluation(Evaluation(FakeModel(a_), 1));
  PushEvaluation(Evaluation(FakeModel(b_), 60));
  EXPECT_EQ(queue().waiting(), 3u);
  EXPECT_EQ(Tokens(queue().TakeBatch()), (std::vector<size_t>{1}));
  EXPECT_TRUE(queue().TakeBatch().empty());
  EXPECT_EQ(queue().TakeLarge()->work.total.tokens, 50u);
  EXPECT_EQ(queue().TakeLarge()->work.total.tokens, 60u);
  EXPECT_EQ(queue().TakeLarge(), nullptr);
  EXPECT_EQ(queue().waiting(), 0u);
}

TEST_F(RequestQueueTest, MultiplyAddsBoundABatch) {
  limits_.tokens = 100;
  const auto push = [&](size_t tokens, double multiply_adds) {
    PushEvaluation(Evaluation(FakeModel(a_), tokens, 0, /*decode=*/false, multiply_adds));
  };
  push(20, 400);
  push(20, 600);
  push(20, 1);
  push(20, 1001);
  EXPECT_EQ(Tokens(queue().TakeBatch()), (std::vector<size_t>{20, 20})) << "1000 of 1000";
  EXPECT_EQ(Tokens(queue().TakeBatch()), (std::vector<size_t>{20}));
  EXPECT_NE(queue().TakeLarge(), nullptr) << "1001 of 1000";
  push(kMinChunkTokens / 2, 900);
  push(kMinChunkTokens / 2, 900);
  push(1, 1);
  EXPECT_EQ(queue().TakeBatch().size(), 2u) << "too few tokens to be worth splitting";
}

TEST_F(RequestQueueTest, RefusesBeyondTheRequestBound) {
  for (int i = 0; i < 4; ++i) PushEvaluation(Evaluation(FakeModel(a_), 1));
  auto job = Generation(1);
  const absl::Status status = queue().Push(job);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(job, nullptr) << "a refused job must be untouched";
}

TEST_F(RequestQueueTest, ChargesBytesAsLongAsTheChargeLives) {
  PushEvaluation(Evaluation(FakeModel(a_), 1, 60));
  auto second = Evaluation(FakeModel(a_), 1, 41);
  EXPECT_EQ(queue().Push(second).code(), absl::StatusCode::kResourceExhausted);
  std::vector<std::unique_ptr<EvaluationJob>> running = queue().TakeBatch();
  EXPECT_EQ(queue().Push(second).code(), absl::StatusCode::kResourceExhausted) << "running jobs still count";
  MemoryCharge result = running.front()->charge;
  running.clear();
  EXPECT_EQ(queue().Push(second).code(), absl::StatusCode::kResourceExhausted) << "results still count";
  result = nullptr;
  EXPECT_TRUE(queue().Push(second).ok());
  EXPECT_EQ(queue().bytes(), 41u);
}

TEST_F(RequestQueueTest, ARequestLargerThanTheBudgetIsToldToAskForLess) {
  auto job = Evaluation(FakeModel(a_), 1, 101);
  const absl::Status status = queue().Push(job);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "the byte budget is full: this request needs about 101 bytes, 0 of 100 are in use; ask for less");
}

TEST_F(RequestQueueTest, DepartedJobsGiveUpTheirPlacesAndBytes) {
  std::vector<std::shared_ptr<CancellationToken>> tokens;
  for (size_t bytes : {10, 20, 30}) {
    auto job = Evaluation(FakeModel(a_), bytes, bytes);
    job->token = tokens.emplace_back(std::make_shared<CancellationToken>());
    PushEvaluation(std::move(job));
  }
  auto generation = Generation(1);
  generation->token = tokens.emplace_back(std::make_shared<CancellationToken>());
  ASSERT_TRUE(queue().Push(generation).ok());
  EXPECT_TRUE(queue().TakeDeparted().empty());
  tokens[1]->Cancel();
  tokens[3]->Cancel();
  const RequestQueue::Departed departed = queue().TakeDeparted();
  EXPECT_EQ(Tokens(departed.evaluations), (std::vector<size_t>{20}));
  EXPECT_EQ(departed.generations.size(), 1u);
  EXPECT_EQ(queue().waiting(), 2u);
  EXPECT_EQ(queue().bytes(), 40u) << "although the departed jobs are still to be answered";
}

TEST_F(RequestQueueTest, GenerationsEnterWhenTheirSequencesFit) {
  auto wide = Generation(3), single = Generation(1), huge = Generation(9);
  ASSERT_TRUE(queue().Push(wide).ok());
  ASSERT_TRUE(queue().Push(single).ok());
  ASSERT_TRUE(queue().Push(huge).ok());
  EXPECT_EQ(queue().TakeGeneration(2), nullptr);
  EXPECT_EQ(queue().TakeGeneration(1)->work.beams, 3u);
  EXPECT_EQ(queue().TakeGeneration(3)->work.beams, 1u);
  EXPECT_EQ(queue().TakeGeneration(1), nullptr);
  EXPECT_EQ(queue().TakeGeneration(0)->work.beams, 9u) << "alone, even a too large one runs";
}

}  // namespace
}  // namespace splineserve
