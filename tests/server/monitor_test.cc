// Monitors over the wire: recording, verdicts, and every refusal. Verdicts are compared with a gate-by-gate
// comparison of what Encode and Decode answer with BITS.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "splineserve/v1/monitor.grpc.pb.h"
#include "tests/server/server_fixture.h"

namespace splineserve::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kSeed = 20261125;

class MonitorTest : public ServerFixture {
 protected:
  static void Expect(const grpc::Status& status, grpc::StatusCode code,
                     const ::testing::Matcher<std::string>& message) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), message);
  }

  grpc::Status Record(const v1::RecordPatternsRequest& request, v1::RecordPatternsResponse* response) {
    grpc::ClientContext context;
    return v1::MonitorService::NewStub(channel_)->RecordPatterns(&context, request, response);
  }
  grpc::Status Record(const std::string& json) {
    v1::RecordPatternsResponse response;
    return Record(FromJson<v1::RecordPatternsRequest>(json), &response);
  }
  std::string RecordedBytes(const v1::RecordPatternsRequest& request) {
    v1::RecordPatternsResponse response;
    const grpc::Status status = Record(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.monitor();
  }
  // A server with these files.
  void StartWith(const std::map<std::string, std::string>& files) {
    ServerOptions options = Options();
    for (const auto& [name, bytes] : files) {
      folder_.Write(name, bytes);
      options.monitors.push_back(folder_.path() + "/" + name);
    }
    Start(options);
  }

  const TempDir folder_;
};

// Token ids of the encoder's vocabulary, of two lengths, so that patterns repeat and come near each other.
v1::Sequence RandomSequence(std::mt19937_64& random) {
  v1::Sequence sequence;
  for (size_t n = 2 + random() % 2; n > 0; --n)
    sequence.mutable_tokens()->add_ids(3 + static_cast<int>(random() % 5));
  return sequence;
}

// The gates of the chosen layer and sites, '0' or '1' each, and the tokens before them: patterns of other
// lengths compare with none.
std::string GatesOf(const v1::SequenceResult& result, uint32_t layer,
                    const std::set<v1::Site::Value>& sites) {
  std::string gates = std::to_string(result.pieces_size()) + ":";
  for (const v1::TokenPiece& piece : result.pieces()) {
    for (const auto& listed : piece.layers()) {
      if (listed.layer() != layer) continue;
      for (const v1::TokenPiece::Group& group : listed.groups()) {
        if (sites.count(group.site()) == 0) continue;
        for (uint32_t j = 0; j < group.width(); ++j)
          gates += (static_cast<uint8_t>(group.bits()[j / 8]) >> (j % 8) & 1) != 0 ? '1' : '0';
      }
    }
  }
  return gates;
}

// Gates that differ, or -1 where the two do not compare.
int DistanceOf(const std::string& a, const std::string& b) {
  if (a.size() != b.size() || a.substr(0, a.find(':')) != b.substr(0, b.find(':'))) return -1;
  int distance = 0;
  for (size_t i = 0; i < a.size(); ++i) distance += a[i] != b[i] ? 1 : 0;
  return distance;
}

uint32_t ArgMax(const v1::Matrix& row) {
  return static_cast<uint32_t>(std::max_element(row.values().begin(), row.values().end()) -
                               row.values().begin());
}

TEST_F(MonitorTest, VerdictsAreThoseOfAComparisonOfEveryGate) {
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  std::mt19937_64 random(kSeed);
  const std::set<v1::Site::Value> sites = {v1::Site::SELF_ATTENTION, v1::Site::FEED_FORWARD};
  auto record = FromJson<v1::RecordPatternsRequest>(
      R"({"model": {"name": "encoder"}, "selection": {"layers": [1]}, "gamma": 6})");
  for (int i = 0; i < 40; ++i) *record.add_inputs() = RandomSequence(random);
  v1::EncodeRequest reference;
  reference.mutable_model()->set_name("encoder");
  reference.mutable_pieces()->set_detail(v1::PieceOptions::BITS);
  *reference.mutable_inputs() = record.inputs();
  v1::EncodeResponse recorded;
  grpc::ClientContext recorded_context;
  ASSERT_TRUE(inference_->Encode(&recorded_context, reference, &recorded).ok());

  v1::RecordPatternsResponse monitor;
  ASSERT_TRUE(Record(record, &monitor).ok());
  std::map<uint32_t, std::set<std::string>> patterns;
  for (const v1::SequenceResult& result : recorded.results())
    patterns[ArgMax(result.output())].insert(GatesOf(result, 1, sites));
  uint32_t distinct = 0;
  for (uint32_t label = 0; label < 5; ++label) {
    EXPECT_EQ(monitor.info().patterns(static_cast<int>(label)), patterns[label].size()) << label;
    distinct += static_cast<uint32_t>(patterns[label].size());
  }
  EXPECT_EQ(monitor.added(), distinct);
  EXPECT_EQ(monitor.known(), 40 - distinct);
  ASSERT_GT(monitor.known(), 0u);

  StartWith({{"last.monitor", monitor.monitor()}});
  v1::EncodeRequest check;
  check.mutable_model()->set_name("encoder");
  for (int i = 0; i < 60; ++i) *check.add_inputs() = RandomSequence(random);
  *check.add_inputs() =
      FromJson<v1::Sequence>(R"({"tokens": {"ids": [3, 4, 5, 6, 7]}})");  // of no such length
  v1::EncodeRequest with_bits = check;
  with_bits.mutable_pieces()->set_detail(v1::PieceOptions::BITS);
  check.mutable_monitor();
  v1::EncodeResponse verdicts, bits;
  grpc::ClientContext check_context, bits_context;
  ASSERT_TRUE(inference_->Encode(&check_context, check, &verdicts).ok());
  ASSERT_TRUE(inference_->Encode(&bits_context, with_bits, &bits).ok());
  ASSERT_EQ(verdicts.results_size(), 61);
  int accepted = 0, known = 0, warnings = 0;
  for (int i = 0; i < verdicts.results_size(); ++i) {
    const v1::SequenceResult& result = verdicts.results(i);
    EXPECT_EQ(result.pieces_size(), 0);
    EXPECT_TRUE(result.sequence_id().empty());
    const v1::MonitorVerdict& verdict = result.monitor();
    const std::string gates = GatesOf(bits.results(i), 1, sites);
    const uint32_t label = ArgMax(result.output());
    int own = -1, any = -1;
    for (const auto& [other, listed] : patterns) {
      for (const std::string& pattern : listed) {
        const int distance = DistanceOf(gates, pattern);
        if (distance < 0) continue;
        if (any < 0 || distance < any) any = distance;
        if (other == label && (own < 0 || distance < own)) own = distance;
      }
    }
    EXPECT_EQ(verdict.monitor(), "last");
    EXPECT_EQ(verdict.label(), label);
    EXPECT_EQ(verdict.gates(), gates.size() - gates.find(':') - 1);
    EXPECT_EQ(verdict.gamma(), 6u);
    EXPECT_EQ(verdict.has_own(), own >= 0);
    EXPECT_EQ(verdict.has_nearest(), any >= 0);
    if (own >= 0) {
      EXPECT_EQ(static_cast<int>(verdict.own().distance()), own);
      EXPECT_EQ(verdict.own().label(), label);
    }
    if (any >= 0) {
      EXPECT_EQ(static_cast<int>(verdict.nearest().distance()), any);
    }
    EXPECT_EQ(verdict.accepted(), own >= 0 && own <= 6);
    EXPECT_EQ(verdict.known(), own == 0);
    accepted += verdict.accepted() && !verdict.known() ? 1 : 0;
    known += verdict.known() ? 1 : 0;
    warnings += verdict.accepted() ? 0 : 1;
  }
  // The test says something about each of them.
  EXPECT_GT(accepted, 0);
  EXPECT_GT(known, 0);
  EXPECT_GT(warnings, 1);
}

TEST_F(MonitorTest, PiecesAreWhatWasAskedForWhateverTheMonitorNeeds) {
  const std::string bytes = RecordedBytes(FromJson<v1::RecordPatternsRequest>(
      R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"}], "selection": {"layers": [0], "sites": ["FEED_FORWARD"]}})"));
  StartWith({{"a.monitor", bytes}});
  for (const std::string pieces :
       {R"("pieces": {"detail": "ID"})", R"("pieces": {"detail": "ID", "margins": true})",
        R"("pieces": {"detail": "COUNTS", "layers": [1]})",
        R"("pieces": {"detail": "COUNTS", "sites": ["SELF_ATTENTION"], "margins": true})",
        R"("pieces": {"detail": "BITS", "layers": [1, 1], "sites": ["FEED_FORWARD"]})",
        R"("pieces": {"detail": "BITS"})", R"("output": "HEAD")"}) {
    v1::EncodeResponse plain, monitored;
    const std::string request =
        R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"}, {"text": "b"}], )" + pieces;
    ASSERT_TRUE(Encode(request + "}", &plain).ok());
    ASSERT_TRUE(Encode(request + R"(, "monitor": {}})", &monitored).ok());
    EXPECT_TRUE(monitored.results(0).monitor().known());
    EXPECT_FALSE(monitored.results(1).monitor().has_own());
    for (v1::SequenceResult& result : *monitored.mutable_results()) result.clear_monitor();
    for (int i = 0; i < 2; ++i)
      EXPECT_EQ(monitored.results(i).SerializeAsString(), plain.results(i).SerializeAsString()) << pieces;
  }
  // What is wrong with pieces is refused as without a monitor.
  for (const std::string pieces : {R"({"detail": "ID", "layers": [2]})", R"({"layers": [0, 5]})",
                                   R"({"detail": "BITS", "layers": [0, 0, 0]})", R"({"margins": true})",
                                   R"({"detail": "BITS", "sites": [7]})"}) {
    const std::string request =
        R"({"model": {"name": "encoder"}, "inputs": [{"text": "a"}], "pieces": )" + pieces;
    const grpc::Status plain = Encode(request + "}"), monitored = Encode(request + R"(, "monitor": {}})");
    EXPECT_EQ(plain.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << pieces;
    EXPECT_EQ(monitored.error_code(), plain.error_code());
    if (pieces.find("0, 0, 0") == std::string::npos) {
      EXPECT_EQ(monitored.error_message(), plain.error_message());
    }
  }
}

TEST_F(MonitorTest, DecodersAreMonitoredInOneClass) {
  const std::string decoder = RecordedBytes(FromJson<v1::RecordPatternsRequest>(
      R"({"model": {"name": "decoder"}, "targets": [{"text": "abc"}, {"text": "ab"}], "kind": "HASHED"})"));
  const std::string translator = RecordedBytes(FromJson<v1::RecordPatternsRequest>(
      R"({"model": {"name": "translator"}, "sources": [{"text": "ab"}], "targets": [{"tokens": {"ids": [1, 3]}}]})"));
  const std::string source = RecordedBytes(FromJson<v1::RecordPatternsRequest>(
      R"({"model": {"name": "translator"}, "inputs": [{"text": "ab"}]})"));
  StartWith({{"d.monitor", decoder}, {"t.monitor", translator}, {"s.monitor", source}});
  v1::DecodeResponse response;
  ASSERT_TRUE(
      Decode(
          R"({"model": {"name": "decoder"}, "targets": [{"text": "ab"}, {"text": "ba"}], "output": "HIDDEN",
      "monitor": {"name": "d", "gamma": 0}})",
          &response)
          .ok());
  EXPECT_TRUE(response.results(0).monitor().known());
  EXPECT_FALSE(response.results(1).monitor().accepted());
  EXPECT_FALSE(response.results(1).monitor().has_nearest());
  ASSERT_TRUE(Decode(R"({"model": {"name": "translator"}, "sources": [{"text": "ab"}, {"text": "abc"}],
      "targets": [{"tokens": {"ids": [1, 3]}}, {"tokens": {"ids": [1, 3]}}], "monitor": {}})",
                     &response)
                  .ok());
  EXPECT_EQ(response.results(0).monitor().monitor(), "t");
  EXPECT_TRUE(response.results(0).monitor().known());
  EXPECT_FALSE(response.results(1).monitor().has_own());  // of another source's length
  v1::EncodeResponse encoded;
  ASSERT_TRUE(
      Encode(R"({"model": {"name": "translator"}, "inputs": [{"text": "ab"}], "monitor": {}})", &encoded)
          .ok());
  EXPECT_EQ(encoded.results(0).monitor().monitor(), "s");
  EXPECT_TRUE(encoded.results(0).monitor().known());
}

TEST_F(MonitorTest, RecordingGoesOnFromWhatItReturned) {
  std::mt19937_64 random(kSeed);
  for (const v1::MonitorKind::Value kind : {v1::MonitorKind::BITS, v1::MonitorKind::HASHED}) {
    auto whole = FromJson<v1::RecordPatternsRequest>(
        R"({"model": {"name": "encoder"}, "selection": {"sites": ["FEED_FORWARD"], "units": [0, 3, 7]}})");
    whole.set_kind(kind);
    for (int i = 0; i < 30; ++i) *whole.add_inputs() = RandomSequence(random);
    v1::RecordPatternsRequest first = whole, second;
    first.mutable_inputs()->DeleteSubrange(10, 20);
    second.mutable_model()->set_name("encoder");
    for (int i = 10; i < 30; ++i) *second.add_inputs() = whole.inputs(i);
    second.set_monitor(RecordedBytes(first));
    EXPECT_EQ(RecordedBytes(second), RecordedBytes(whole));
    second.set_kind(kind == v1::MonitorKind::BITS ? v1::MonitorKind::HASHED : v1::MonitorKind::BITS);
    v1::RecordPatternsResponse response;
    Expect(Record(second, &response), grpc::StatusCode::FAILED_PRECONDITION,
           HasSubstr("kind: expected that of the monitor"));
    second.clear_kind();
    second.mutable_selection();
    Expect(Record(second, &response), grpc::StatusCode::FAILED_PRECONDITION, HasSubstr("selection"));
    second.clear_selection();
    second.set_gamma(5);
    Expect(Record(second, &response), grpc::StatusCode::FAILED_PRECONDITION, HasSubstr("gamma"));
    second.clear_gamma();
    second.mutable_model()->set_version(1);
    Expect(Record(second, &response), grpc::StatusCode::FAILED_PRECONDITION, HasSubstr("whose digest is"));
    second.mutable_model()->set_version(0);
    second.mutable_monitor()->back() ^= 1;
    Expect(Record(second, &response), grpc::StatusCode::INVALID_ARGUMENT, HasSubstr("monitor: checksum"));
  }
}

TEST_F(MonitorTest, LabelsAreTakenAndComparedIfAskedFor) {
  v1::EncodeResponse answers;
  ASSERT_TRUE(
      Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"}, {"text": "hgf"}]})", &answers)
          .ok());
  const uint32_t right = ArgMax(answers.results(0).output()), other = ArgMax(answers.results(1).output());
  auto request = FromJson<v1::RecordPatternsRequest>(
      R"({"model": {"name": "encoder"}, "inputs": [{"text": "abc"}, {"text": "hgf"}]})");
  request.add_labels(right);
  request.add_labels((other + 1) % 5);
  v1::RecordPatternsResponse response;
  ASSERT_TRUE(Record(request, &response).ok());
  EXPECT_EQ(response.added(), 2u);
  EXPECT_EQ(response.info().patterns(static_cast<int>((other + 1) % 5)), (other + 1) % 5 == right ? 2u : 1u);
  request.set_only_correct(true);
  ASSERT_TRUE(Record(request, &response).ok());
  EXPECT_EQ(response.added(), 1u);
  EXPECT_EQ(response.left_out(), 1u);
  EXPECT_EQ(response.info().patterns(static_cast<int>(right)), 1u);
  EXPECT_EQ(response.model().digest(), response.info().digest());

  const std::string rest = R"("model": {"name": "encoder"}, "inputs": [{"text": "a"}])";
  const auto expect_invalid = [&](const std::string& json, const std::string& message) {
    Expect(Record("{" + rest + ", " + json + "}"), grpc::StatusCode::INVALID_ARGUMENT, HasSubstr(message));
  };
  expect_invalid(R"("labels": [5])", "labels[0]: expected a class in [0, 5), found 5");
  expect_invalid(R"("labels": [1, 1])", "labels: expected one for each of 1 sequences, or none, found 2");
  expect_invalid(R"("onlyCorrect": true)", "labels: expected one for each sequence with only_correct");
  expect_invalid(R"("selection": {"layers": [2]})", "selection.layers: expected layers in [0, 2), found 2");
  expect_invalid(R"("selection": {"sites": [0]})", "selection.sites[0]");
  expect_invalid(R"("selection": {"sites": ["CROSS_ATTENTION"]})", "selection.sites");
  expect_invalid(R"("selection": {"units": [12]})", "selection.units: expected units in [0, 12)");
  expect_invalid(R"("kind": 7)", "kind: expected BITS or HASHED, found 7");
  expect_invalid(R"("kind": "HASHED", "gamma": 1)", "gamma: expected 0");
  expect_invalid(R"("targets": [{"text": "a"}])", "inputs: expected nothing beside sources and targets");
  Expect(Record(R"({"model": {"name": "encoder"}, "inputs": [{"text": "a9"}]})"),
         grpc::StatusCode::INVALID_ARGUMENT, HasSubstr("inputs[0].text"));
  Expect(Record(R"({"model": {"name": "encoder"}})"), grpc::StatusCode::INVALID_ARGUMENT,
         HasSubstr("inputs"));
  Expect(Record(R"({"model": {"name": "decoder"}, "inputs": [{"text": "a"}]})"),
         grpc::StatusCode::INVALID_ARGUMENT, HasSubstr("model"));
  Expect(Record(R"({"model": {"name": "x"}})"), grpc::StatusCode::NOT_FOUND, HasSubstr("not loaded"));
}

TEST_F(MonitorTest, WhatCannotBeJudgedIsRefused) {
  const auto ask = [this](const std::string& monitor, const std::string& more = "") {
    return Encode(R"({"model": {"name": "encoder"}, "inputs": [{"text": "a"}], "monitor": )" + monitor +
                  more + "}");
  };
  Expect(ask("{}"), grpc::StatusCode::FAILED_PRECONDITION,
         AllOf(HasSubstr("model encoder has no monitor for Encode"), HasSubstr("monitor record encoder")));
  // The wrong call stays the engine's to refuse.
  EXPECT_EQ(
      Encode(R"({"model": {"name": "decoder"}, "inputs": [{"text": "a"}], "monitor": {}})").error_code(),
      grpc::StatusCode::INVALID_ARGUMENT);
  auto request =
      FromJson<v1::RecordPatternsRequest>(R"({"model": {"name": "encoder"}, "inputs": [{"text": "a"}]})");
  const std::string bits = RecordedBytes(request);
  request.set_kind(v1::MonitorKind::HASHED);
  const std::string hashed = RecordedBytes(request);
  StartWith({{"bits.monitor", bits}, {"hashed.monitor", hashed}});
  EXPECT_TRUE(ask(R"({"name": "bits"})").ok());
  Expect(ask("{}"), grpc::StatusCode::INVALID_ARGUMENT,
         HasSubstr("monitor.name: expected one of bits, hashed"));
  Expect(ask(R"({"name": "b\"ts"})"), grpc::StatusCode::NOT_FOUND,
         AllOf(HasSubstr(R"("b\"ts" is no monitor)"), HasSubstr("it has bits, hashed")));
  Expect(ask(R"({"name": "hashed", "gamma": 1})"), grpc::StatusCode::INVALID_ARGUMENT,
         HasSubstr("monitor.gamma: expected 0"));
  Expect(ask(R"({"name": "bits"})", R"(, "output": "HIDDEN")"), grpc::StatusCode::INVALID_ARGUMENT,
         HasSubstr("output: expected HEAD"));
  Expect(Encode(R"({"model": {"name": "encoder", "version": 1}, "inputs": [{"text": "a"}], "monitor": {}})"),
         grpc::StatusCode::FAILED_PRECONDITION, HasSubstr("no monitor"));

  grpc::ClientContext list_context, one_context, other_context;
  v1::ListMonitorsResponse list;
  const auto stub = v1::MonitorService::NewStub(channel_);
  ASSERT_TRUE(stub->ListMonitors(&list_context, {}, &list).ok());
  ASSERT_EQ(list.monitors_size(), 2);
  EXPECT_EQ(list.monitors(0).name(), "bits");
  EXPECT_EQ(list.monitors(0).models(0).name(), "encoder");
  EXPECT_EQ(list.monitors(0).models(0).version(), 3u);
  EXPECT_EQ(list.monitors(1).kind(), v1::MonitorKind::HASHED);
  EXPECT_EQ(list.monitors(1).classes(), 5u);
  EXPECT_EQ(list.monitors(1).bytes(), 16u);
  auto only = FromJson<v1::ListMonitorsRequest>(R"({"model": {"name": "decoder"}})");
  ASSERT_TRUE(stub->ListMonitors(&one_context, only, &list).ok());
  EXPECT_EQ(list.monitors_size(), 0);
  only.mutable_model()->set_name("x");
  EXPECT_EQ(stub->ListMonitors(&other_context, only, &list).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(MonitorTest, ServersLoadWhatLiesBesideTheirModels) {
  const std::string bytes = RecordedBytes(
      FromJson<v1::RecordPatternsRequest>(R"({"model": {"name": "encoder"}, "inputs": [{"text": "a"}]})"));
  repository_.Write("encoder/3/beside.monitor", bytes);
  ServerOptions options = Options();
  options.model_repository = repository_.path();
  options.monitors = {folder_.Write("named.monitor", bytes)};
  auto server = Server::Start(options);
  ASSERT_TRUE(server.ok()) << server.status();
  grpc::ClientContext context;
  v1::ListMonitorsResponse list;
  const auto channel = grpc::CreateChannel((*server)->address(), grpc::InsecureChannelCredentials());
  ASSERT_TRUE(v1::MonitorService::NewStub(channel)->ListMonitors(&context, {}, &list).ok());
  ASSERT_EQ(list.monitors_size(), 2);
  EXPECT_EQ(list.monitors(0).name(), "beside");
  EXPECT_EQ(list.monitors(1).name(), "named");
  repository_.Write("encoder/1/stale.monitor", bytes.substr(1));
  EXPECT_THAT(Server::Start(options).status().message(), HasSubstr("stale.monitor"));
}

}  // namespace
}  // namespace splineserve::testing
