// Keys and values that several threads project and store, block by block, lie where those of one row after
// the other do, and so attention's outputs are the same.
#include "core/model/attention.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/cpu_cache.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

constexpr size_t kWidth = 48, kHeads = 2, kHeadDim = 20, kSize = kHeads * kHeadDim;

class AttentionTest : public ::testing::Test {
 protected:
  AttentionTest() {
    config_.hidden_size = kWidth;
    config_.num_attention_heads = kHeads;
    config_.head_dim = kHeadDim;
    config_.attention_activation = AttentionActivation::kRelu;
    config_.attention_scale = 0.1f;
    for (AffineMap* map : {&weights_.query, &weights_.key, &weights_.value}) {
      const std::vector<float> w = random_.Vector(kSize * kWidth, testing::Values::kNormal);
      map->weight = PackedMatrix::FromRows({w.data(), kSize, kWidth});
    }
  }

  // Number n of a token's key or value.
  static float At(const PackedView& w, size_t k, size_t n) {
    return static_cast<const float*>(
        w.data)[n / w.panel_width * w.panel_stride + k * w.panel_width + n % w.panel_width];
  }

  // The tokens that a sequence had before, and those that come.
  struct Counts {
    size_t before, now;
  };
  struct Result {
    std::vector<float> stored;  // keys and values of all new tokens, head by head
    std::vector<float> heads;
  };
  // Projects and stores new tokens of sequences that have some in small chunks; attends to them if `attend`.
  Result Run(size_t threads, const std::vector<Counts>& counts, const std::vector<float>& x, bool attend) {
    const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(threads);
    const std::function<bool()> go_on = [] { return true; };
    Workspace workspace;
    Evaluation evaluation(config_, *AvailableKernelSets()[0], *pool, workspace, nullptr, go_on);
    std::vector<KeyValues> caches;
    std::vector<const KeyValues*> pointers;
    std::vector<RowRange> ranges;
    size_t rows = 0;
    for (const Counts& count : counts) {
      KeyValues& cache = caches.emplace_back(&chunks_, KeyValueShape{1, kHeads, kHeadDim}, 16);
      const std::vector<float> zeros(count.before * kSize, 0.0f);
      cache.Grow(count.before);
      for (size_t head = 0; head < kHeads; ++head) {
        cache.Store(evaluation.kernels, 0, head, 0, {zeros.data(), count.before, kSize},
                    {zeros.data(), count.before, kSize});
      }
      cache.Grow(count.now);
      ranges.push_back({rows, count.now, count.before});
      rows += count.now;
    }
    for (const KeyValues& cache : caches) pointers.push_back(&cache);
    evaluation.Begin("decoder", ranges);
    const MatrixView<const float> input(x.data(), rows, kWidth);
    Result result;
    if (attend) {
      const MatrixView<const float> heads =
          AttendToSelf(evaluation, {&weights_, Site::kSelfAttention, 0, /*causal=*/true, 0}, pointers, input);
      for (size_t r = 0; r < rows; ++r)
        result.heads.insert(result.heads.end(), heads.row(r), heads.row(r) + kSize);
    } else {
      StoreKeyValues(evaluation, weights_, 0, 0, input, pointers);
    }
    for (size_t s = 0; s < caches.size(); ++s) {
      for (size_t c = 0; c < caches[s].chunks(); ++c) {
        const size_t first = caches[s].first_token(c);
        const size_t tokens = std::min(caches[s].chunk(c).capacity, caches[s].length() - first);
        for (size_t head = 0; head < kHeads; ++head) {
          const PackedView keys = caches[s].chunk(c).Keys(0, head, tokens);
          const PackedView values = caches[s].chunk(c).Values(0, head, tokens);
          for (size_t t = 0; t < tokens; ++t) {
            if (first + t < counts[s].before) continue;
            for (size_t k = 0; k < kHeadDim; ++k) result.stored.push_back(At(keys, k, t));
            for (size_t k = 0; k < kHeadDim; ++k) result.stored.push_back(At(values, t, k));
          }
        }
      }
    }
    return result;
  }

  testing::RandomFloats random_{testing::TestSeed()};
  KeyValuePool chunks_;
  ModelConfig config_;
  AttentionWeights weights_;
};

TEST_F(AttentionTest, WhereSequencesAreCutDoesNotMatter) {
  // The longest takes several blocks of one thread's.
  const size_t longest = SecondLevelCacheBytes() / (sizeof(float) * (kWidth + 2 * kSize)) * 5 / 4;
  for (const auto& counts : {std::vector<Counts>{{0, 5}, {0, 200}, {3, 37}, {130, 1}, {70, 101}, {20, 36}},
                             std::vector<Counts>{{9, 70}, {40, longest}, {0, 2}}}) {
    size_t rows = 0;
    for (const Counts& count : counts) rows += count.now;
    const std::vector<float> x = random_.Vector(rows * kWidth, testing::Values::kNormal);
    // One token after the other, by themselves: each is a row of each map's product.
    std::vector<float> expected;
    size_t row = 0;
    for (const Counts& count : counts) {
      const KernelSet& kernels = *AvailableKernelSets()[0];
      std::vector<float> keys(count.now * kSize), values(keys);
      for (size_t t = 0; t < count.now; ++t, ++row) {
        kernels.product(x.data() + row * kWidth, 0, 1, weights_.key.weight.view(), nullptr, 1,
                        keys.data() + t * kSize, 0);
        kernels.product(x.data() + row * kWidth, 0, 1, weights_.value.weight.view(), nullptr, 1,
                        values.data() + t * kSize, 0);
      }
      KeyValues chunks(&chunks_, KeyValueShape{1, kHeads, kHeadDim}, 16);
      chunks.Grow(count.before);
      chunks.Grow(count.now);
      for (size_t c = 0; c < chunks.chunks(); ++c) {
        const size_t end = c + 1 < chunks.chunks() ? chunks.first_token(c + 1) : chunks.length();
        for (size_t head = 0; head < kHeads; ++head) {
          for (size_t t = std::max(chunks.first_token(c), count.before); t < end; ++t) {
            const auto at = static_cast<std::ptrdiff_t>((t - count.before) * kSize + head * kHeadDim);
            expected.insert(expected.end(), keys.begin() + at, keys.begin() + at + kHeadDim);
            expected.insert(expected.end(), values.begin() + at, values.begin() + at + kHeadDim);
          }
        }
      }
    }
    const bool attends = rows < 1000;  // of all the longest's tokens it would take seconds
    const std::vector<float> heads = attends ? Run(1, counts, x, true).heads : std::vector<float>();
    for (const size_t threads : {1, 2, 3}) {
      SCOPED_TRACE(std::to_string(threads) + " threads, " + std::to_string(rows) + " rows, seed " +
                   std::to_string(testing::TestSeed()));
      const Result stored = Run(threads, counts, x, false);
      ASSERT_EQ(stored.stored.size(), expected.size());
      EXPECT_TRUE(testing::BitsEqual(stored.stored.data(), expected.data(), expected.size()));
      if (!attends) continue;
      const Result attended = Run(threads, counts, x, true);
      EXPECT_TRUE(testing::BitsEqual(attended.stored.data(), expected.data(), expected.size()));
      EXPECT_TRUE(testing::BitsEqual(attended.heads.data(), heads.data(), heads.size()));
    }
  }
}

// What to expect of a head is what it did last, whatever the others do; nothing is expected of one not yet
// seen.
TEST_F(AttentionTest, ExpectsOfEachHeadWhatItDidLast) {
  constexpr size_t kRows = 300;
  std::vector<float> w = random_.Vector(kSize * kWidth, testing::Values::kNormal);
  std::fill(w.begin() + kHeadDim * kWidth, w.end(),
            0.0f);  // the second head's queries are zero, its gates closed
  weights_.query.weight = PackedMatrix::FromRows({w.data(), kSize, kWidth});
  const std::vector<float> x = random_.Vector(kRows * kWidth, testing::Values::kNormal);
  const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(1);
  const std::function<bool()> go_on = [] { return true; };
  Workspace workspace;
  Evaluation evaluation(config_, *AvailableKernelSets()[0], *pool, workspace, nullptr, go_on);
  KeyValues cache(&chunks_, KeyValueShape{1, kHeads, kHeadDim}, kRows);
  cache.Grow(kRows);
  const KeyValues* const pointer = &cache;
  const RowRange range = {0, kRows, 0};
  evaluation.Begin("encoder", {&range, 1});
  AttendToSelf(evaluation, {&weights_, Site::kSelfAttention, /*layer=*/1}, {&pointer, 1},
               {x.data(), kRows, kWidth});
  const std::vector<double>& expected = workspace.worker(0).open_scores;
  ASSERT_EQ(expected.size(), 3 * kHeads);  // self and cross of layer 0, self of layer 1
  for (size_t i = 0; i < 2 * kHeads; ++i) EXPECT_EQ(expected[i], OpenRows::kUnknown);
  EXPECT_NEAR(expected[2 * kHeads], 0.5, 0.2);
  EXPECT_EQ(expected[2 * kHeads + 1], 0);
}

// Keeps what was recorded of every (sequence, token, head) but some, in memory that is not clean at first.
class Sink : public GateSink {
 public:
  explicit Sink(bool margins) : margins_(margins) {}
  uint8_t* Bits(const GateGroupRef& group) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (group.position % 5 == 1) return nullptr;
    std::vector<uint8_t>& bits = bits_[Key(group)];
    if (bits.empty()) bits.assign((group.width + 7) / 8, 0xAB);
    return bits.data();
  }
  bool BitsOfHeads(const GateGroupRef&, absl::Span<uint8_t*>) override { return false; }
  void RecordHeads(const GateGroupRef&, absl::Span<const GateRow>) override {}
  bool WantsMargin(size_t) const override { return margins_; }
  void Record(const GateGroupRef& group, const GateRow& row) override {
    std::lock_guard<std::mutex> lock(mutex_);
    recorded_.emplace(Key(group), std::pair(row.open, row.margin));
  }

  bool operator==(const Sink& other) const { return bits_ == other.bits_ && recorded_ == other.recorded_; }
  size_t recorded() const { return recorded_.size(); }

 private:
  using Place = std::tuple<size_t, size_t, size_t>;
  static Place Key(const GateGroupRef& group) { return {group.sequence, group.position, group.head}; }

  const bool margins_;
  std::mutex mutex_;
  std::map<Place, std::vector<uint8_t>> bits_;
  std::map<Place, std::pair<uint32_t, float>> recorded_;
};

class ScreenedScoresTest : public AttentionTest {
 protected:
  // What attention of an encoder makes of sequences of these lengths, twice, of different inputs, with the
  // same workspace; `tried` tells whether scores were screened.
  struct Outcome {
    std::vector<float> heads;
    std::vector<std::unique_ptr<Sink>> sinks;
    std::vector<std::string> statuses;
    bool tried = false;
  };
  Outcome Attend(const KernelSet& kernels, size_t threads, double limit, bool margins,
                 const std::vector<size_t>& lengths, const std::vector<float>& x) {
    const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(threads);
    const std::function<bool()> go_on = [] { return true; };
    Workspace workspace;
    weights_.screen_limit = limit;
    Outcome outcome;
    const size_t rows = std::accumulate(lengths.begin(), lengths.end(), size_t{0});
    std::vector<KeyValues> keys(lengths.size());
    for (size_t turn = 0; turn < 2; ++turn) {
      Sink& sink = *outcome.sinks.emplace_back(std::make_unique<Sink>(margins));
      Evaluation evaluation(config_, kernels, *pool, workspace, &sink, go_on);
      std::vector<const KeyValues*> pointers;
      std::vector<RowRange> ranges;
      size_t row = 0;
      for (size_t s = 0; s < lengths.size(); ++s) {
        keys[s].Prepare(&workspace.key_value_pool, {1, config_.num_attention_heads, config_.head_dim},
                        lengths[s]);
        keys[s].Grow(lengths[s]);
        pointers.push_back(&keys[s]);
        ranges.push_back({row, lengths[s], 0});
        row += lengths[s];
      }
      evaluation.Begin("encoder", ranges);
      const MatrixView<const float> heads =
          AttendToSelf(evaluation, {&weights_, Site::kSelfAttention, 0}, pointers,
                       {x.data() + turn * rows * kWidth, rows, kWidth});
      for (size_t r = 0; r < rows; ++r)
        outcome.heads.insert(outcome.heads.end(), heads.row(r), heads.row(r) + kSize);
      for (const absl::Status& status : evaluation.statuses()) outcome.statuses.push_back(status.ToString());
      for (size_t i = 0; i < threads; ++i) {
        outcome.tried = outcome.tried || workspace.worker(i).screened_tiles.candidates() > 0;
      }
    }
    return outcome;
  }
};

TEST_F(ScreenedScoresTest, AreThoseOfTheProduct) {
  // Panels of less than 64 keys, one block and several, the last of them short.
  const std::vector<size_t> lengths = {40, 60, 49, 1, 200, 131};
  const size_t rows = std::accumulate(lengths.begin(), lengths.end(), size_t{0});
  for (const bool square : {false, true}) {
    config_.attention_activation = square ? AttentionActivation::kRelu2 : AttentionActivation::kRelu;
    const std::vector<float> x = random_.Vector(2 * rows * kWidth, testing::Values::kNormal);
    for (const KernelSet* set : AvailableKernelSets()) {
      for (const size_t threads : {1, 2}) {
        const Outcome expected = Attend(*set, threads, 0, false, lengths, x);
        EXPECT_FALSE(expected.tried);
        EXPECT_GT(expected.sinks[0]->recorded(), 0);
        // Half of the gates are open: of some blocks too many for the second and the third.
        for (const double limit : {1.0, 0.62, 0.52}) {
          SCOPED_TRACE(std::string(set->name) + ", " + std::to_string(threads) + " threads, limit " +
                       std::to_string(limit) + ", seed " + std::to_string(testing::TestSeed()));
          const Outcome screened = Attend(*set, threads, limit, false, lengths, x);
          EXPECT_EQ(screened.statuses, expected.statuses);
          EXPECT_TRUE(screened.tried || limit < 0.6);
          ASSERT_EQ(screened.heads.size(), expected.heads.size());
          EXPECT_TRUE(
              testing::BitsEqual(screened.heads.data(), expected.heads.data(), expected.heads.size()));
          for (size_t turn = 0; turn < 2; ++turn) {
            EXPECT_TRUE(*screened.sinks[turn] == *expected.sinks[turn]) << "turn " << turn;
          }
        }
      }
    }
  }
}

// The second evaluation's keys are those of the same place as the first's.
TEST_F(ScreenedScoresTest, OfKeysThatHaveChanged) {
  config_.num_attention_heads = 1;
  config_.head_dim = kSize;
  const KernelSet& kernels = *AvailableKernelSets()[0];
  for (const size_t sequences : {1, 3}) {
    const std::vector<size_t> lengths(sequences, 100);
    const std::vector<float> x = random_.Vector(2 * sequences * 100 * kWidth, testing::Values::kNormal);
    const Outcome expected = Attend(kernels, 1, 0, false, lengths, x);
    const Outcome screened = Attend(kernels, 1, 1, false, lengths, x);
    EXPECT_TRUE(screened.tried);
    EXPECT_TRUE(testing::BitsEqual(screened.heads.data(), expected.heads.data(), expected.heads.size()));
  }
}

TEST_F(ScreenedScoresTest, NotWhereMarginsAreWanted) {
  const std::vector<float> x = random_.Vector(2 * 150 * kWidth, testing::Values::kNormal);
  const KernelSet& kernels = *AvailableKernelSets()[0];
  const Outcome expected = Attend(kernels, 1, 0, true, {150}, x);
  const Outcome screened = Attend(kernels, 1, 1, true, {150}, x);
  EXPECT_FALSE(screened.tried);
  EXPECT_TRUE(*screened.sinks[1] == *expected.sinks[1]);
}

// Scores that overflow, and keys and queries that are not numbers, are faults with screening as without.
TEST_F(ScreenedScoresTest, LoseNoFault) {
  const KernelSet& kernels = *AvailableKernelSets()[0];
  const std::vector<float> x = random_.Vector(2 * 250 * kWidth, testing::Values::kNormal);
  const auto compare = [&](const std::vector<float>& input, size_t faults) {
    const Outcome expected = Attend(kernels, 1, 0, false, {100, 150}, input);
    const Outcome screened = Attend(kernels, 1, 1, false, {100, 150}, input);
    EXPECT_EQ(screened.statuses, expected.statuses);
    EXPECT_EQ(std::count(expected.statuses.begin(), expected.statuses.end(), "OK"), 4 - faults);
  };
  compare(x, 0);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1e25f}) {
    std::vector<float> input = x;
    input[120 * kWidth + 7] = bad;  // of the second sequence
    compare(input, 1);
  }
  std::vector<float> large = x;
  for (float& number : large) number *= 1e13f;
  config_.attention_scale = 1e10f;
  compare(large, 4);
}

// A query or a key that cannot be screened: the product finds what is open.
TEST_F(ScreenedScoresTest, NotOfNumbersThatCannotBeScreened) {
  config_.attention_scale = 1e-10f;
  const KernelSet& kernels = *AvailableKernelSets()[0];
  std::vector<float> x = random_.Vector(2 * 150 * kWidth, testing::Values::kNormal);
  for (const float size : {1e-35f, 1e14f}) {
    std::vector<float> sized = x;
    for (float& number : sized) number *= size;
    const Outcome expected = Attend(kernels, 1, 0, false, {150}, sized);
    const Outcome screened = Attend(kernels, 1, 1, false, {150}, sized);
    EXPECT_FALSE(screened.tried) << size;
    EXPECT_TRUE(testing::BitsEqual(screened.heads.data(), expected.heads.data(), expected.heads.size()));
    EXPECT_TRUE(*screened.sinks[1] == *expected.sinks[1]);
  }
  // Queries alone.
  std::vector<float> w = random_.Vector(kSize * kWidth, testing::Values::kNormal);
  for (float& number : w) number *= 1e-33f;
  weights_.query.weight = PackedMatrix::FromRows({w.data(), kSize, kWidth});
  const Outcome expected = Attend(kernels, 1, 0, false, {150}, x);
  const Outcome screened = Attend(kernels, 1, 1, false, {150}, x);
  EXPECT_FALSE(screened.tried);
  EXPECT_TRUE(testing::BitsEqual(screened.heads.data(), expected.heads.data(), expected.heads.size()));
}

}  // namespace
}  // namespace splineserve
