// Token spellings and their ids.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace xylem {

inline constexpr TokenId kMaxTokenId =
    (1 << 22) - 1;  // tables are indexed by id; released vocabularies stay below 2^19

class Vocabulary {
 public:
  void reserve(size_t tokens);
  // A second id for a spelling, a second spelling for an id and an id outside 0..kMaxTokenId are errors.
  Status insert(std::string_view token, int64_t id);

  std::optional<TokenId> find(std::string_view token) const;
  bool contains(TokenId id) const {
    return id >= 0 && static_cast<size_t>(id) < by_id_.size() && by_id_[id].bytes != kNone;
  }
  std::string_view spelling(TokenId id) const;  // empty when there is none
  size_t size() const { return count_; }
  TokenId end_id() const { return static_cast<TokenId>(by_id_.size()); }  // largest id + 1

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Place {
    size_t begin = 0;
    uint32_t bytes = kNone;
  };
  struct Slot {
    uint32_t hash = 0;
    TokenId id = -1;
  };
  void grow(size_t slots);
  size_t slot_of(std::string_view token, uint32_t hash) const;

  std::string letters_;  // all spellings one after another
  std::vector<Place> by_id_;
  std::vector<Slot> slots_;  // open addressing; a power of two
  size_t count_ = 0;
};

}  // namespace xylem
