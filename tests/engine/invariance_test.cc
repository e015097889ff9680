// What must not change a result: who else is in the batch, how many threads, which kernel set, whether
// requests are joined, whether pieces are asked for. All compared bit for bit, for models that are not EXACT
// too.
#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/pending_request.h"
#include "tests/engine/random_model.h"
#include "tests/testing/comparison.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

using Results = std::vector<ReferenceResult<float>>;

// Parameters: architecture, EXACT or not, and a number that chooses the model.
class InvarianceTest : public ::testing::TestWithParam<std::tuple<Architecture, bool, int>> {
 protected:
  void SetUp() override {
    const auto& [architecture, exact, number] = GetParam();
    // Some models overflow on long inputs; take the first that does not.
    for (uint64_t seed = TestSeed() + 7919 * number;; ++seed) {
      Random random(seed);
      config_ = RandomConfig(&random, architecture, exact);
      model_ = std::make_unique<TestModel>(config_, ModelOptions{.seed = seed});
      decode_ = model_->config().has_decoder();
      examples_.clear();
      for (int i = 0; i < 6; ++i) examples_.push_back(RandomExample(&random, model_->config(), decode_));
      absl::StatusOr<Results> results = RunAll(engine_.get(), *model_, examples_, decode_);
      if (absl::IsOutOfRange(results.status())) continue;
      ASSERT_TRUE(results.ok()) << results.status();
      expected_ = *std::move(results);
      return;
    }
  }

  void ExpectSame(Engine* engine, const std::vector<size_t>& indices) {
    std::vector<Example> examples;
    for (const size_t i : indices) examples.push_back(examples_[i]);
    const absl::StatusOr<Results> results = RunAll(engine, *model_, examples, decode_);
    ASSERT_TRUE(results.ok()) << results.status();
    for (size_t i = 0; i < indices.size(); ++i) ExpectExact(expected_[indices[i]], (*results)[i]);
  }

  std::unique_ptr<Engine> engine_ = MakeEngine(*AvailableKernelSets().front(), 2);
  std::string config_;
  std::unique_ptr<TestModel> model_;
  bool decode_ = false;
  std::vector<Example> examples_;
  Results expected_;  // of all examples in one request
};

TEST_P(InvarianceTest, BatchComposition) {
  SCOPED_TRACE(config_);
  for (size_t i = 0; i < examples_.size(); ++i) ExpectSame(engine_.get(), {i});
  ExpectSame(engine_.get(), {5, 0, 0, 3});
  ExpectSame(engine_.get(), {4, 2});
}

TEST_P(InvarianceTest, ThreadsAndKernelSets) {
  SCOPED_TRACE(config_);
  for (const KernelSet* kernels : AvailableKernelSets()) {
    for (const size_t threads : {1, 2, 3}) {
      SCOPED_TRACE(absl::StrCat(kernels->name, ", ", threads, " threads"));
      const std::unique_ptr<Engine> engine = MakeEngine(*kernels, threads);
      ExpectSame(engine.get(), {0, 1, 2, 3, 4, 5});
      ExpectSame(engine.get(), {2});
    }
  }
}

// A decoder position depends on nothing after it: a prefix gives the same rows and pieces.
TEST_P(InvarianceTest, CausalPrefix) {
  if (!decode_) GTEST_SKIP() << "encoders see all tokens";
  SCOPED_TRACE(config_);
  for (size_t i = 0; i < examples_.size(); ++i) {
    Example prefix = examples_[i];
    const size_t length = (prefix.input.size() + 1) / 2;
    if (!prefix.input.ids.empty()) prefix.input.ids.resize(length);
    if (!prefix.input.vectors.empty()) prefix.input.vectors.resize(length);
    const absl::StatusOr<Results> results = RunAll(engine_.get(), *model_, {prefix}, decode_);
    ASSERT_TRUE(results.ok()) << results.status();
    ReferenceResult<float> expected = expected_[i];
    expected.hidden.resize(length);
    expected.tokens.resize(length);
    EXPECT_TRUE(RowsEqual(expected.hidden, (*results)[0].hidden));
    EXPECT_TRUE(TokensEqual(expected.tokens, (*results)[0].tokens));
  }
}

TEST_P(InvarianceTest, PiecesDoNotChangeOutputs) {
  SCOPED_TRACE(config_);
  const auto all = Evaluate(engine_.get(), *model_, examples_, decode_, OutputKind::kHidden, AllPieces());
  ASSERT_TRUE(all.ok()) << all.status();
  for (const PieceDetail detail :
       {PieceDetail::kNone, PieceDetail::kId, PieceDetail::kCounts, PieceDetail::kBits}) {
    SCOPED_TRACE(absl::StrCat("detail ", static_cast<int>(detail)));
    const auto some =
        Evaluate(engine_.get(), *model_, examples_, decode_, OutputKind::kHidden, {.detail = detail});
    ASSERT_TRUE(some.ok()) << some.status();
    for (size_t i = 0; i < examples_.size(); ++i) {
      const SequenceResult& expected = all->results[i];
      const SequenceResult& actual = some->results[i];
      EXPECT_TRUE(RowsEqual(ToRows(expected.output), ToRows(actual.output)));
      EXPECT_EQ(detail == PieceDetail::kNone ? "" : expected.sequence_id, actual.sequence_id);
      ASSERT_EQ(detail == PieceDetail::kNone ? 0 : expected.pieces.size(), actual.pieces.size());
      for (size_t token = 0; token < actual.pieces.size(); ++token) {
        EXPECT_EQ(expected.pieces[token].id, actual.pieces[token].id);
        const std::vector<PieceGroup>& groups = actual.pieces[token].groups;
        ASSERT_EQ(detail == PieceDetail::kId ? 0 : expected.pieces[token].groups.size(), groups.size());
        for (size_t g = 0; g < groups.size(); ++g) {
          EXPECT_EQ(expected.pieces[token].groups[g].open, groups[g].open);
          EXPECT_EQ(expected.pieces[token].groups[g].width, groups[g].width);
          EXPECT_EQ(detail == PieceDetail::kBits ? expected.pieces[token].groups[g].bits : GateBits(),
                    groups[g].bits);
        }
      }
    }
  }
}

// Filters choose which groups are listed; ids and token margins always cover all of them.
TEST_P(InvarianceTest, FiltersListASubset) {
  SCOPED_TRACE(config_);
  const size_t last =
      (decode_ ? model_->config().num_decoder_layers : model_->config().num_encoder_layers) - 1;
  for (const Site site : {Site::kSelfAttention, Site::kCrossAttention, Site::kFeedForward}) {
    PieceOptions options = AllPieces();
    options.layers = {last};
    options.sites = {site};
    const auto run = Evaluate(engine_.get(), *model_, examples_, decode_, OutputKind::kHidden, options);
    ASSERT_TRUE(run.ok()) << run.status();
    for (size_t i = 0; i < examples_.size(); ++i) {
      EXPECT_EQ(expected_[i].sequence_id, run->results[i].sequence_id);
      ASSERT_EQ(expected_[i].tokens.size(), run->results[i].pieces.size());
      for (size_t t = 0; t < expected_[i].tokens.size(); ++t) {
        const TokenPiece& piece = run->results[i].pieces[t];
        EXPECT_EQ(expected_[i].tokens[t].id, piece.id);
        std::vector<ReferenceGroup> listed;
        double margin = std::numeric_limits<double>::infinity();
        for (const ReferenceGroup& group : expected_[i].tokens[t].groups) {
          margin = std::min(margin, group.margin);
          if (group.layer == last && group.site == site) listed.push_back(group);
        }
        EXPECT_EQ(margin, piece.margin);
        ASSERT_EQ(listed.size(), piece.groups.size());
        for (size_t g = 0; g < listed.size(); ++g) {
          EXPECT_EQ(listed[g].head, piece.groups[g].head);
          EXPECT_EQ(GateBits(listed[g].bits.begin(), listed[g].bits.end()), piece.groups[g].bits);
          EXPECT_EQ(listed[g].margin, piece.groups[g].margin);
        }
      }
    }
  }
}

TEST_P(InvarianceTest, IdsAreTheHashesOfTheReturnedBits) {
  SCOPED_TRACE(config_);
  for (const ReferenceResult<float>& result : expected_) {
    std::string ids;
    for (const ReferenceToken& token : result.tokens) {
      std::string bytes;
      for (const ReferenceGroup& group : token.groups) {
        EXPECT_EQ((group.width + 7) / 8, group.bits.size());
        size_t open = 0;
        for (size_t bit = 0; bit < 8 * group.bits.size(); ++bit) open += group.bits[bit / 8] >> (bit % 8) & 1;
        EXPECT_EQ(open, group.open);
        bytes.append(group.bits.begin(), group.bits.end());
      }
      EXPECT_EQ(token.groups.empty() ? "" : ReferenceHash(bytes), token.id);
      ids += token.id;
    }
    EXPECT_EQ(ids.empty() ? "" : ReferenceHash(ids), result.sequence_id);
  }
}

// Requests that wait together run as one batch, each with its own options, and answer as if they were alone.
TEST_P(InvarianceTest, RequestsJoinedByTheEngine) {
  SCOPED_TRACE(config_);
  const auto submit = [&](const std::vector<Example>& examples, const PieceOptions& pieces,
                          PendingRequest* pending) {
    const auto token = std::make_shared<CancellationToken>();
    if (!decode_) {
      EncodeRequest request = ToEncodeRequest(examples);
      request.output = OutputKind::kHidden;
      request.pieces = pieces;
      return engine_->Encode(model_->loaded(), std::move(request), token, pending->Callback());
    }
    DecodeRequest request = ToDecodeRequest(model_->config(), examples);
    request.output = OutputKind::kHidden;
    request.pieces = pieces;
    return engine_->Decode(model_->loaded(), std::move(request), token, pending->Callback());
  };
  std::vector<PendingRequest> pending(examples_.size());
  int64_t tokens = 0;
  {
    const HeldExecutor held =
        decode_
            ? HeldExecutor(engine_.get(), model_->loaded(), ToDecodeRequest(model_->config(), {examples_[0]}))
            : HeldExecutor(engine_.get(), model_->loaded(), ToEncodeRequest({examples_[0]}));
    for (size_t i = 0; i < examples_.size(); ++i) {
      tokens += static_cast<int64_t>(examples_[i].input.size() + examples_[i].source.size());
      const absl::Status status =
          submit({examples_[i]}, i % 2 == 0 ? AllPieces() : PieceOptions{}, &pending[i]);
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  for (size_t i = 0; i < examples_.size(); ++i) {
    SCOPED_TRACE(i);
    const absl::StatusOr<EvaluationResult>& result = pending[i].Wait();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(tokens, result->timing.batch_tokens);
    ASSERT_EQ(1u, result->results.size());
    EXPECT_TRUE(RowsEqual(expected_[i].hidden, ToRows(result->results[0].output)));
    const bool with_pieces = i % 2 == 0;
    EXPECT_TRUE(TokensEqual(with_pieces ? expected_[i].tokens : std::vector<ReferenceToken>(),
                            ToTokens(result->results[0].pieces)));
    EXPECT_EQ(with_pieces ? expected_[i].sequence_id : "", result->results[0].sequence_id);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, InvarianceTest,
                         ::testing::Combine(::testing::Values(Architecture::kEncoder, Architecture::kDecoder,
                                                              Architecture::kEncoderDecoder),
                                            ::testing::Bool(), ::testing::Range(1, 7)),
                         [](const auto& info) {
                           return absl::StrCat(std::string(Name(std::get<0>(info.param))),
                                               std::get<1>(info.param) ? "_exact_" : "_inexact_",
                                               std::get<2>(info.param));
                         });

}  // namespace
}  // namespace splineserve::testing
