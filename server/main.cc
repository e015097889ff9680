// The splineserve binary: exit status 0 after a drain, 1 if it cannot serve, 2 for bad usage.
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "server/health_probe.h"
#include "server/logging.h"
#include "server/options.h"
#include "server/server.h"

namespace splineserve {
namespace {

int CheckHealthAndReport(const std::string& address) {
  const absl::Status status = CheckHealth(address, absl::Seconds(5));
  (status.ok() ? std::cout : std::cerr) << (status.ok() ? "SERVING" : status.ToString()) << '\n';
  return status.ok() ? 0 : 1;
}

int Serve(const ServerOptions& options) {
  // Blocked before any thread starts, so that every thread inherits it and only sigwait takes them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  InitLogging(options.log_level, options.log_format);
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options);
  if (!server.ok()) {
    std::cerr << "splineserve: " << server.status().message() << '\n';
    return 1;
  }
  int signal = 0;
  sigwait(&signals, &signal);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);  // a second signal ends the process at once
  LogEvent(LogLevel::kInfo, "draining", {{"signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"}});
  (*server)->Drain(options.drain_grace);
  LogEvent(LogLevel::kInfo, "stopped");
  return 0;
}

int Main(int argc, char** argv) {
  const char* const target = std::getenv("SPLINESERVE_TARGET");
  const auto parsed =
      ParseServerOptions(std::vector<std::string>(argv + 1, argv + argc), target == nullptr ? "" : target);
  if (const auto* exit = std::get_if<EarlyExit>(&parsed)) {
    std::cout << exit->out;
    std::cerr << exit->err;
    return exit->status;
  }
  const ServerOptions& options = std::get<ServerOptions>(parsed);
  return options.check_health.empty() ? Serve(options) : CheckHealthAndReport(options.check_health);
}

}  // namespace
}  // namespace splineserve

int main(int argc, char** argv) { return splineserve::Main(argc, argv); }
