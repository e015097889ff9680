// The real server binary as a child process, for benchmarks that look at it from outside.
#ifndef SPLINESERVE_TESTS_BENCH_SERVER_PROCESS_H_
#define SPLINESERVE_TESTS_BENCH_SERVER_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <thread>

#include "absl/time/time.h"

namespace splineserve {

// `splineserve` on free ports of this machine, killed with the object. Failures throw std::runtime_error.
class ServerProcess {
 public:
  // Returns when it listens: the log's line names the port.
  ServerProcess(const std::string& binary, const std::string& repository);
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess();

  const std::string& address() const { return address_; }
  double listening_ms() const { return listening_ms_; }
  double Milliseconds() const;  // since just before the process was made

  // A field of /proc/PID/status in 10^6 bytes: "VmRSS".
  double Memory(const std::string& field) const;

 private:
  pid_t pid_ = -1;
  int log_ = -1;
  std::thread reader_;  // of the log, lest the server wait for a full pipe
  absl::Time started_;
  double listening_ms_ = 0;
  std::string address_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_TESTS_BENCH_SERVER_PROCESS_H_
