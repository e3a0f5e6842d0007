#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

namespace xylem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Ids = std::vector<TokenId>;
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

const fs::path kRoot = XYLEM_SOURCE_DIR;

fs::path shared() {
  const char* set = std::getenv("XYLEM_SHARED");
  return set ? fs::path(set) : kRoot / ".." / "shared";
}

json read_json(const fs::path& path) {
  std::ifstream in(path);
  return json::parse(in);
}

// A small tokenizer.json, changed by change.
json small(const std::function<void(json&)>& change = {}) {
  json j = json::parse(R"({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
    "post_processor": null, "decoder": null, "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": false,
    "byte_fallback": false, "ignore_merges": false, "vocab": {"<unk>": 0, "a": 1, "b": 2, "c": 3, "▁": 4, "ab": 5,
    "abc": 6, "▁a": 7, "1": 8, "2": 9, " ": 10, "A": 11}, "merges": ["a b", ["ab", "c"], "▁ a"]}})");
  if (change) change(j);
  return j;
}

json added(int id, const char* content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", false}};
}

TokenizerPtr make(const json& j) {
  auto t = Tokenizer::parse(j.dump());
  EXPECT_TRUE(t.ok()) << t.error().text;
  return *t;
}

Ids encode(const json& j, std::string_view text, bool special = false) {
  return make(j)->encode(text, special).value();
}

// Expected ids and texts in this file come from Hugging Face tokenizers 0.23.

TEST(Tokenizer, MergesAndUnknowns) {
  EXPECT_EQ(encode(small(), "abcab"), (Ids{6, 5}));
  EXPECT_EQ(encode(small(), "abxa"), (Ids{5, 0, 1}));
  EXPECT_EQ(encode(small(), "xx"), (Ids{0, 0}));
  EXPECT_EQ(encode(small(), ""), Ids{});
  EXPECT_EQ(encode(small([](json& j) { j["model"]["fuse_unk"] = true; }), "axxb"), (Ids{1, 0, 2}));
  EXPECT_EQ(encode(small([](json& j) { j["model"]["unk_token"] = nullptr; }), "axb"), Ids{5});
}

TEST(Tokenizer, IgnoreMergesTakesWholePieces) {
  const json j = small([](json& j) { j["model"]["ignore_merges"] = true, j["model"]["merges"] = json::array(); });
  EXPECT_EQ(encode(j, "abc"), Ids{6});
  EXPECT_EQ(encode(j, "abca"), (Ids{1, 2, 3, 1}));
}

TEST(Tokenizer, Metaspace) {
  const json meta = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", true}};
  const json always = small([&](json& j) { j["pre_tokenizer"] = j["decoder"] = meta; });
  EXPECT_EQ(encode(always, "a ab"), (Ids{7, 4, 5}));
  EXPECT_EQ(encode(always, " a"), Ids{7});
  EXPECT_EQ(make(always)->decode(Ids{7, 4, 5}, false), "a ab");
  const json first = small([&](json& j) {
    j["pre_tokenizer"] = meta;
    j["pre_tokenizer"]["prepend_scheme"] = "first";
    j["added_tokens"] = {added(12, "<x>")};
  });
  EXPECT_EQ(encode(first, "a<x>a"), (Ids{7, 12, 1}));
  EXPECT_EQ(encode(first, "<x>a"), (Ids{12, 1}));
}

TEST(Tokenizer, SplitBehaviors) {
  const std::vector<std::tuple<const char*, bool, Ids>> cases = {
      // a11b1; ignore_merges is set, so a piece that is a token shows as one id
      {"Removed", false, {1, 2}},
      {"Removed", true, {8, 8, 8}},
      {"Isolated", false, {1, 8, 8, 2, 8}},
      {"Isolated", true, {1, 8, 8, 2, 8}},
      {"MergedWithPrevious", false, {13, 8, 14}},
      {"MergedWithPrevious", true, {1, 8, 15, 8}},
      {"MergedWithNext", false, {1, 8, 15, 8}},
      {"MergedWithNext", true, {13, 8, 14}},
      {"Contiguous", false, {1, 16, 2, 8}},
      {"Contiguous", true, {1, 16, 2, 8}},
  };
  for (const auto& [behavior, invert, ids] : cases) {
    const json j = small([&](json& j) {
      j["model"]["ignore_merges"] = true;
      j["model"]["vocab"].update({{"a1", 13}, {"b1", 14}, {"1b", 15}, {"11", 16}});
      j["pre_tokenizer"] = {
          {"type", "Split"}, {"pattern", {{"String", "1"}}}, {"behavior", behavior}, {"invert", invert}};
    });
    EXPECT_EQ(encode(j, "a11b1"), ids) << behavior << invert;
  }
}

TEST(Tokenizer, AddedTokenRules) {
  EXPECT_EQ(encode(small([](json& j) {
                     j["added_tokens"] = {added(5, "ab")};
                     j["added_tokens"][0]["single_word"] = true;
                   }),
                   "ab cab ab"),
            (Ids{5, 10, 3, 5, 10, 5}));
  EXPECT_EQ(encode(small([](json& j) {
                     j["added_tokens"] = {added(12, "<x>")};
                     j["added_tokens"][0]["lstrip"] = j["added_tokens"][0]["rstrip"] = true;
                   }),
                   "a  <x>  b"),
            (Ids{1, 12, 2}));
  const json lower = small([](json& j) {
    j["normalizer"] = {{"type", "Lowercase"}};
    j["added_tokens"] = {added(12, "AB")};
    j["added_tokens"][0]["normalized"] = true;
  });
  EXPECT_EQ(encode(lower, "cABab"), (Ids{3, 12, 12}));
  EXPECT_EQ(make(lower)->decode(Ids{12}, false), "ab");
  EXPECT_EQ(make(lower)->token(12), "AB");
}

TEST(Tokenizer, TheLongestAddedTokenWins) {
  const json j = small([](json& j) { j["added_tokens"] = {added(12, "<x"), added(13, "<x>"), added(14, "x>y")}; });
  EXPECT_EQ(encode(j, "<x>y<xa"), (Ids{13, 0, 12, 1}));
}

TEST(Tokenizer, TemplateAddsSpecialTokens) {
  const json j = small([](json& j) {
    j["post_processor"] = json::parse(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"},
      {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "c", "type_id": 0}},
      {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"c": {"id": "c", "ids": [3]}}}]})");
  });
  EXPECT_EQ(encode(j, "ab", true), (Ids{3, 5}));
  EXPECT_EQ(encode(j, "ab", false), Ids{5});
}

TEST(Tokenizer, SentencePieceStyleNormalizerAndDecoder) {
  const json j = small([](json& j) {
    j["normalizer"] = json::parse(R"({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})");
    j["decoder"] = json::parse(R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"},
      "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})");
  });
  EXPECT_EQ(encode(j, "a ab"), (Ids{7, 4, 5}));
  EXPECT_EQ(encode(j, ""), Ids{});
  EXPECT_EQ(make(j)->decode(Ids{7, 4, 5}, false), "a ab");
}

TEST(Tokenizer, SkipsSpecialAndUnknownIds) {
  const json j = small([](json& j) {
    j["added_tokens"] = {added(12, "<s>")};
    j["added_tokens"][0]["special"] = true;
    j["decoder"] = {{"type", "Fuse"}};
  });
  const auto t = make(j);
  EXPECT_EQ(t->decode(Ids{12, 1, 99, -1, 2}, true), "ab");
  EXPECT_EQ(t->decode(Ids{12, 1, 99, -1, 2}, false), "<s>ab");
  EXPECT_TRUE(t->is_special(12));
  EXPECT_FALSE(t->is_special(1));
  EXPECT_EQ(t->vocab_size(), 13);
  EXPECT_EQ(t->id("<s>").value_or(-1), 12);
  EXPECT_EQ(t->id("ab").value_or(-1), 5);
  EXPECT_FALSE(t->id("nope"));
  EXPECT_EQ(t->token(99), "");
}

TEST(Tokenizer, InvalidUtf8IsAnError) {
  EXPECT_FALSE(make(small())->encode("a\xFF", false).ok());
  EXPECT_FALSE(make(small())->encode("a\xE2\x82", false).ok());
}

void expect_refused(const json& j, const std::string& says) {
  const auto t = Tokenizer::parse(j.dump());
  ASSERT_FALSE(t.ok()) << says;
  EXPECT_NE(t.error().text.find(says), std::string::npos) << t.error().text;
}

TEST(Tokenizer, HostileFilesAreErrors) {
  for (const char* text :
       {"", "{", "[]", "null", "{}", "{\"model\": 3}", "{\"model\": {}}", "\"\\ud800\"", "{\"a\":\"\xFF\"}"}) {
    EXPECT_FALSE(Tokenizer::parse(text).ok()) << text;
  }
  EXPECT_FALSE(Tokenizer::parse(std::string(100000, '[')).ok());
  const auto model = [](const char* key, json value) {
    return small([&](json& j) { j["model"][key] = std::move(value); });
  };
  expect_refused(model("type", "WordPiece"), "WordPiece");
  expect_refused(model("dropout", 0.1), "dropout");
  expect_refused(model("vocab", json::array()), "vocab");
  expect_refused(model("vocab", {{"a", "x"}}), "must be an integer");
  expect_refused(model("vocab", {{"a", -1}}), "outside");
  expect_refused(model("vocab", {{"a", 4000000000u}}), "outside");
  expect_refused(model("vocab", {{"a", 1.5}}), "integer");
  expect_refused(model("vocab", {{"a", 1}, {"b", 1}}), "another token");
  expect_refused(model("merges", json::array({"a z"})), "'z'");
  expect_refused(model("merges", json::array({"b a"})), "'ba'");
  expect_refused(model("merges", json::array({"ab"})), "two tokens");
  expect_refused(model("merges", json::array({json::array({"a", "b", "c"})})), "two tokens");
  expect_refused(model("merges", json::array({json::array({"a", 1})})), "two tokens");
  expect_refused(model("merges", "a b"), "array");
  expect_refused(model("fuse_unk", "yes"), "fuse_unk");
  expect_refused(model("continuing_subword_prefix", "long prefix"), "shorter");
}

TEST(Tokenizer, UnsupportedPartsAreNamed) {
  const auto part = [](const char* key, json value) { return small([&](json& j) { j[key] = std::move(value); }); };
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    expect_refused(part(key, {{"type", "Imaginary"}}), "Imaginary");
    expect_refused(part(key, {{"no", "type"}}), "type");
    expect_refused(part(key, 5), "type");
    expect_refused(part(key, {{"type", "Sequence"}}), "array");
  }
  expect_refused(part("version", "2.0"), "2.0");
  expect_refused(part("normalizer", {{"type", "Replace"}, {"pattern", {{"Regex", "("}}}, {"content", ""}}), "'('");
  expect_refused(part("normalizer", {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", ""}}), "empty");
  expect_refused(part("decoder", {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}}), "one character");
  expect_refused(part("decoder", {{"type", "Strip"}, {"content", "a"}, {"start", -1}, {"stop", 0}}), "start");
  expect_refused(part("added_tokens", {{"id", 1}}), "array");
  json huge = added(1 << 30, "x");
  expect_refused(part("added_tokens", {huge}), "id");
  expect_refused(
      part("post_processor", {{"type", "TemplateProcessing"}, {"single", {{{"SpecialToken", {{"id", "c"}}}}}}}), "'c'");
}

TEST(Tokenizer, RandomDamageNeverCrashes) {
  std::ifstream in(kRoot / "models/demo/tokenizer.json");
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  ASSERT_FALSE(whole.empty());
  std::mt19937 rng(7);
  for (int round = 0; round < 300; ++round) {
    std::string text = whole;
    for (int n = 1 + rng() % 4; n > 0; --n) {
      const size_t at = rng() % 2 ? rng() % text.size() : rng() % std::min<size_t>(text.size(), 6000);
      const char letters[] = "\"0{}[],:null-9e\\ ";
      if (rng() % 3 == 0)
        text.erase(at, rng() % 20);
      else
        text[at] = letters[rng() % (sizeof letters - 1)];
    }
    if (auto t = Tokenizer::parse(text)) {
      if (auto ids = (*t)->encode("<bos>Hello wörld\n 12", true)) (*t)->decode(*ids, false);
    }
  }
}

TEST(Tokenizer, LongLinesAndManyThreads) {
  const auto loaded = Tokenizer::load((kRoot / "models/demo").string());
  ASSERT_TRUE(loaded.ok()) << loaded.error().text;
  const Tokenizer& t = **loaded;
  const std::string text = std::string(1 << 20, 'a') + "\n" + std::string(1 << 18, ' ') + "é€🙂 is";
  const Ids expected = t.encode(text, false).value();
  EXPECT_EQ(t.decode(expected, false), text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(t.encode(text, false).value(), expected); });
  }
  for (auto& thread : threads) thread.join();
}

TEST(Tokenizer, RolesComeFromTheConfig) {
  const auto t = Tokenizer::load((kRoot / "models/demo").string());
  ASSERT_TRUE(t.ok()) << t.error().text;
  EXPECT_EQ((*t)->role("bos_token"), "<bos>");
  EXPECT_EQ((*t)->role("no_token"), "");
  EXPECT_EQ(Tokenizer::load("/nonexistent").error().code, Code::kNotFound);
}

TEST(Tokenizer, GoldenPrompts) {
  int cases = 0;
  for (const auto& folder : fs::directory_iterator(kRoot / "tests/golden")) {
    const fs::path golden = folder.path() / "golden.json";
    if (!fs::exists(golden)) continue;
    const json data = read_json(golden);
    if (!data.at("cases").at(0).contains("prompt_text")) continue;  // ids alone: a checkpoint without text
    const bool own = fs::exists(folder.path() / "tokenizer.json");
    const auto t = Tokenizer::load((own ? folder.path() : kRoot / "models" / folder.path().filename()).string());
    ASSERT_TRUE(t.ok()) << t.error().text;
    for (const json& c : data.at("cases")) {
      const Ids prompt = c.at("prompt_ids"), output = c.at("output_ids");
      if (!c.contains("images")) {  // whose text holds one placeholder for the many ids of an image
        EXPECT_EQ((*t)->encode(c.at("prompt_text").get<std::string>(), false).value(), prompt) << c.at("name");
      }
      const std::string text = c.at("output_text");
      if (text.starts_with("<|channel|>")) {  // harmony's tags are part of the reference's text, the stop id is not
        const bool stops = data.at("eos_token_ids").get<std::set<TokenId>>().count(output.back());
        EXPECT_EQ((*t)->decode({output.begin(), output.end() - stops}, false), text) << c.at("name");
      } else {
        EXPECT_EQ((*t)->decode(output, true), text) << c.at("name");
      }
      ++cases;
    }
  }
  EXPECT_GT(cases, 0);
}

TEST(Tokenizer, RealVocabularies) {
  const fs::path folder = shared() / "tokenizers";
  if (!fs::exists(folder / "vectors.json")) GTEST_SKIP() << "no real vocabularies in " << folder;
  const json vectors = read_json(folder / "vectors.json").at("vectors");
  for (const auto& [name, rows] : vectors.items()) {
    const auto t = Tokenizer::load((folder / name).string());
    ASSERT_TRUE(t.ok()) << t.error().text;
    for (const json& row : rows) {
      const std::string text = row[0];
      const Ids ids = row[1];
      EXPECT_EQ((*t)->encode(text, false).value(), ids) << name << ": " << text;
      EXPECT_EQ((*t)->decode(ids, false), row[2].get<std::string>()) << name;
      EXPECT_EQ((*t)->decode(ids, true), row[3].get<std::string>()) << name;
    }
  }
}

}  // namespace
}  // namespace xylem
