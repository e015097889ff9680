// An endless, seeded mixture of small requests of every kind, right and wrong: what a server meets in a day,
// for tests and benchmarks of what it leaves behind.
#ifndef SPLINESERVE_TESTS_ENGINE_REQUEST_MIXTURE_H_
#define SPLINESERVE_TESTS_ENGINE_REQUEST_MIXTURE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "core/engine/engine.h"

namespace splineserve::testing {

enum class MixedKind {
  kEncode,        // one or two sequences
  kEncodePieces,  // with pieces in any detail
  kDecode,        // with and without pieces
  kGreedy,
  kBeam,
  kSample,
  kWrong,      // refused at once: INVALID_ARGUMENT
  kOverflow,   // fails in the middle of the evaluation: OUT_OF_RANGE
  kCancelled,  // its caller cancels it as soon as it is admitted
  kExpired,    // its deadline has passed before it comes
  kHurried,    // its deadline passes while it waits or runs, or just not
  kLeft,       // a generation whose caller goes after the first event
  kKinds
};
std::string_view Name(MixedKind kind);

// True if a request of this kind may end so when it was admitted, or was refused for its own fault.
bool MayEndSo(MixedKind kind, absl::StatusCode code);

struct MixedRequest {
  MixedKind kind = MixedKind::kEncode;
  std::shared_ptr<const LoadedModel> model;
  std::variant<EncodeRequest, DecodeRequest, GenerateRequest> request;
};

// Not thread-safe.
class RequestMixture {
 public:
  // `models` must hold an encoder over vectors, a decoder that generates and an encoder_decoder that
  // generates; all take 8 tokens. Without `hurried`, the mixture has no requests whose end depends on time.
  RequestMixture(std::vector<std::shared_ptr<const LoadedModel>> models, uint64_t seed, bool hurried);

  MixedRequest Next();

 private:
  using Model = std::shared_ptr<const LoadedModel>;
  size_t Draw(size_t below) { return random_() % below; }
  const Model& Pick(const std::vector<Model>& models) { return models[Draw(models.size())]; }
  MixedKind DrawKind();
  PieceOptions DrawPieces();
  Sequence DrawSequence(const InputConfig& input, const std::optional<Vocabulary>& vocabulary);
  EncodeRequest DrawEncode(const LoadedModel& model);
  DecodeRequest DrawDecode(const LoadedModel& model);
  GenerateRequest DrawGenerate(const LoadedModel& model, MixedKind kind);
  MixedRequest DrawWrong();
  MixedRequest DrawAny(MixedKind kind);

  std::mt19937_64 random_;
  const bool hurried_;
  std::vector<Model> encoders_, decoders_, vector_encoders_;
};

// Hands a request to the engine and does as its caller would. `done` is called exactly once, on this thread
// or the engine's, with how it ended: OK, also for a caller who had heard enough.
void Submit(Engine& engine, MixedRequest request, std::function<void(absl::StatusCode)> done);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_ENGINE_REQUEST_MIXTURE_H_
