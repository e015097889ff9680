// Structured logs on stderr: one line an event, a message and named fields.
//
//   LogEvent(LogLevel::kInfo, "request", {{"method", "Encode"}, {"sequences", 3}});
//   text: 2026-01-01T12:00:00.000+00:00 info request method=Encode sequences=3
//   json:
//   {"time":"2026-01-01T12:00:00.000+00:00","level":"info","message":"request","method":"Encode","sequences":3}
//
// Payloads (texts, ids, vectors) are never logged.
#ifndef SPLINESERVE_SERVER_LOGGING_H_
#define SPLINESERVE_SERVER_LOGGING_H_

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace splineserve {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

struct LogField {
  std::string name;
  std::variant<int64_t, std::string> value;

  LogField(std::string name, std::string_view text) : name(std::move(name)), value(std::string(text)) {}
  LogField(std::string name, const char* text) : LogField(std::move(name), std::string_view(text)) {}
  LogField(std::string name, const std::string& text) : LogField(std::move(name), std::string_view(text)) {}
  template <std::integral T>
  LogField(std::string name, T number) : name(std::move(name)), value(static_cast<int64_t>(number)) {}
};

// Sets level and format for the process and takes gRPC's own logs in. `level` and `format` are those of
// ServerOptions. Not thread-safe: called once, before threads start. Without it, warnings and errors are
// logged as text.
void InitLogging(const std::string& level, const std::string& format);

bool LogEnabled(LogLevel level);

// Thread-safe.
void LogEvent(LogLevel level, std::string_view message, const std::vector<LogField>& fields = {});

// The line without time and level: exposed for tests. Control characters, quotes and bytes that are not UTF-8
// are escaped or replaced, so that an event is one line whatever a client sends.
std::string FormatText(std::string_view message, const std::vector<LogField>& fields);
std::string FormatJsonMembers(std::string_view message, const std::vector<LogField>& fields);

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_LOGGING_H_
