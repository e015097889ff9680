#include "client/ordered_run.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace splineserve::client {

size_t RunInOrder(InputLines& lines, size_t concurrency,
                  const std::function<LineResult(const InputLines::Line&)>& work,
                  const std::function<void(size_t index, const LineResult&)>& print) {
  std::mutex mutex;
  std::map<size_t, LineResult> waiting;  // done, but not yet their turn
  size_t next = 0, failed = 0;
  auto worker = [&] {
    while (std::optional<InputLines::Line> line = lines.Next()) {
      LineResult result = work(*line);
      std::lock_guard<std::mutex> lock(mutex);
      waiting.emplace(line->index, std::move(result));
      for (auto first = waiting.begin(); first != waiting.end() && first->first == next;
           first = waiting.erase(first)) {
        failed += first->second.status.ok() ? 0 : 1;
        print(next++, first->second);
      }
    }
  };
  const size_t threads = std::max<size_t>(1, std::min(concurrency, lines.total().value_or(concurrency)));
  std::vector<std::thread> others;
  for (size_t i = 1; i < threads; ++i) others.emplace_back(worker);
  worker();
  for (std::thread& thread : others) thread.join();
  return failed;
}

}  // namespace splineserve::client
