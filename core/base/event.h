// Something that happens once and that a thread waits for.
#ifndef SPLINESERVE_CORE_BASE_EVENT_H_
#define SPLINESERVE_CORE_BASE_EVENT_H_

#include <condition_variable>
#include <mutex>

namespace splineserve {

// Thread-safe, and may be destroyed as soon as Wait has returned. What was written before Notify is seen
// after Wait. A std::promise would call the kernel at Notify though nobody sleeps: 1 of the 90 us of a small
// call. (absl::Notification does not, but the distribution's Abseil hides from the thread sanitizer what it
// orders.)
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void Notify() {
    // Under the lock, which Wait needs to return: afterwards nothing of this is touched.
    const std::lock_guard<std::mutex> lock(mutex_);
    happened_ = true;
    changed_.notify_all();
  }
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return happened_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool happened_ = false;  // guarded by mutex_
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_EVENT_H_
