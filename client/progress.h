// A progress bar on the error stream, so that results on the output stream stay clean.
#ifndef SPLINESERVE_CLIENT_PROGRESS_H_
#define SPLINESERVE_CLIENT_PROGRESS_H_

#include <cstddef>
#include <functional>
#include <iostream>
#include <mutex>
#include <optional>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace splineserve::client {

// "[#########           ]  45 %   675 of 1500   312/s   ETA 3 s"; without a total "675 done   312/s".
std::string ProgressLine(size_t done, std::optional<size_t> total, absl::Duration elapsed);

// Draws nothing at all unless `enabled` (say, because the stream is a terminal). Thread-safe.
class Progress {
 public:
  Progress(std::ostream& stream, bool enabled, std::optional<size_t> total,
           std::function<absl::Time()> now = absl::Now);
  ~Progress();  // Finish()es

  // Counts some more. Redraws at most ten times a second.
  void Advance(size_t count = 1);
  // Runs `write`, which may write lines to the stream or to the output, with the bar taken away, and draws it
  // again.
  void Interrupt(const std::function<void()>& write);
  // Draws the final state and leaves the line.
  void Finish();

 private:
  void Draw();   // mutex_ held
  void Erase();  // mutex_ held

  std::ostream& stream_;
  const bool enabled_;
  const std::optional<size_t> total_;
  const std::function<absl::Time()> now_;
  std::mutex mutex_;
  size_t done_ = 0;
  bool finished_ = false;
  bool drawn_ = false;
  absl::Time start_, last_draw_ = absl::InfinitePast();
};

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_PROGRESS_H_
