#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/base/thread_pool.h"
#include "server/inference_service.h"
#include "server/logging.h"
#include "server/malformed_requests.h"
#include "server/metrics_endpoint.h"
#include "server/model_service.h"
#include "server/monitor_service.h"
#include "server/spline_service.h"

namespace splineserve {
namespace {

constexpr size_t kResponseThreads = 2;
// Two, so that a turn which cannot be divided does not hold up all other analyses.
constexpr size_t kAnalysisThreads = 2;
// After the drain only answers that are being sent, refusals, and Watch streams are left.
constexpr absl::Duration kCloseGrace = absl::Seconds(2);
// gRPC cancels the calls that arrive while it shuts down. Clients see UNAVAILABLE, which tells them to go
// elsewhere, only from our own refusals: stop when no call has come for so long.
constexpr absl::Duration kQuiet = absl::Milliseconds(200);

void SetChannelArguments(const ServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT,
                             0);  // a second server on the port must fail, not share it
  // Dead peers are noticed within 80 s; clients may ping every 10 s, with or without calls.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
}

std::string Listing(const ModelRegistry& registry) {
  return absl::StrJoin(registry.List(), ",", [](std::string* out, const ModelRegistry::ModelPtr& model) {
    const absl::string_view kind(Name(model->spline_class()).data(), Name(model->spline_class()).size());
    absl::StrAppend(out, model->name(), "/", model->version(), "@", model->digest(), ":", kind, ":",
                    PrecisionName(model->precision()));
  });
}

class GrpcServer final : public Server {
 public:
  GrpcServer(const ServerOptions& options, ModelRegistry registry, MonitorRegistry monitors,
             std::unique_ptr<Engine> engine, std::unique_ptr<StallWatch> stalls,
             std::unique_ptr<ResponseWorkers> workers, std::unique_ptr<AnalysisQueue> analyses)
      : options_(options),
        registry_(std::move(registry)),
        monitor_registry_(std::move(monitors)),
        engine_(std::move(engine)),
        telemetry_(*engine_, registry_.List().size()),
        stalls_(std::move(stalls)),
        workers_(std::move(workers)),
        analyses_(std::move(analyses)),
        parts_{registry_,
               *engine_,
               telemetry_,
               activity_,
               *workers_,
               *analyses_,
               {options.engine, options.max_message_bytes, engine_->kernels().name},
               monitor_registry_,
               *stalls_},
        inference_(parts_),
        models_(parts_),
        monitors_(parts_),
        splines_(parts_) {}

  ~GrpcServer() override { Drain(absl::ZeroDuration()); }

  absl::Status Listen() {
    if (!options_.metrics.empty()) {
      SPLINESERVE_ASSIGN_OR_RETURN(metrics_, MetricsEndpoint::Start(options_.metrics, telemetry_));
    }
    // Process-wide, and read by the builder: gRPC's own implementation of grpc.health.v1.
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    SetChannelArguments(options_, builder);
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
    interceptors.push_back(MakeMalformedRequestInterceptor(telemetry_));
    builder.experimental().SetInterceptorCreators(std::move(interceptors));
    int port = 0;
    builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&inference_);
    builder.RegisterService(&models_);
    builder.RegisterService(&monitors_);
    builder.RegisterService(&splines_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      server_.reset();
      return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.listen,
                                                 ": is the port taken, or the address not of this machine?"));
    }
    address_ = absl::StrCat(options_.listen.substr(0, options_.listen.rfind(':')), ":", port);
    SetServing(true);
    return absl::OkStatus();
  }

  void LogStart() const {
    std::vector<LogField> fields;
    for (const auto& [name, value] : DescribeOptions(options_))
      fields.emplace_back(name, std::string_view(value));
    fields.emplace_back("target", engine_->kernels().name);
    fields.emplace_back("pool_threads", engine_->threads());
    fields.emplace_back("metrics_port", metrics_port());
    fields.emplace_back("models", std::string_view(Listing(registry_)));
    LogEvent(LogLevel::kInfo, absl::StrCat("listening on ", address_), fields);
  }

  const std::string& address() const override { return address_; }
  int metrics_port() const override { return metrics_ == nullptr ? 0 : metrics_->port(); }
  const Engine& engine() const override { return *engine_; }

  void Drain(absl::Duration grace) override {
    if (server_ == nullptr) return;
    SetServing(false);
    const absl::Time end = absl::Now() + grace;
    engine_->Drain(grace);
    analyses_->Drain(std::max(end - absl::Now(), absl::ZeroDuration()));
    activity_.WaitUntilQuiet(kQuiet, kCloseGrace);
    server_->Shutdown(absl::ToChronoTime(absl::Now() + kCloseGrace));
    server_->Wait();
    server_.reset();
    metrics_.reset();
  }

 private:
  void SetServing(bool serving) {
    telemetry_.SetServing(serving);
    grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
    for (const char* service :
         {"", v1::InferenceService::service_full_name(), v1::ModelService::service_full_name(),
          v1::MonitorService::service_full_name(), v1::SplineService::service_full_name()}) {
      health->SetServingStatus(service, serving);
    }
  }

  const ServerOptions options_;
  const ModelRegistry registry_;
  const MonitorRegistry monitor_registry_;
  const std::unique_ptr<Engine> engine_;
  Telemetry telemetry_;
  CallActivity activity_;
  const std::unique_ptr<StallWatch> stalls_;
  const std::unique_ptr<ResponseWorkers> workers_;
  const std::unique_ptr<AnalysisQueue> analyses_;
  const ServerParts parts_;
  InferenceService inference_;
  ModelService models_;
  MonitorService monitors_;
  SplineService splines_;
  std::unique_ptr<MetricsEndpoint> metrics_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  // Ends with the load: the engine makes its own when there is something to evaluate.
  SPLINESERVE_ASSIGN_OR_RETURN(std::unique_ptr<ThreadPool> pool,
                               ThreadPool::Create(options.engine.threads == 0 ? ThreadPool::AvailableCores()
                                                                              : options.engine.threads));
  LoadedModel::LoadOptions load;
  load.pool = pool.get();
  // An unknown target is reported below, after the models' own faults.
  if (const auto kernels = SelectKernelSet(options.simd_target); kernels.ok()) load.kernels = *kernels;
  SPLINESERVE_ASSIGN_OR_RETURN(
      ModelRegistry registry,
      ModelRegistry::Load(options.model_repository, load, options.precision, options.smoothing));
  pool.reset();
  SPLINESERVE_ASSIGN_OR_RETURN(std::vector<std::string> monitors, FindMonitorFiles(options.model_repository));
  ServerOptions all = options;
  monitors.insert(monitors.end(), options.monitors.begin(), options.monitors.end());
  all.monitors = std::move(monitors);
  return Start(all, std::move(registry));
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, ModelRegistry registry) {
  absl::StatusOr<const KernelSet*> kernels = SelectKernelSet(options.simd_target);
  if (!kernels.ok()) {
    return absl::Status(kernels.status().code(),
                        absl::StrCat("SPLINESERVE_TARGET: ", kernels.status().message()));
  }
  SPLINESERVE_ASSIGN_OR_RETURN(MonitorRegistry monitors, MonitorRegistry::Load(options.monitors, registry));
  SPLINESERVE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(options.engine, **kernels));
  SPLINESERVE_ASSIGN_OR_RETURN(std::unique_ptr<StallWatch> stalls, StallWatch::Create(options.stall_timeout));
  SPLINESERVE_ASSIGN_OR_RETURN(std::unique_ptr<ResponseWorkers> workers,
                               ResponseWorkers::Create(kResponseThreads));
  SPLINESERVE_ASSIGN_OR_RETURN(std::unique_ptr<AnalysisQueue> analyses,
                               AnalysisQueue::Create(kAnalysisThreads, options.max_analyses));
  auto server =
      std::make_unique<GrpcServer>(options, std::move(registry), std::move(monitors), std::move(engine),
                                   std::move(stalls), std::move(workers), std::move(analyses));
  SPLINESERVE_RETURN_IF_ERROR(server->Listen());
  server->LogStart();
  return server;
}

}  // namespace splineserve
