// Who goes first.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace xylem {

enum class Policy : uint8_t {
  kFcfs,      // by arrival
  kLpm,       // waiting requests with the longest cached prefix first (others may starve); by arrival while many wait
  kPriority,  // larger priority first, then by arrival; a much larger one displaces running requests
};

inline std::optional<Policy> policy_named(std::string_view name) {
  if (name == "fcfs") return Policy::kFcfs;
  if (name == "lpm") return Policy::kLpm;
  if (name == "priority") return Policy::kPriority;
  return std::nullopt;
}

inline constexpr int kDisplacingGap = 10;      // how much larger a priority must be to displace a running request
inline constexpr size_t kLpmMaxWaiting = 128;  // above, matching every waiting prompt would cost more than it saves

// A request's place among all others: smaller goes first and is preempted last. Total and constant for a request's
// life.
struct Rank {
  int64_t urgency = 0;   // minus the priority if the policy looks at it, else 0
  uint64_t arrival = 0;  // unique
  auto operator<=>(const Rank&) const = default;
};

inline Rank rank_of(Policy policy, int priority, uint64_t arrival) {
  return {policy == Policy::kPriority ? -int64_t(priority) : 0, arrival};
}

}  // namespace xylem
