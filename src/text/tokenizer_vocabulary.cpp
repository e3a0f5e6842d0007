#include "text/tokenizer_vocabulary.h"

#include <bit>
#include <functional>

namespace xylem {
namespace {

uint32_t hash_of(std::string_view token) { return static_cast<uint32_t>(std::hash<std::string_view>()(token) >> 16); }

}  // namespace

void Vocabulary::reserve(size_t tokens) {
  by_id_.reserve(tokens);
  if (tokens * 2 > slots_.size()) grow(std::bit_ceil(tokens * 2 + 16));
}

void Vocabulary::grow(size_t slots) {
  const std::vector<Slot> old = std::move(slots_);
  slots_.assign(slots, Slot{});
  for (const Slot& s : old) {
    if (s.id < 0) continue;
    size_t i = s.hash & (slots - 1);
    while (slots_[i].id >= 0) i = (i + 1) & (slots - 1);
    slots_[i] = s;
  }
}

// Where token is or would be.
size_t Vocabulary::slot_of(std::string_view token, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t i = hash & mask;
  while (slots_[i].id >= 0 && (slots_[i].hash != hash || spelling(slots_[i].id) != token)) i = (i + 1) & mask;
  return i;
}

Status Vocabulary::insert(std::string_view token, int64_t id) {
  const auto named = [&] { return "tokenizer.json: token '" + std::string(token) + "' with id " + std::to_string(id); };
  if (id < 0 || id > kMaxTokenId) return invalid(named() + " is outside 0.." + std::to_string(kMaxTokenId) + ".");
  if (contains(static_cast<TokenId>(id))) return invalid(named() + " has the id of another token.");
  if (count_ * 2 >= slots_.size()) grow(std::max<size_t>(16, slots_.size() * 2));
  const uint32_t hash = hash_of(token);
  Slot& slot = slots_[slot_of(token, hash)];
  if (slot.id >= 0) return invalid(named() + " appears twice.");
  if (static_cast<size_t>(id) >= by_id_.size()) by_id_.resize(id + 1);
  by_id_[id] = {letters_.size(), static_cast<uint32_t>(token.size())};
  letters_ += token;
  slot = {hash, static_cast<TokenId>(id)};
  ++count_;
  return {};
}

std::optional<TokenId> Vocabulary::find(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  const TokenId id = slots_[slot_of(token, hash_of(token))].id;
  if (id < 0) return std::nullopt;
  return id;
}

std::string_view Vocabulary::spelling(TokenId id) const {
  if (!contains(id)) return {};
  return std::string_view(letters_).substr(by_id_[id].begin, by_id_[id].bytes);
}

}  // namespace xylem
