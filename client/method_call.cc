#include "client/method_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/client.h"
#include "client/nearest_name.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "splineserve/v1/monitor.pb.h"
#include "splineserve/v1/spline.pb.h"

namespace splineserve::client {
namespace {

using google::protobuf::FileDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

std::vector<const MethodDescriptor*> Methods() {
  std::vector<const MethodDescriptor*> methods;
  for (const FileDescriptor* file :
       {v1::EncodeRequest::descriptor()->file(), v1::ListModelsRequest::descriptor()->file(),
        v1::RecordPatternsRequest::descriptor()->file(), v1::TraceRequest::descriptor()->file(),
        grpc::health::v1::HealthCheckRequest::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j)
        methods.push_back(file->service(i)->method(j));
    }
  }
  return methods;
}

std::string ShortName(const MethodDescriptor& method) {
  return absl::StrCat(method.service()->name(), "/", method.name());
}

std::string FullName(const MethodDescriptor& method) {
  return absl::StrCat(method.service()->full_name(), "/", method.name());
}

grpc::ByteBuffer ToBytes(const Message& message) {
  const std::string bytes = message.SerializeAsString();
  grpc::Slice slice(bytes.data(), bytes.size());
  return grpc::ByteBuffer(&slice, 1);
}

bool FromBytes(const grpc::ByteBuffer& bytes, Message& message) {
  std::vector<grpc::Slice> slices;
  if (!bytes.Dump(&slices).ok()) return false;
  std::string whole;
  whole.reserve(bytes.Length());
  for (const grpc::Slice& slice : slices)
    whole.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return message.ParseFromString(whole);
}

// Operations of one call that may be under way on its completion queue at once.
enum Operation : intptr_t { kStart = 1, kWrite, kWritesDone, kRead, kFinish };

void* Tag(Operation operation) { return reinterpret_cast<void*>(operation); }

}  // namespace

std::unique_ptr<Message> NewMessage(const google::protobuf::Descriptor& type) {
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

std::vector<std::string> MethodNames() {
  std::vector<std::string> names;
  for (const MethodDescriptor* method : Methods()) names.push_back(FullName(*method));
  return names;
}

absl::StatusOr<const MethodDescriptor*> FindMethod(std::string_view name) {
  std::string wanted(name);
  if (absl::StartsWith(wanted, "/")) wanted.erase(0, 1);
  if (!absl::StrContains(wanted, "/")) {
    if (const size_t dot = wanted.rfind('.'); dot != std::string::npos) wanted[dot] = '/';
  }
  std::vector<const MethodDescriptor*> found;
  std::vector<std::string> names;
  for (const MethodDescriptor* method : Methods()) {
    if (wanted == FullName(*method) || wanted == ShortName(*method) || wanted == method->name()) {
      found.push_back(method);
    }
    names.push_back(ShortName(*method));
  }
  if (found.size() == 1) return found[0];
  std::string message =
      absl::StrCat(found.empty() ? "there is no method \"" : "more than one service has a method \"",
                   std::string(name), "\". ");
  if (std::string nearest = NearestName(wanted, names); found.empty() && !nearest.empty()) {
    absl::StrAppend(&message, "Did you mean ", nearest, "? ");
  }
  return absl::InvalidArgumentError(
      absl::StrCat(message, "The methods are ", absl::StrJoin(names, ", "), "."));
}

absl::Status CallMethod(const MethodDescriptor& method, const std::vector<std::unique_ptr<Message>>& requests,
                        std::shared_ptr<grpc::ChannelInterface> channel, absl::Duration deadline,
                        absl::FunctionRef<void(const Message&)> on_response) {
  if (!method.client_streaming() && requests.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(FullName(method), " takes one request, found ", requests.size()));
  }
  grpc::ClientContext context;
  SetDeadline(deadline, context);
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(std::move(channel));
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call =
      stub.PrepareCall(&context, absl::StrCat("/", FullName(method)), &queue);
  call->StartCall(Tag(kStart));

  size_t written = 0;
  auto write_next = [&] {
    if (written < requests.size()) {
      call->Write(ToBytes(*requests[written++]), Tag(kWrite));
    } else {
      call->WritesDone(Tag(kWritesDone));
    }
  };
  grpc::Status status;
  grpc::ByteBuffer received;
  std::unique_ptr<Message> response = NewMessage(*method.output_type());
  bool malformed = false;
  // Writes and reads go on side by side, so that a bidirectional method cannot block on either. A read that
  // ends is the end of the call, whatever became of the writes.
  void* tag;
  bool ok;
  int pending = 1;
  while (pending > 0 && queue.Next(&tag, &ok)) {
    --pending;
    switch (static_cast<Operation>(reinterpret_cast<intptr_t>(tag))) {
      case kStart:
        if (!ok) {
          call->Finish(&status, Tag(kFinish));
          ++pending;
          break;
        }
        write_next();
        call->Read(&received, Tag(kRead));
        pending += 2;
        break;
      case kWrite:
        if (ok) {
          write_next();
          ++pending;
        }
        break;
      case kWritesDone:
        break;
      case kRead:
        if (!ok) {
          call->Finish(&status, Tag(kFinish));
        } else {
          if (FromBytes(received, *response)) {
            on_response(*response);
          } else {
            malformed = true;
            context.TryCancel();
          }
          call->Read(&received, Tag(kRead));
        }
        ++pending;
        break;
      case kFinish:
        break;
    }
  }
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  if (malformed) {
    return absl::InternalError(
        absl::StrCat("the server's answer is not a ", method.output_type()->full_name()));
  }
  return ToAbslStatus(status);
}

}  // namespace splineserve::client
