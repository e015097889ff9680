#include "server/metrics_endpoint.h"

#include <CivetServer.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace splineserve {
namespace {

bool Reply(mg_connection* connection, const char* status, const char* type, const std::string& body) {
  const std::string head =
      absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type, "\r\nContent-Length: ", body.size(),
                   "\r\nCache-Control: no-store\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  mg_write(connection, body.data(), body.size());
  return true;
}

class MetricsHandler : public CivetHandler {
 public:
  explicit MetricsHandler(const Telemetry& telemetry) : telemetry_(telemetry) {}
  bool handleGet(CivetServer*, mg_connection* connection) override {
    return Reply(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8", telemetry_.Metrics());
  }

 private:
  const Telemetry& telemetry_;
};

class HealthHandler : public CivetHandler {
 public:
  explicit HealthHandler(const Telemetry& telemetry) : telemetry_(telemetry) {}
  bool handleGet(CivetServer*, mg_connection* connection) override {
    return telemetry_.serving() ? Reply(connection, "200 OK", "text/plain", "serving\n")
                                : Reply(connection, "503 Service Unavailable", "text/plain", "not serving\n");
  }

 private:
  const Telemetry& telemetry_;
};

class CivetEndpoint final : public MetricsEndpoint {
 public:
  CivetEndpoint(const std::string& address, const Telemetry& telemetry)
      : metrics_(telemetry),
        health_(telemetry),
        server_(std::vector<std::string>{"listening_ports", address, "num_threads", "2", "request_timeout_ms",
                                         "10000"}) {
    server_.addHandler("/metrics$", metrics_);
    server_.addHandler("/healthz$", health_);
  }

  int port() const override { return port_; }
  bool FindPort() {
    const std::vector<int> ports = server_.getListeningPorts();
    if (ports.empty()) return false;
    port_ = ports.front();
    return true;
  }

 private:
  MetricsHandler metrics_;
  HealthHandler health_;
  CivetServer server_;  // last: stops its threads before the handlers go
  int port_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& address,
                                                                        const Telemetry& telemetry) {
  try {
    auto endpoint = std::make_unique<CivetEndpoint>(address, telemetry);
    if (endpoint->FindPort()) return endpoint;
  } catch (const CivetException&) {
  }
  return absl::UnavailableError(absl::StrCat(
      "cannot listen on ", address, " for metrics: is the port taken, or the address not of this machine?"));
}

}  // namespace splineserve
