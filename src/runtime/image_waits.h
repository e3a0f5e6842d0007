// Requests whose images the vision tower encodes before they are scheduled: one after the other, between the steps of the others.
// Engine thread.
#pragma once
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/step.h"
#include "sched/request.h"

namespace xylem {

class ImageWaits {
 public:
  bool empty() const { return waits_.empty(); }
  int size() const { return int(waits_.size()); }
  void push(NewRequest request, ImageList images) { waits_.push_back({std::move(request), std::move(images)}); }
  // False when the request does not wait here.
  bool cancel(RequestId id) {
    return std::erase_if(waits_, [&](const Wait& w) { return w.request.id == id; }) > 0;
  }
  // What the tower is to go on with; empty when nobody waits.
  ImageList next() const { return waits_.empty() ? ImageList{} : waits_.front().images; }
  // The request that waited for what the step encoded, if that is done. At depth 2 the step before may have said so already.
  std::optional<NewRequest> take_encoded(const StepSlab& s) { return s.encoded ? take_waiting_for(s) : std::nullopt; }
  // The request that waits for what the step was to go on with.
  std::optional<NewRequest> take_waiting_for(const StepSlab& s) {
    if (s.encode.empty() || waits_.empty() || waits_.front().images != s.encode) return std::nullopt;
    return take();
  }
  std::optional<NewRequest> take() {
    if (waits_.empty()) return std::nullopt;
    NewRequest r = std::move(waits_.front().request);
    waits_.pop_front();
    return r;
  }

 private:
  struct Wait {
    NewRequest request;
    ImageList images;
  };
  std::deque<Wait> waits_;
};

}  // namespace xylem
