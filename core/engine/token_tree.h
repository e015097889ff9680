// The tokens that one generation has chosen, as a tree: hypotheses share what they have in common.
#ifndef SPLINESERVE_CORE_ENGINE_TOKEN_TREE_H_
#define SPLINESERVE_CORE_ENGINE_TOKEN_TREE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace splineserve {

// Append-only. A hypothesis is the path from the root to one node, named by that node's index.
class TokenTree {
 public:
  static constexpr int32_t kRoot = -1;
  struct Node {
    int32_t parent = kRoot;
    int32_t id = 0;
    float log_probability = 0;
    int32_t piece = 0;  // whatever its owner numbers by it
  };

  void Reserve(size_t nodes) { nodes_.reserve(nodes); }
  int32_t Add(const Node& node) {
    nodes_.push_back(node);
    return static_cast<int32_t>(nodes_.size() - 1);
  }
  const Node& operator[](int32_t index) const { return nodes_[static_cast<size_t>(index)]; }

  // The nodes of a hypothesis, first token first.
  std::vector<Node> Path(int32_t last) const {
    std::vector<Node> path;
    for (int32_t index = last; index != kRoot; index = (*this)[index].parent) path.push_back((*this)[index]);
    std::reverse(path.begin(), path.end());
    return path;
  }

 private:
  std::vector<Node> nodes_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_TOKEN_TREE_H_
