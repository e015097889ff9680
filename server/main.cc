// The splineserve binary: exit status 0 after a drain, 1 if it cannot serve, 2 for bad usage.
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
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

// SIGTERM and SIGINT, as an event of its own thread from the first moment on: a server that still loads its
// models has nothing to finish and ends at once.
class StopSignal {
 public:
  // Before any other thread starts, so that all inherit the mask and only sigwait takes the signals.
  StopSignal() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    std::thread([this] { Watch(); }).detach();  // ends with the process, as this object does
  }

  // From now on a signal ends Wait() instead of the process.
  void SetServing() { serving_ = true; }

  // Blocks until a signal has come; a second one then ends the process.
  const char* Wait() {
    const int signal = received_.get_future().get();
    pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
    return Name(signal);
  }

 private:
  static const char* Name(int signal) { return signal == SIGTERM ? "SIGTERM" : "SIGINT"; }

  void Watch() {
    int signal = 0;
    sigwait(&signals_, &signal);
    if (!serving_) {
      LogEvent(LogLevel::kInfo, "stopped while loading", {{"signal", Name(signal)}});
      std::_Exit(0);
    }
    received_.set_value(signal);
  }

  sigset_t signals_;
  std::atomic<bool> serving_{false};
  std::promise<int> received_;
};

int Serve(const ServerOptions& options) {
  InitLogging(options.log_level, options.log_format);
  static StopSignal* const stop = new StopSignal;
  LogEvent(LogLevel::kInfo, "loading", {{"model_repository", options.model_repository}});
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options);
  if (!server.ok()) {
    std::cerr << "splineserve: " << server.status().message() << '\n';
    return 1;
  }
  stop->SetServing();
  LogEvent(LogLevel::kInfo, "draining", {{"signal", stop->Wait()}});
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
