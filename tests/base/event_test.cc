// What happens once is waited for, before or after it has happened, and what came before it is seen.
#include "core/base/event.h"

#include <memory>
#include <thread>

#include "core/base/thread.h"
#include "gtest/gtest.h"

namespace splineserve {
namespace {

TEST(EventTest, WaitsForAnotherThread) {
  // Many times, so that either comes first, and the event is gone as soon as it has been waited for.
  for (int turn = 0; turn < 200; ++turn) {
    auto event = std::make_unique<Event>();
    int written = 0;
    absl::StatusOr<std::thread> thread = StartThread([&written, at = event.get(), turn] {
      written = turn + 1;
      at->Notify();
    });
    ASSERT_TRUE(thread.ok()) << thread.status();
    event->Wait();
    event.reset();
    EXPECT_EQ(written, turn + 1);
    thread->join();
  }
}

TEST(EventTest, HasHappenedForGood) {
  Event event;
  event.Notify();
  event.Wait();
  event.Wait();
}

}  // namespace
}  // namespace splineserve
