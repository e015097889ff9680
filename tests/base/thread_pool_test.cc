#include "core/base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace splineserve {
namespace {

TEST(ThreadPoolTest, RunsEveryTaskExactlyOnce) {
  for (size_t threads : {1u, 2u, 3u, 8u}) {
    const std::unique_ptr<ThreadPool> pool = ThreadPool::Create(threads).value();
    EXPECT_EQ(pool->threads(), threads);
    for (size_t tasks : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<std::atomic<int>> runs(tasks);
      pool->ParallelFor(tasks, [&](size_t task, size_t worker) {
        EXPECT_LT(worker, threads);
        runs[task].fetch_add(1);
      });
      for (size_t t = 0; t < tasks; ++t) EXPECT_EQ(runs[t].load(), 1) << threads << " threads, task " << t;
    }
  }
}

TEST(ThreadPoolTest, WritesOfTasksAreVisibleAfterTheLoop) {
  const std::unique_ptr<ThreadPool> pool = ThreadPool::Create(4).value();
  std::vector<int> values(4096);
  for (int round = 1; round <= 50; ++round) {
    pool->ParallelFor(values.size(), [&](size_t task, size_t) { values[task] += round; });
  }
  for (int value : values) EXPECT_EQ(value, 50 * 51 / 2);
}

TEST(ThreadPoolTest, NoTwoTasksShareAWorkerAtATime) {
  const std::unique_ptr<ThreadPool> pool = ThreadPool::Create(4).value();
  std::vector<std::atomic<int>> inside(pool->threads());
  std::atomic<bool> shared{false};
  pool->ParallelFor(2000, [&](size_t, size_t worker) {
    if (inside[worker].fetch_add(1) != 0) shared = true;
    inside[worker].fetch_sub(1);
  });
  EXPECT_FALSE(shared.load());
}

TEST(ThreadPoolTest, ThreadsBeginWithTheirOwnShares) {
  constexpr size_t kThreads = 4;
  for (const size_t tasks : {kThreads, 3 * kThreads + 2}) {
    for (int round = 0; round < 20; ++round) {
      // A pool's first loop: in a later one, a thread that was still looking through the shares of the loop
      // before may begin anywhere.
      const std::unique_ptr<ThreadPool> pool = ThreadPool::Create(kThreads).value();
      // Each thread waits in its first task until all have one: so nobody can have helped anybody.
      std::latch all(kThreads);
      std::vector<std::atomic<bool>> began(kThreads);
      std::vector<std::atomic<size_t>> first(kThreads);
      pool->ParallelFor(tasks, [&](size_t task, size_t worker) {
        if (began[worker].exchange(true)) return;
        first[worker] = task;
        all.arrive_and_wait();
      });
      for (size_t worker = 0; worker < kThreads; ++worker) {
        EXPECT_EQ(first[worker], tasks * worker / kThreads) << tasks << " tasks";
      }
    }
  }
}

TEST(ThreadPoolTest, LoopsOfSeveralCallersAllComplete) {
  const std::unique_ptr<ThreadPool> pool = ThreadPool::Create(3).value();
  std::atomic<int> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 100; ++round)
        pool->ParallelFor(5, [&](size_t, size_t) { total.fetch_add(1); });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 4 * 100 * 5);
}

TEST(ThreadPoolTest, AvailableCoresIsPositiveAndNoMoreThanTheMachine) {
  EXPECT_GE(ThreadPool::AvailableCores(), 1u);
  EXPECT_LE(ThreadPool::AvailableCores(), std::max(1u, std::thread::hardware_concurrency()));
}

// Not under sanitizers, whose own memory does not fit below the limit.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
[[noreturn]] void CreateTooManyThreads() {
  // Room for some stacks of 8 MiB, not for all.
  const rlimit memory{rlim_t{1} << 30, rlim_t{1} << 30};
  if (setrlimit(RLIMIT_AS, &memory) != 0) std::_Exit(1);
  const absl::Status status = ThreadPool::Create(1000).status();
  std::fprintf(stderr, "%s", std::string(status.message()).c_str());
  std::_Exit(status.code() == absl::StatusCode::kResourceExhausted ? 0 : 2);
}

TEST(ThreadPoolTest, ThreadsThatCannotBeStartedAreAnError) {
  EXPECT_EXIT(CreateTooManyThreads(), testing::ExitedWithCode(0),
              "cannot start a thread: .*; use fewer threads");
}
#endif

}  // namespace
}  // namespace splineserve
