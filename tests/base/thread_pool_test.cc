#include "core/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace splineserve {
namespace {

TEST(ThreadPoolTest, RunsEveryTaskExactlyOnce) {
  for (size_t threads : {1u, 2u, 3u, 8u}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (size_t tasks : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<std::atomic<int>> runs(tasks);
      pool.ParallelFor(tasks, [&](size_t task, size_t worker) {
        EXPECT_LT(worker, threads);
        runs[task].fetch_add(1);
      });
      for (size_t t = 0; t < tasks; ++t) EXPECT_EQ(runs[t].load(), 1) << threads << " threads, task " << t;
    }
  }
}

TEST(ThreadPoolTest, WritesOfTasksAreVisibleAfterTheLoop) {
  ThreadPool pool(4);
  std::vector<int> values(4096);
  for (int round = 1; round <= 50; ++round) {
    pool.ParallelFor(values.size(), [&](size_t task, size_t) { values[task] += round; });
  }
  for (int value : values) EXPECT_EQ(value, 50 * 51 / 2);
}

TEST(ThreadPoolTest, NoTwoTasksShareAWorkerAtATime) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(pool.threads());
  std::atomic<bool> shared{false};
  pool.ParallelFor(2000, [&](size_t, size_t worker) {
    if (inside[worker].fetch_add(1) != 0) shared = true;
    inside[worker].fetch_sub(1);
  });
  EXPECT_FALSE(shared.load());
}

TEST(ThreadPoolTest, LoopsOfSeveralCallersAllComplete) {
  ThreadPool pool(3);
  std::atomic<int> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 100; ++round)
        pool.ParallelFor(5, [&](size_t, size_t) { total.fetch_add(1); });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 4 * 100 * 5);
}

TEST(ThreadPoolTest, AvailableCoresIsPositiveAndNoMoreThanTheMachine) {
  EXPECT_GE(ThreadPool::AvailableCores(), 1u);
  EXPECT_LE(ThreadPool::AvailableCores(), std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace splineserve
