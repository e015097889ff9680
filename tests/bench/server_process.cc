#include "tests/bench/server_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>
#include <vector>

#include "absl/time/clock.h"

extern char** environ;

namespace splineserve {
namespace {

[[noreturn]] void Fail(const std::string& what) { throw std::runtime_error(what); }

}  // namespace

ServerProcess::ServerProcess(const std::string& binary, const std::string& repository) {
  int log[2];
  if (pipe2(log, O_CLOEXEC) != 0) Fail("cannot make a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, log[1], STDERR_FILENO);
  const std::vector<std::string> words = {binary,        "--model-repository", repository,   "--listen",
                                          "127.0.0.1:0", "--metrics",          "127.0.0.1:0"};
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  started_ = absl::Now();
  if (posix_spawn(&pid_, binary.c_str(), &actions, nullptr, arguments.data(), environ) != 0)
    Fail("cannot start " + binary);
  posix_spawn_file_actions_destroy(&actions);
  close(log[1]);
  log_ = log[0];
  static constexpr char kListening[] = "listening on ";
  std::string text;
  for (char chunk[4096];;) {
    const ssize_t count = read(log_, chunk, sizeof(chunk));
    if (count <= 0) Fail("the server ended before it listened:\n" + text);
    text.append(chunk, static_cast<size_t>(count));
    const size_t at = text.find(kListening);
    if (at == std::string::npos || text.find('\n', at) == std::string::npos) continue;
    const size_t begin = at + sizeof(kListening) - 1;
    address_ = text.substr(begin, text.find_first_of(" \n", begin) - begin);
    listening_ms_ = Milliseconds();
    break;
  }
  reader_ = std::thread([log = log_] {
    for (char chunk[4096]; read(log, chunk, sizeof(chunk)) > 0;) {
    }
  });
}

ServerProcess::~ServerProcess() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  reader_.join();
  close(log_);
}

double ServerProcess::Milliseconds() const { return absl::ToDoubleMilliseconds(absl::Now() - started_); }

double ServerProcess::Memory(const std::string& field) const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) == 0) return std::stod(line.substr(field.size() + 1)) * 1024 / 1e6;
  }
  Fail("no " + field + " in the status of the server");
}

}  // namespace splineserve
