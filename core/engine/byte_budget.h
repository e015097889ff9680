// The bound on the memory that requests may hold together, from admission until the last byte of their
// answers is gone.
#ifndef SPLINESERVE_CORE_ENGINE_BYTE_BUDGET_H_
#define SPLINESERVE_CORE_ENGINE_BYTE_BUDGET_H_

#include <atomic>
#include <cstddef>
#include <memory>

#include "core/engine/request.h"

namespace splineserve {

// Thread-safe. Charges may outlive the budget.
class ByteBudget {
 public:
  explicit ByteBudget(size_t limit) : limit_(limit) {}

  // Counts `bytes` until the last copy of the charge is gone; null, and nothing counted, if they do not fit.
  MemoryCharge TryCharge(size_t bytes);

  size_t limit() const { return limit_; }
  size_t used() const { return used_->load(std::memory_order_relaxed); }

 private:
  const size_t limit_;
  const std::shared_ptr<std::atomic<size_t>> used_ = std::make_shared<std::atomic<size_t>>(0);
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_BYTE_BUDGET_H_
