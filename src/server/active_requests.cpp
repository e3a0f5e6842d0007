#include "server/active_requests.h"

namespace xylem {

void ActiveRequests::add(const std::string& rid, RequestId id) {
  std::lock_guard lock(mu_);
  by_rid_.emplace(rid, id);
}

void ActiveRequests::remove(const std::string& rid, RequestId id) {
  std::lock_guard lock(mu_);
  for (auto [it, end] = by_rid_.equal_range(rid); it != end; ++it) {
    if (it->second != id) continue;
    by_rid_.erase(it);
    return;
  }
}

std::vector<RequestId> ActiveRequests::with_prefix(std::string_view prefix) const {
  std::lock_guard lock(mu_);
  std::vector<RequestId> ids;
  for (auto it = by_rid_.lower_bound(prefix); it != by_rid_.end() && it->first.starts_with(prefix); ++it)
    ids.push_back(it->second);
  return ids;
}

size_t ActiveRequests::size() const {
  std::lock_guard lock(mu_);
  return by_rid_.size();
}

}  // namespace xylem
