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
  EncodeWork next() const { return waits_.empty() ? EncodeWork{} : EncodeWork{waits_.front().images, waits_.front().request.id}; }
  // The request of a step's work, if that is done. At depth 2 the step before may have said so already.
  std::optional<NewRequest> take_encoded(const EncodeWork& w) { return w.done ? take_waiting_for(w) : std::nullopt; }
  std::optional<NewRequest> take_waiting_for(const EncodeWork& w) {
    if (w.images.empty() || waits_.empty() || waits_.front().request.id != w.request) return std::nullopt;
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
