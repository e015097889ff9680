#include "core/engine/byte_budget.h"

#include <utility>

namespace splineserve {
namespace {

struct Charge {
  Charge(std::shared_ptr<std::atomic<size_t>> used, size_t bytes) : used(std::move(used)), bytes(bytes) {}
  ~Charge() { used->fetch_sub(bytes, std::memory_order_relaxed); }
  const std::shared_ptr<std::atomic<size_t>> used;
  const size_t bytes;
};

}  // namespace

MemoryCharge ByteBudget::TryCharge(size_t bytes) {
  size_t used = used_->load(std::memory_order_relaxed);
  do {
    if (bytes > limit_ - used) return nullptr;
  } while (!used_->compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  return std::make_shared<const Charge>(used_, bytes);
}

}  // namespace splineserve
