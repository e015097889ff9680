#include "server/telemetry.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <sstream>

#include "server/logging.h"
#include "server/version.h"

namespace splineserve {
namespace {

// Seconds; a small model answers in fractions of a millisecond, a long generation takes many seconds.
const prometheus::Histogram::BucketBoundaries& LatencyBuckets() {
  static const auto* const buckets = new prometheus::Histogram::BucketBoundaries{
      0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
  return *buckets;
}

// The engine's statistics, read when metrics are.
class EngineCollector : public prometheus::Collectable {
 public:
  explicit EngineCollector(const Engine& engine) : engine_(engine) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    using prometheus::MetricType;
    const EngineStats stats = engine_.stats();
    return {
        One("splineserve_queued_requests", "Requests waiting for evaluation", MetricType::Gauge,
            stats.queued_requests),
        One("splineserve_queued_bytes", "Estimated memory of queued and running requests", MetricType::Gauge,
            stats.queued_bytes),
        One("splineserve_active_generations", "Sequences being generated", MetricType::Gauge,
            stats.active_generations),
        One("splineserve_batches_total", "Batches evaluated", MetricType::Counter, stats.batches),
        One("splineserve_tokens_total", "Tokens evaluated, encoder and decoder", MetricType::Counter,
            stats.tokens),
    };
  }

 private:
  static prometheus::MetricFamily One(const char* name, const char* help, prometheus::MetricType type,
                                      double value) {
    prometheus::ClientMetric metric;
    metric.gauge.value = value;
    metric.counter.value = value;
    return {name, help, type, {metric}};
  }

  const Engine& engine_;
};

LogLevel LevelOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return LogLevel::kError;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kOutOfRange:
      return LogLevel::kInfo;
    default:
      return LogLevel::kDebug;
  }
}

std::string CodeName(absl::StatusCode code) { return absl::StatusCodeToString(code); }

}  // namespace

class Telemetry::Families {
 public:
  Families(const Engine& engine, size_t models) : engine_(engine) {
    prometheus::BuildGauge()
        .Name("splineserve_build_info")
        .Help("Version and SIMD target; always 1")
        .Register(registry_)
        .Add({{"version", kVersion}, {"simd_target", engine.kernels().name}})
        .Set(1);
    prometheus::BuildGauge()
        .Name("splineserve_models")
        .Help("Loaded models")
        .Register(registry_)
        .Add({})
        .Set(models);
  }

  std::string Serialize() const {
    std::vector<prometheus::MetricFamily> families = registry_.Collect();
    for (prometheus::MetricFamily& family : engine_.Collect()) families.push_back(std::move(family));
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, families);
    return text.str();
  }

 private:
  prometheus::Registry registry_;
  const EngineCollector engine_;

 public:
  prometheus::Family<prometheus::Counter>& requests = prometheus::BuildCounter()
                                                          .Name("splineserve_requests_total")
                                                          .Help("Ended calls by code")
                                                          .Register(registry_);
  prometheus::Family<prometheus::Gauge>& in_flight = prometheus::BuildGauge()
                                                         .Name("splineserve_requests_in_flight")
                                                         .Help("Calls not ended")
                                                         .Register(registry_);
  prometheus::Family<prometheus::Histogram>& duration =
      prometheus::BuildHistogram()
          .Name("splineserve_request_duration_seconds")
          .Help("From the arrival of a request to the end of its call")
          .Register(registry_);
  prometheus::Family<prometheus::Histogram>& queue =
      prometheus::BuildHistogram()
          .Name("splineserve_request_queue_seconds")
          .Help("From admission to the start of the work; answered calls")
          .Register(registry_);
  prometheus::Counter& generated = prometheus::BuildCounter()
                                       .Name("splineserve_generated_tokens_total")
                                       .Help("Tokens sent by Generate")
                                       .Register(registry_)
                                       .Add({});
  prometheus::Counter& pieces = prometheus::BuildCounter()
                                    .Name("splineserve_pieces_total")
                                    .Help("Pieces of tokens sent")
                                    .Register(registry_)
                                    .Add({});
};

Telemetry::Telemetry(const Engine& engine, size_t models)
    : families_(std::make_unique<Families>(engine, models)) {}
Telemetry::~Telemetry() = default;

void Telemetry::CallStarted(std::string_view method) {
  families_->in_flight.Add({{"method", std::string(method)}}).Increment();
}

void Telemetry::CallEnded(const CallRecord& record) {
  const std::string method(record.method);
  const std::string code = CodeName(record.status.code());
  families_->in_flight.Add({{"method", method}}).Decrement();
  families_->requests.Add({{"method", method}, {"code", code}}).Increment();
  families_->duration.Add({{"method", method}}, LatencyBuckets())
      .Observe(absl::ToDoubleSeconds(record.duration));
  if (record.timing.has_value()) {
    families_->queue.Add({{"method", method}}, LatencyBuckets())
        .Observe(static_cast<double>(record.timing->queue_us) * 1e-6);
  }
  families_->generated.Increment(static_cast<double>(record.tokens));
  families_->pieces.Increment(static_cast<double>(record.pieces));

  const LogLevel level = LevelOf(record.status.code());
  if (!LogEnabled(level)) return;
  const Timing timing = record.timing.value_or(Timing{});
  std::vector<LogField> fields = {{"method", method},
                                  {"model", record.model},
                                  {"code", code},
                                  {"duration_us", absl::ToInt64Microseconds(record.duration)},
                                  {"queue_us", timing.queue_us},
                                  {"compute_us", timing.compute_us},
                                  {"batch_tokens", timing.batch_tokens},
                                  {"sequences", record.sequences},
                                  {"tokens", record.tokens},
                                  {"pieces", record.pieces}};
  // Messages of INVALID_ARGUMENT may quote what the client sent, which is not for logs.
  if (level != LogLevel::kDebug) fields.emplace_back("error", std::string(record.status.message()));
  LogEvent(level, "request", fields);
}

std::string Telemetry::Metrics() const { return families_->Serialize(); }

}  // namespace splineserve
