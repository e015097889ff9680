#include "client/load_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/table.h"
#include "nlohmann/json.hpp"

namespace splineserve::client {
namespace {

using nlohmann::ordered_json;

ordered_json ToJsonObject(const LatencySummary& summary) {
  return {{"mean", summary.mean},
          {"p50", summary.p50},
          {"p90", summary.p90},
          {"p99", summary.p99},
          {"max", summary.max}};
}

void AddLatencyRow(Table& table, const char* name, const LatencySummary& summary) {
  if (summary.count == 0) return;
  std::vector<std::string> cells = {name};
  for (double value : {summary.mean, summary.p50, summary.p90, summary.p99, summary.max}) {
    cells.push_back(absl::StrFormat("%.3f", value));
  }
  table.AddRow(std::move(cells));
}

}  // namespace

double Percentile(const std::vector<double>& sorted, double percent) {
  const double rank = std::ceil(percent / 100 * static_cast<double>(sorted.size()));
  return sorted[std::min(sorted.size(), static_cast<size_t>(std::max(1.0, rank))) - 1];
}

LatencySummary Summarize(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  LatencySummary summary;
  summary.count = samples.size();
  summary.mean = std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
  summary.p50 = Percentile(samples, 50);
  summary.p90 = Percentile(samples, 90);
  summary.p99 = Percentile(samples, 99);
  summary.max = samples.back();
  return summary;
}

void LoadStatistics::Add(const CallRecord& record) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!record.status.ok()) {
    ++failed_;
    ++failures_[absl::StrCat(absl::StatusCodeToString(record.status.code()), ": ", record.status.message())];
    return;
  }
  latency_.push_back(absl::ToDoubleMilliseconds(record.latency));
  queue_.push_back(absl::ToDoubleMilliseconds(record.queue));
  compute_.push_back(absl::ToDoubleMilliseconds(record.compute));
  elsewhere_.push_back(
      std::max(0.0, absl::ToDoubleMilliseconds(record.latency - record.queue - record.compute)));
  if (record.first_token != absl::InfiniteDuration()) {
    first_token_.push_back(absl::ToDoubleMilliseconds(record.first_token));
  }
  tokens_ += record.tokens;
  batch_tokens_ += record.batch_tokens;
}

LoadStatistics::Report LoadStatistics::Finish(absl::Duration elapsed) const {
  std::lock_guard<std::mutex> lock(mutex_);
  Report report;
  report.seconds = absl::ToDoubleSeconds(elapsed);
  report.requests = latency_.size();
  report.failed = failed_;
  if (report.seconds > 0) {
    report.requests_per_second = static_cast<double>(report.requests) / report.seconds;
    report.tokens_per_second = static_cast<double>(tokens_) / report.seconds;
  }
  if (report.requests > 0) {
    report.mean_batch_tokens = static_cast<double>(batch_tokens_) / static_cast<double>(report.requests);
  }
  report.latency = Summarize(latency_);
  report.first_token = Summarize(first_token_);
  report.queue = Summarize(queue_);
  report.compute = Summarize(compute_);
  report.elsewhere = Summarize(elsewhere_);
  report.failures = failures_;
  return report;
}

std::string ToText(const LoadStatistics::Report& report) {
  Table totals({{"", Align::kLeft}, {"", Align::kRight}});
  totals.AddRow({"requests", absl::StrCat(report.requests)});
  totals.AddRow({"failed", absl::StrCat(report.failed)});
  totals.AddRow({"seconds", absl::StrFormat("%.2f", report.seconds)});
  totals.AddRow({"requests/s", absl::StrFormat("%.1f", report.requests_per_second)});
  totals.AddRow({"tokens/s", absl::StrFormat("%.1f", report.tokens_per_second)});
  totals.AddRow({"batch_tokens", absl::StrFormat("%.1f", report.mean_batch_tokens)});
  std::string text = totals.ToString();
  if (report.requests > 0) {
    Table table({{"milliseconds"},
                 {"mean", Align::kRight},
                 {"p50", Align::kRight},
                 {"p90", Align::kRight},
                 {"p99", Align::kRight},
                 {"max", Align::kRight}});
    AddLatencyRow(table, "latency", report.latency);
    AddLatencyRow(table, "first token", report.first_token);
    AddLatencyRow(table, "server: queue", report.queue);
    AddLatencyRow(table, "server: compute", report.compute);
    AddLatencyRow(table, "elsewhere", report.elsewhere);
    absl::StrAppend(&text, "\n", table.ToString());
  }
  for (const auto& [message, count] : report.failures)
    absl::StrAppend(&text, "\n", count, " x ", message, "\n");
  return text;
}

std::string ToJson(const LoadStatistics::Report& report) {
  ordered_json value = {{"requests", report.requests},
                        {"failed", report.failed},
                        {"seconds", report.seconds},
                        {"requests_per_second", report.requests_per_second},
                        {"tokens_per_second", report.tokens_per_second},
                        {"mean_batch_tokens", report.mean_batch_tokens},
                        {"latency_ms", ToJsonObject(report.latency)},
                        {"queue_ms", ToJsonObject(report.queue)},
                        {"compute_ms", ToJsonObject(report.compute)},
                        {"elsewhere_ms", ToJsonObject(report.elsewhere)},
                        {"failures", report.failures}};
  if (report.first_token.count > 0) value["first_token_ms"] = ToJsonObject(report.first_token);
  return value.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace splineserve::client
