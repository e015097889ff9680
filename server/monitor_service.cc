#include "server/monitor_service.h"

#include "core/base/status_macros.h"
#include "server/monitoring.h"
#include "server/record_call.h"

namespace splineserve {
namespace {

absl::Status List(const ServerParts& parts, const LoadedModel* model, v1::ListMonitorsResponse* response) {
  const std::vector<ModelRegistry::ModelPtr> models = parts.registry.List();
  for (const MonitorRegistry::MonitorPtr& monitor : parts.monitors.List()) {
    const std::string& digest = monitor->monitor.description().digest;
    if (model != nullptr && model->digest() != digest) continue;
    v1::MonitorInfo* const info = response->add_monitors();
    *info = ToMonitorInfo(monitor->monitor);
    info->set_name(monitor->name);
    for (const ModelRegistry::ModelPtr& other : models) {
      // A smoothing has its spline's digest and no gates.
      if (other->digest() != digest || other->smoothing().has_value()) continue;
      v1::ModelRef* const reference = info->add_models();
      reference->set_name(other->name());
      reference->set_version(static_cast<uint32_t>(other->version()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* MonitorService::ListMonitors(grpc::CallbackServerContext* context,
                                                       const v1::ListMonitorsRequest* request,
                                                       v1::ListMonitorsResponse* response) {
  grpc::Status status;
  {
    CallState state(parts_, *context, "ListMonitors");
    absl::Status found = request->has_model() ? state.FindModel(request->model()) : absl::OkStatus();
    if (found.ok()) found = List(parts_, state.model().get(), response);
    status = state.End(std::move(found));
  }
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(std::move(status));
  return reactor;
}

grpc::ServerUnaryReactor* MonitorService::RecordPatterns(grpc::CallbackServerContext* context,
                                                         const v1::RecordPatternsRequest* request,
                                                         v1::RecordPatternsResponse* response) {
  return RecordCall::Start(parts_, *context, *request, response);
}

}  // namespace splineserve
