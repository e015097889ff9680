#include "server/options.h"

#include <CLI/CLI.hpp>
#include <limits>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/version.h"

namespace splineserve {
namespace {

constexpr char kFooter[] =
    "Environment:\n"
    "  SPLINESERVE_TARGET          run on this SIMD target (avx512, avx2, neon, portable) instead of the "
    "best one\n"
    "\n"
    "Sizes in bytes take suffixes: 64MiB, 1g. SIGTERM and SIGINT drain the server; a second one ends it at "
    "once.\n"
    "\n"
    "Examples:\n"
    "  splineserve --model-repository models/repository\n"
    "  splineserve --model-repository /models --listen 127.0.0.1:0 --metrics off --threads 4\n"
    "  splineserve --model-repository models/repository --precision bfloat16,digits=float32\n"
    "  splineserve --model-repository models/repository --smoothing digits=20,digits=1000\n"
    "  splineserve --check-health 127.0.0.1:8001\n";

// Empty, or what is wrong with `address` as HOST:PORT.
std::string CheckAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  const bool good = colon != std::string::npos && colon > 0 && colon + 1 < address.size() &&
                    absl::SimpleAtoi(address.substr(colon + 1), &port) && port <= 65535 &&
                    (address.find(':') == colon || (address.front() == '[' && address[colon - 1] == ']'));
  return good ? "" : absl::StrCat("expected HOST:PORT or [IPV6]:PORT, found \"", address, "\"");
}

std::string CheckMetricsAddress(const std::string& address) {
  return address.empty() || address == "off" ? "" : CheckAddress(address);
}

struct RawOptions {
  ServerOptions options;
  double drain_grace_seconds = 30;
  double stall_timeout_seconds = 120;
  std::vector<std::string> precision;
  std::vector<std::string> smoothing;
};

// Binds every option of the command line to a field of `raw`.
void Declare(CLI::App& app, RawOptions& raw) {
  ServerOptions& o = raw.options;
  EngineOptions& e = o.engine;
  app.set_version_flag("--version", std::string("splineserve ") + kVersion);
  app.footer(kFooter);
  app.get_formatter()->column_width(36);

  const auto add = [&app](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)->capture_default_str();
  };
  const auto add_bytes = [&add](const char* name, size_t& value, const char* text) {
    return add(name, value, text)->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))->type_name("BYTES");
  };

  add("--model-repository", o.model_repository, "folder of models: DIR/MODEL/VERSION/config.json (required)")
      ->type_name("DIR")
      ->group("Serving");
  app.add_option(
         "--monitor", o.monitors,
         "file of recorded patterns, as `splineserve-client monitor record` writes them; may be repeated. "
         "NAME.monitor beside a model's config.json is loaded anyway")
      ->allow_extra_args(false)
      ->type_name("FILE")
      ->group("Serving");
  add("--listen", o.listen, "HOST:PORT for gRPC; port 0 takes a free one")
      ->check(CheckAddress)
      ->type_name("HOST:PORT")
      ->group("Serving");
  add("--metrics", o.metrics, "HOST:PORT for HTTP /metrics and /healthz; \"off\" for none")
      ->check(CheckMetricsAddress)
      ->type_name("HOST:PORT")
      ->group("Serving");
  add("--threads", e.threads, "threads that evaluate; 0 for as many as the process may use")
      ->group("Serving");
  app.add_option("--precision", raw.precision,
                 "float32, bfloat16 or int8, for all models, or as MODEL=NAME for one, which wins; only "
                 "float32 is exact")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str("float32")
      ->type_name("[MODEL=]NAME")
      ->group("Serving");
  app.add_option("--smoothing", raw.smoothing,
                 "serve MODEL@softplusBETA beside MODEL: its weights with SoftPlus of this beta in place of "
                 "ReLU; without MODEL, beside every EXACT model with relu gates")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("[MODEL=]BETA")
      ->group("Serving");
  add("--drain-grace", raw.drain_grace_seconds, "seconds that running requests have to end after SIGTERM")
      ->check(CLI::Range(0.0, 86400.0))
      ->type_name("SECONDS")
      ->group("Serving");

  add("--max-queue-requests", e.max_queue_requests, "requests that wait")->group("Limits");
  add_bytes("--max-queue-bytes", e.max_queue_bytes, "memory of requests until their answers are sent")
      ->group("Limits");
  add("--max-batch-tokens", e.max_batch_tokens, "tokens evaluated together")->group("Limits");
  add("--max-active-generations", e.max_active_generations, "sequences generated together")->group("Limits");
  add("--max-sequences-per-request", e.max_sequences_per_request, "sequences in a request")->group("Limits");
  add("--max-tokens-per-sequence", e.max_tokens_per_sequence, "tokens in a sequence")->group("Limits");
  add("--max-tokens-per-request", e.max_tokens_per_request, "tokens in a request")->group("Limits");
  add("--max-new-tokens", e.max_new_tokens, "tokens that a request may generate")->group("Limits");
  add("--max-beam-width", e.max_beam_width, "width of a beam search")->group("Limits");
  add("--max-analyses", o.max_analyses, "traces, derivatives and comparisons under way")->group("Limits");
  add("--stall-timeout", raw.stall_timeout_seconds,
      "seconds that a client may take to read a message; then its call is cancelled")
      ->check(CLI::Range(0.001, 86400.0))
      ->type_name("SECONDS")
      ->group("Limits");
  add_bytes("--max-message-bytes", o.max_message_bytes, "bytes of a received message")->group("Limits");

  add("--log-level", o.log_level, "least level that is logged")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->group("Logging");
  add("--log-format", o.log_format, "one line an event, on stderr")
      ->check(CLI::IsMember({"text", "json"}))
      ->group("Logging");

  add("--check-health", o.check_health, "ask the server at HOST:PORT for its health, exit with 0 or 1")
      ->check(CheckAddress)
      ->type_name("HOST:PORT")
      ->group("Health");
}

absl::Status Validate(const ServerOptions& options) {
  if (!options.check_health.empty()) return absl::OkStatus();
  if (options.model_repository.empty()) return absl::InvalidArgumentError("--model-repository is required");
  constexpr size_t kMost = std::numeric_limits<int32_t>::max();
  if (options.max_message_bytes < 1 || options.max_message_bytes > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max-message-bytes: expected 1 to ", kMost, ", found ", options.max_message_bytes));
  }
  if (options.max_analyses == 0) {
    return absl::InvalidArgumentError("--max-analyses: expected at least 1, found 0");
  }
  return Engine::ValidateOptions(options.engine);
}

}  // namespace

std::variant<ServerOptions, EarlyExit> ParseServerOptions(const std::vector<std::string>& arguments,
                                                          const std::string& simd_target) {
  CLI::App app("Serves spline-form transformers over gRPC.", "splineserve");
  RawOptions raw;
  Declare(app, raw);
  try {
    // CLI11 takes arguments from the back.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    const int status = app.exit(error, out, err);
    return EarlyExit{status == 0 ? 0 : 2, out.str(), err.str()};
  }
  ServerOptions& options = raw.options;
  if (options.metrics == "off") options.metrics.clear();
  options.drain_grace = absl::Seconds(raw.drain_grace_seconds);
  options.stall_timeout = absl::Seconds(raw.stall_timeout_seconds);
  options.simd_target = simd_target;
  absl::StatusOr<PrecisionChoice> precision = PrecisionChoice::Parse(raw.precision);
  absl::Status status = precision.status();
  if (status.ok()) {
    options.precision = *std::move(precision);
    status = Validate(options);
  }
  if (status.ok()) {
    absl::StatusOr<SmoothingChoice> smoothing = SmoothingChoice::Parse(raw.smoothing);
    status = smoothing.status();
    if (status.ok()) options.smoothing = *std::move(smoothing);
  }
  if (!status.ok()) {
    return EarlyExit{2, "", absl::StrCat(status.message(), "\nRun with --help for more information.\n")};
  }
  return std::move(options);
}

std::vector<std::pair<std::string, std::string>> DescribeOptions(const ServerOptions& options) {
  const EngineOptions& engine = options.engine;
  return {
      {"model_repository", options.model_repository},
      {"monitors", options.monitors.empty() ? "none" : absl::StrJoin(options.monitors, ",")},
      {"listen", options.listen},
      {"metrics", options.metrics.empty() ? "off" : options.metrics},
      {"threads", absl::StrCat(engine.threads)},
      {"drain_grace", absl::FormatDuration(options.drain_grace)},
      {"precision", options.precision.ToString()},
      {"smoothing", options.smoothing.ToString()},
      {"max_queue_requests", absl::StrCat(engine.max_queue_requests)},
      {"max_queue_bytes", absl::StrCat(engine.max_queue_bytes)},
      {"max_batch_tokens", absl::StrCat(engine.max_batch_tokens)},
      {"max_active_generations", absl::StrCat(engine.max_active_generations)},
      {"max_sequences_per_request", absl::StrCat(engine.max_sequences_per_request)},
      {"max_tokens_per_sequence", absl::StrCat(engine.max_tokens_per_sequence)},
      {"max_tokens_per_request", absl::StrCat(engine.max_tokens_per_request)},
      {"max_new_tokens", absl::StrCat(engine.max_new_tokens)},
      {"max_beam_width", absl::StrCat(engine.max_beam_width)},
      {"max_analyses", absl::StrCat(options.max_analyses)},
      {"stall_timeout", absl::FormatDuration(options.stall_timeout)},
      {"max_message_bytes", absl::StrCat(options.max_message_bytes)},
      {"log_level", options.log_level},
      {"log_format", options.log_format},
      {"simd_target", options.simd_target.empty() ? "auto" : options.simd_target},
  };
}

}  // namespace splineserve
