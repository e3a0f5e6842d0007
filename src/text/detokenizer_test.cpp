#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace xylem {
namespace {

using Ids = std::vector<TokenId>;
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

TokenizerPtr with_decoder(const char* decoder) {
  nlohmann::json j =
      nlohmann::json::parse(R"({"version": "1.0", "model": {"type": "BPE", "byte_fallback": true, "vocab": {
    "<unk>": 0, "▁a": 1, "b": 2, "▁": 3, "<0xE2>": 4, "<0x82>": 5, "<0xAC>": 6, "<0xFF>": 7, "â": 8, "Ĥ": 9, "¬": 10,
    "Ġ": 11, "c ": 12, "": 13, "<0x41>": 14}, "merges": []}, "added_tokens": [{"id": 15, "content": "<s>",
    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}]})");
  j["decoder"] = nlohmann::json::parse(decoder);
  auto t = Tokenizer::parse(j.dump());
  EXPECT_TRUE(t.ok()) << t.error().text;
  return *t;
}

constexpr const char* kGemma = R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"},
  "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]})";
constexpr const char* kLlama2 = R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"},
  "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";
constexpr const char* kByteLevel = R"({"type": "ByteLevel"})";
constexpr const char* kAll[] = {
    kGemma,
    kLlama2,
    kByteLevel,
    "null",
    R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"})",
    R"({"type": "BPEDecoder", "suffix": "b"})",
    R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": "b", "start": 2, "stop": 3}]})",
    R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Strip", "content": "b", "start": 1, "stop": 1},
        {"type": "Fuse"}, {"type": "Replace", "pattern": {"Regex": "[ab]+"}, "content": "-"}]})",
    R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Fuse"}, {"type": "Metaspace", "replacement": " "}]})",
};

std::string stream(const TokenizerPtr& t, const Ids& prompt, const Ids& ids, bool skip) {
  Detokenizer d(t, prompt, skip);
  std::string text;
  for (const TokenId id : ids) {
    const std::string piece = d.push(id);
    EXPECT_TRUE(utf8::valid(piece));
    text += piece;
  }
  return text + d.finish();
}

TEST(Detokenizer, PiecesAddUpToDecode) {
  std::mt19937 rng(1);
  for (const char* decoder : kAll) {
    const auto t = with_decoder(decoder);
    for (int round = 0; round < 2000; ++round) {
      Ids ids(rng() % 12);
      for (TokenId& id : ids) id = static_cast<TokenId>(rng() % 17);
      const bool skip = rng() % 2;
      ASSERT_EQ(stream(t, {}, ids, skip), t->decode(ids, skip)) << decoder;
    }
  }
}

TEST(Detokenizer, AfterAPromptOnlyTheRestComesOut) {
  std::mt19937 rng(2);
  for (const char* decoder : {kGemma, kLlama2, kByteLevel}) {
    const auto t = with_decoder(decoder);
    for (int round = 0; round < 3000; ++round) {
      Ids prompt(1 + rng() % 5), ids(rng() % 8);
      for (TokenId& id : prompt) id = static_cast<TokenId>(rng() % 4);  // whole characters
      for (TokenId& id : ids) id = static_cast<TokenId>(rng() % 15);
      Ids all = prompt;
      all.insert(all.end(), ids.begin(), ids.end());
      ASSERT_EQ(t->decode(prompt, false) + stream(t, prompt, ids, false), t->decode(all, false)) << decoder;
    }
  }
}

TEST(Detokenizer, LeadingSpaceDependsOnThePrompt) {
  const auto t = with_decoder(kLlama2);
  EXPECT_EQ(stream(t, {}, {1, 2}, true), "ab");
  EXPECT_EQ(stream(t, {15}, {1, 2}, true), "ab");
  EXPECT_EQ(stream(t, {2}, {1, 2}, true), " ab");
}

TEST(Detokenizer, CharactersWaitForTheirBytes) {
  const auto t = with_decoder(kByteLevel);
  Detokenizer d(t, {}, false);
  EXPECT_EQ(d.push(8), "");
  EXPECT_EQ(d.push(9), "");
  EXPECT_EQ(d.push(10), "€");
  EXPECT_EQ(d.push(8), "");
  EXPECT_EQ(d.push(11), "\uFFFD ");
  EXPECT_EQ(d.push(8), "");
  EXPECT_EQ(d.finish(), "\uFFFD");
}

TEST(Detokenizer, ACharacterBegunInThePromptIsCompleted) {
  for (const auto& [decoder, first] : {std::pair{kByteLevel, 8}, std::pair{kGemma, 4}}) {
    const auto t = with_decoder(decoder);
    EXPECT_EQ(stream(t, {2, first, first + 1}, {first + 2, 2}, false), "€b");
    EXPECT_EQ(stream(t, {2, first, first + 1}, {2}, false), "b");  // the prompt showed U+FFFD
    EXPECT_EQ(stream(t, {2, first, first + 1, first + 2}, {2}, false), "b");
    EXPECT_EQ(stream(t, {2, first, first + 1}, {}, false), "");
  }
}

TEST(Detokenizer, OneBadByteSpoilsItsRun) {
  const auto t = with_decoder(kGemma);
  EXPECT_EQ(t->decode(Ids{4, 5, 6, 7}, false), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(t->decode(Ids{4, 5, 6, 2, 7, 14}, false), "€b\uFFFD\uFFFD");
}

TEST(Detokenizer, LongStreamsWithoutAnEndOfRun) {
  const auto t = with_decoder(kGemma);
  Detokenizer d(t, {}, false);
  for (int i = 0; i < 300000; ++i) ASSERT_EQ(d.push(14), "");
  EXPECT_EQ(d.finish(), std::string(300000, 'A'));
}

TEST(Detokenizer, DemoModel) {
  const auto t = Tokenizer::load(std::string(XYLEM_SOURCE_DIR) + "/models/demo");
  ASSERT_TRUE(t.ok()) << t.error().text;
  std::mt19937 rng(3);
  for (int round = 0; round < 500; ++round) {
    Ids ids(rng() % 60);
    for (TokenId& id : ids) id = static_cast<TokenId>(rng() % 3 ? rng() % (*t)->vocab_size() : 22 + rng() % 256);
    const bool skip = rng() % 2;
    ASSERT_EQ(stream(*t, {}, ids, skip), (*t)->decode(ids, skip));
  }
}

}  // namespace
}  // namespace xylem
