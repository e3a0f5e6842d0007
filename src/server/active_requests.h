// The running requests by the clients' names for them, so that /abort_request can find them.
#pragma once
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/token.h"

namespace xylem {

// Any thread.
class ActiveRequests {
 public:
  void add(const std::string& rid, RequestId id);
  void remove(const std::string& rid, RequestId id);
  std::vector<RequestId> with_prefix(std::string_view prefix) const;  // an empty prefix: all
  size_t size() const;

 private:
  mutable std::mutex mu_;
  std::multimap<std::string, RequestId, std::less<>> by_rid_;
};

}  // namespace xylem
