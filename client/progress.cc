#include "client/progress.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"

namespace splineserve::client {

std::string ProgressLine(size_t done, std::optional<size_t> total, absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const std::string rate_text = rate > 0 ? absl::StrFormat("   %.*f/s", rate < 10 ? 1 : 0, rate) : "";
  if (!total) return absl::StrFormat("%d done%s", done, rate_text);
  constexpr size_t kWidth = 20;
  const double part =
      *total == 0 ? 1 : std::min(1.0, static_cast<double>(done) / static_cast<double>(*total));
  const size_t filled = static_cast<size_t>(part * kWidth);
  std::string line =
      absl::StrFormat("[%s%s] %3.0f %%   %d of %d%s", std::string(filled, '#'),
                      std::string(kWidth - filled, ' '), std::floor(100 * part), done, *total, rate_text);
  if (rate > 0 && done < *total) {
    absl::StrAppendFormat(&line, "   ETA %.0f s", std::ceil(static_cast<double>(*total - done) / rate));
  }
  return line;
}

Progress::Progress(std::ostream& stream, bool enabled, std::optional<size_t> total,
                   std::function<absl::Time()> now)
    : stream_(stream), enabled_(enabled), total_(total), now_(std::move(now)), start_(now_()) {}

Progress::~Progress() { Finish(); }

void Progress::Draw() {
  if (!enabled_) return;
  last_draw_ = now_();
  // \r and "erase to the end of the line": the new text may be shorter than the old one.
  stream_ << "\r\x1b[K" << ProgressLine(done_, total_, last_draw_ - start_) << std::flush;
  drawn_ = true;
}

void Progress::Erase() {
  if (std::exchange(drawn_, false)) stream_ << "\r\x1b[K" << std::flush;
}

void Progress::Advance(size_t count) {
  std::lock_guard<std::mutex> lock(mutex_);
  done_ += count;
  if (!finished_ && now_() - last_draw_ >= absl::Milliseconds(100)) Draw();
}

void Progress::Interrupt(const std::function<void()>& write) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool drawn = drawn_;
  Erase();
  write();
  if (drawn && !finished_) Draw();
}

void Progress::Finish() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (std::exchange(finished_, true) || !enabled_) return;
  Draw();
  stream_ << "\n" << std::flush;
}

}  // namespace splineserve::client
