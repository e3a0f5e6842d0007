// The BPE model of a tokenizer.json: one piece of text -> token ids.
#pragma once
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_merges.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_vocabulary.h"

namespace xylem {

// Immutable after parse; encode() may run on many threads, each with its own scratch.
class Bpe {
 public:
  static Result<Bpe> parse(tokenizer_json::Json model);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  // Appends the ids of piece. spelled: piece is text over the vocabulary's letters; otherwise bytes, each of which is
  // looked up as its letter of the byte-level alphabet.
  Status encode(std::string_view piece, bool spelled, BpeScratch& scratch, std::vector<TokenId>& out) const;

 private:
  Status read_vocabulary(tokenizer_json::Json model);
  Status read_merges(tokenizer_json::Json model);
  Status add_merge(std::string_view left, std::string_view right, uint32_t rank, std::string& buffer);
  void index_letters();
  void index_crossings();
  TokenId letter_id(char32_t code, std::string_view letter) const;
  bool may_cross(char32_t before, char32_t after) const;
  Status encode_letters(std::string_view text, BpeScratch& scratch, std::vector<TokenId>& out) const;
  Status encode_affixed(std::string_view text, BpeScratch& scratch, std::vector<TokenId>& out) const;
  Status add_unknown(std::string_view letter, bool& unknown, BpeScratch& scratch) const;
  bool add_fallback(std::string_view letter, BpeScratch& scratch) const;
  void merge(BpeScratch& scratch, std::vector<TokenId>& out) const;

  Vocabulary vocabulary_;
  BpeMerges merges_;
  std::string prefix_, suffix_;  // continuing_subword_prefix, end_of_word_suffix
  std::string unknown_token_;
  TokenId unknown_ = -1;
  bool has_unknown_ = false, fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;

  std::array<TokenId, 256> byte_ids_{};  // of the byte-level letters
  bool all_bytes_ = false;
  std::array<TokenId, 256> fallback_ids_{};  // of <0x00> ...
  std::vector<TokenId> letter_ids_;          // of the letters of the basic multilingual plane
  // Pairs of neighbouring letters inside any merged token, hashed to bits. A text is the sum of its parts when cut
  // between letters of no such pair: the key to tokenizers that hand over whole documents. Empty: never cut.
  std::vector<uint64_t> crossings_;
};

}  // namespace xylem
