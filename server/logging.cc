#include "server/logging.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace splineserve {
namespace {

std::atomic<bool> json_format{false};

spdlog::logger& Logger() {
  // Never destroyed: threads of gRPC may log while the process exits.
  static spdlog::logger& logger = *[] {
    auto* made = new spdlog::logger("splineserve", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_level(spdlog::level::warn);
    made->flush_on(spdlog::level::trace);
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    return made;
  }();
  return logger;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

void LogFromGrpc(gpr_log_func_args* args) {
  const LogLevel level = args->severity == GPR_LOG_SEVERITY_ERROR  ? LogLevel::kError
                         : args->severity == GPR_LOG_SEVERITY_INFO ? LogLevel::kInfo
                                                                   : LogLevel::kDebug;
  LogEvent(level, "grpc", {{"detail", args->message}, {"file", args->file}, {"line", args->line}});
}

// Protobuf complains of messages that do not parse: a client's fault, not ours.
void LogFromProtobuf(google::protobuf::LogLevel, const char* file, int line, const std::string& message) {
  LogEvent(LogLevel::kDebug, "protobuf", {{"detail", message}, {"file", file}, {"line", line}});
}

bool IsPlain(std::string_view text) {
  if (text.empty()) return false;
  for (const unsigned char c : text) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\') return false;
  }
  return true;
}

std::string JsonString(std::string_view text) {
  return nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void InitLogging(const std::string& level, const std::string& format) {
  json_format = format == "json";
  Logger().set_level(
      spdlog::level::from_str(level));  // "error" and "warn" are known to it as well as its short forms
  Logger().set_pattern(json_format ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})"
                                   : "%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  gpr_set_log_function(LogFromGrpc);
  google::protobuf::SetLogHandler(LogFromProtobuf);
}

bool LogEnabled(LogLevel level) { return Logger().should_log(ToSpdlog(level)); }

void LogEvent(LogLevel level, std::string_view message, const std::vector<LogField>& fields) {
  if (!LogEnabled(level)) return;
  const std::string line = json_format ? FormatJsonMembers(message, fields) : FormatText(message, fields);
  Logger().log(ToSpdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

std::string FormatText(std::string_view message, const std::vector<LogField>& fields) {
  std::string line(message);
  for (const LogField& field : fields) {
    if (const auto* number = std::get_if<int64_t>(&field.value)) {
      absl::StrAppend(&line, " ", field.name, "=", *number);
    } else {
      const std::string& text = std::get<std::string>(field.value);
      IsPlain(text) ? absl::StrAppend(&line, " ", field.name, "=", text)
                    : absl::StrAppend(&line, " ", field.name, "=\"", absl::Utf8SafeCEscape(text), "\"");
    }
  }
  return line;
}

std::string FormatJsonMembers(std::string_view message, const std::vector<LogField>& fields) {
  std::string line = absl::StrCat("\"message\":", JsonString(message));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, ",", JsonString(field.name), ":");
    if (const auto* number = std::get_if<int64_t>(&field.value)) {
      absl::StrAppend(&line, *number);
    } else {
      absl::StrAppend(&line, JsonString(std::get<std::string>(field.value)));
    }
  }
  return line;
}

}  // namespace splineserve
