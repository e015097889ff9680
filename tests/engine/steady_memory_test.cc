// Requests leave nothing behind: after five times as many of the same mixture exactly as many bytes are in
// use. tests/bench/soak_bench is the same for a million requests, threads and resident memory.
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <latch>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/engine/pending_request.h"
#include "tests/engine/request_mixture.h"
#include "tests/testing/model_builder.h"

namespace {

// Of everything that came from operator new; what malloc gave, not what was asked for.
std::atomic<int64_t> live_bytes{0}, live_blocks{0};

void* Counted(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  live_bytes.fetch_add(static_cast<int64_t>(malloc_usable_size(p)), std::memory_order_relaxed);
  live_blocks.fetch_add(1, std::memory_order_relaxed);
  return p;
}

void Discounted(void* p) {
  if (p == nullptr) return;
  live_bytes.fetch_sub(static_cast<int64_t>(malloc_usable_size(p)), std::memory_order_relaxed);
  live_blocks.fetch_sub(1, std::memory_order_relaxed);
  std::free(p);
}

void* Aligned(size_t size, std::align_val_t alignment) {
  const auto align = static_cast<size_t>(alignment);
  return std::aligned_alloc(align, (size + align - 1) / align * align);
}

}  // namespace

// Every form: the standard library's call one another, but the sanitizers' do not.
void* operator new(size_t n) { return Counted(std::malloc(n == 0 ? 1 : n)); }
void* operator new(size_t n, std::align_val_t a) { return Counted(Aligned(n, a)); }
void* operator new[](size_t n) { return ::operator new(n); }
void* operator new[](size_t n, std::align_val_t a) { return ::operator new(n, a); }
// Only out of memory do these differ from the others.
void* operator new(size_t n, const std::nothrow_t&) noexcept { return ::operator new(n); }
void* operator new[](size_t n, const std::nothrow_t&) noexcept { return ::operator new(n); }
void operator delete(void* p) noexcept { Discounted(p); }
void operator delete(void* p, size_t) noexcept { Discounted(p); }
void operator delete(void* p, std::align_val_t) noexcept { Discounted(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { Discounted(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { Discounted(p); }
void operator delete[](void* p) noexcept { Discounted(p); }
void operator delete[](void* p, size_t) noexcept { Discounted(p); }
void operator delete[](void* p, std::align_val_t) noexcept { Discounted(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { Discounted(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { Discounted(p); }

namespace splineserve::testing {
namespace {

constexpr char kVectors[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_encoder_layers": 2,
"input": {"kind": "vectors", "size": 3}, "head": {"kind": "linear", "size": 4, "pooling": "mean"}})";
constexpr char kDecoder[] = R"({"model_type": "spline_transformer", "architecture": "decoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_decoder_layers": 2,
"input": {"kind": "tokens", "vocab_size": 11}, "vocabulary": {"file": "letters.txt", "split": "characters"},
"head": {"kind": "linear", "size": 11}, "bos_token_id": 1, "eos_token_id": 2})";
constexpr char kTranslator[] = R"({"model_type": "spline_transformer", "architecture": "encoder_decoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_encoder_layers": 1,
"num_decoder_layers": 2, "positions": "learned", "max_positions": 16,
"input": {"kind": "tokens", "vocab_size": 11}, "target_input": {"kind": "tokens", "vocab_size": 9},
"vocabulary": {"file": "source.txt", "split": "characters"},
"target_vocabulary": {"file": "target.txt", "split": "whitespace"},
"head": {"kind": "linear", "size": 9}, "bos_token_id": 1, "eos_token_id": 2})";

constexpr size_t kGroup = 20, kGroups = 25;

struct Use {
  int64_t bytes = 0, blocks = 0;
  bool operator==(const Use&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Use& use) {
  return out << use.bytes << " bytes in " << use.blocks << " blocks";
}
Use InUse() { return {live_bytes.load(), live_blocks.load()}; }

class Served {
 public:
  Served() {
    for (const char* config : {kVectors, kDecoder, kTranslator}) {
      const TempDir files = WriteModel(config);
      models_.push_back(LoadedModel::Load(absl::StrCat("model", models_.size()), 1, files.path()).value());
    }
    EngineOptions options;
    options.threads = 1;  // which of two threads needs the larger scratch memory is not determined
    engine_ = Engine::Create(options, *AvailableKernelSets().front()).value();
  }

  // The same kGroups * kGroup requests each time. Each group is in the queue before the first of it runs, so
  // that the batches are the same, too.
  void RunMixture() {
    RequestMixture mixture(models_, /*seed=*/7, /*hurried=*/false);
    for (size_t g = 0; g < kGroups; ++g) {
      std::latch answered(kGroup);
      {
        const HeldExecutor held(engine_.get(), models_[0], OneVector());
        for (size_t i = 0; i < kGroup; ++i) {
          MixedRequest request = mixture.Next();
          const MixedKind kind = request.kind;
          Submit(*engine_, std::move(request), [&answered, kind](absl::StatusCode code) {
            EXPECT_TRUE(MayEndSo(kind, code)) << Name(kind) << ": " << absl::StatusCodeToString(code);
            answered.count_down();
          });
        }
      }
      answered.wait();
    }
  }

  // While the executor stands in the callback of one more request: what it did before is cleared away.
  Use InUseAtRest() {
    const HeldExecutor held(engine_.get(), models_[0], OneVector());
    return InUse();
  }

 private:
  static EncodeRequest OneVector() { return {.inputs = {Matrix{1, 3, {0.5f, -0.5f, 1}}}}; }

  std::vector<std::shared_ptr<const LoadedModel>> models_;
  std::unique_ptr<Engine> engine_;
};

TEST(SteadyMemoryTest, FiveTimesAsManyRequestsLeaveNoByteMore) {
  Served served;
  served.RunMixture();  // scratch memory reaches its size
  const Use once = served.InUseAtRest();
  for (int i = 0; i < 4; ++i) served.RunMixture();
  EXPECT_EQ(once, served.InUseAtRest());
}

TEST(SteadyMemoryTest, NothingOutlivesEngineAndModels) {
  { Served().RunMixture(); }  // what the process keeps for good, such as the list of kernel sets
  const Use before = InUse();
  { Served().RunMixture(); }
  EXPECT_EQ(before, InUse());
}

TEST(SteadyMemoryTest, AForgottenByteIsSeen) {
  const Use before = InUse();
  auto forgotten = std::make_unique<char>();
  EXPECT_FALSE(before == InUse());
  forgotten = nullptr;
  EXPECT_EQ(before, InUse());
}

}  // namespace
}  // namespace splineserve::testing
