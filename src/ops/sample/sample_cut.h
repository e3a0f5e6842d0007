// Which tokens top-k and top-p leave, without sorting the vocabulary.
//
// In descending order (ties to the lower id) a token stays when fewer than k stand before it and those before it weigh at most
// `limit`. Both conditions can only fail for good, so the tokens that stay are a prefix of that order, named by its last one:
// the cut. It is found by counting. A histogram over the value, which decides nothing, gives number and weight of all tokens
// above each bucket; the first bucket after which one of the conditions fails holds the cut, because all tokens above it stay
// and none below does. In that bucket the same argument is applied to the parts of a quickselect: above, equal to, below a
// pivot; the equal ones are walked in order of ids. So the cut is that of the full sort, weights being sums of the same numbers.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace xylem {
namespace {

// The last token that stays.
struct Cut {
  float value;
  int32_t id;
};

struct CutSearch {
  const float* logits;
  const float* weights;  // e^((l - best) / temperature)
  int64_t k;             // > 0
  double limit;
  int64_t count = 0;     // of the tokens known to stay
  double weight = 0;

  bool ends_after(int64_t more, double heavier) const { return count + more >= k || weight + heavier > limit; }
  void keep(int64_t more, double heavier) { count += more, weight += heavier; }

  // ids: ascending; the cut is one of them, or all of them stay.
  Cut among(std::vector<int32_t> ids) {
    std::vector<int32_t> above, equal, below;
    for (;;) {
      const float x = logits[ids.front()], y = logits[ids[ids.size() / 2]], z = logits[ids.back()];
      const float pivot = std::max(std::min(x, y), std::min(std::max(x, y), z));
      above.clear(), equal.clear(), below.clear();
      double heavier = 0;
      for (int32_t id : ids) {
        if (logits[id] > pivot) above.push_back(id), heavier += double(weights[id]);
        else (logits[id] == pivot ? equal : below).push_back(id);
      }
      if (!above.empty() && ends_after(int64_t(above.size()), heavier)) {
        ids.swap(above);
        continue;
      }
      keep(int64_t(above.size()), heavier);
      for (int32_t id : equal) {
        keep(1, double(weights[id]));
        if (ends_after(0, 0)) return {pivot, id};
      }
      if (below.empty()) return {pivot, equal.back()};
      ids.swap(below);
    }
  }
};

}  // namespace
}  // namespace xylem
