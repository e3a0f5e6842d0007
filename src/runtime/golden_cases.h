// What the engine is compared with: the prompts and outputs of a reference implementation, and how to ask the engine the same.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "runtime/collector.h"
#include "vision/processor.h"

namespace xylem {

using nlohmann::json;
inline const std::string kRoot = XYLEM_SOURCE_DIR;

struct Golden { std::string name, folder, data; };
inline void PrintTo(const Golden& g, std::ostream* out) { *out << g.name; }
// Every folder of tests/golden with reference outputs; its checkpoint lies beside them, or under the same name in models/.
inline std::vector<Golden> goldens() {
  std::vector<Golden> list;
  for (const auto& e : std::filesystem::directory_iterator(kRoot + "/tests/golden")) {
    if (!std::filesystem::exists(e.path() / "golden.json")) continue;
    std::string name = e.path().filename();
    const std::string folder = std::filesystem::exists(e.path() / "config.json") ? e.path().string() : kRoot + "/models/" + name;
    std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
    list.push_back({name, folder, e.path()});
  }
  std::sort(list.begin(), list.end(), [](const Golden& a, const Golden& b) { return a.name < b.name; });
  return list;
}

struct GoldenCase {
  std::string name;
  std::vector<TokenId> prompt, output;
  json top5;
  std::vector<ImageInput> images;
};

inline json golden_json(const Golden& g) {
  std::ifstream f(g.data + "/golden.json");
  EXPECT_TRUE(f.good()) << g.data;
  return json::parse(f);
}

inline std::string read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  EXPECT_TRUE(f.good()) << path;
  return {std::istreambuf_iterator<char>(f), {}};
}

// A case's images become patches as the checkpoint's processor makes them, and its prompt is expanded anew.
inline std::vector<ImageInput> golden_images(const Golden& g, const ImageProcessor& processor, const json& c, const std::vector<TokenId>& prompt) {
  std::vector<std::shared_ptr<const ImagePatches>> patches;
  for (const json& name : c.at("images")) {
    const std::string file = read_file(g.data + "/" + name.get<std::string>());
    auto p = processor.process(std::as_bytes(std::span(file)));
    EXPECT_TRUE(p.ok()) << (p.ok() ? "" : p.error().text);
    patches.push_back(std::make_shared<const ImagePatches>(*std::move(p)));
  }
  std::vector<ImageInput> images;
  for (size_t i = 0; i < prompt.size() && images.size() < patches.size(); i++)
    if (prompt[i] == processor.placeholder() && (i == 0 || prompt[i - 1] != processor.placeholder())) images.push_back({int(i), patches[images.size()]});
  EXPECT_EQ(images.size(), patches.size());
  return images;
}

enum class Which { kText, kImages };

inline std::vector<GoldenCase> load_cases(const Golden& g, Which which, std::vector<TokenId>* eos) {
  const json j = golden_json(g);
  *eos = j.at("eos_token_ids").get<std::vector<TokenId>>();
  std::shared_ptr<const ImageProcessor> processor;
  std::vector<GoldenCase> cases;
  for (const json& c : j.at("cases")) {
    if (c.contains("images") != (which == Which::kImages)) continue;
    GoldenCase& out = cases.emplace_back(GoldenCase{c.at("name"), c.at("prompt_ids"), c.at("output_ids"), c.at("top5"), {}});
    if (which == Which::kText) continue;
    if (!processor) {
      auto loaded = ImageProcessor::load(g.folder, {});
      EXPECT_TRUE(loaded.ok() && *loaded) << (loaded.ok() ? "" : loaded.error().text);
      processor = *loaded;
    }
    out.images = golden_images(g, *processor, c, out.prompt);
  }
  return cases;
}

inline EngineConfig float32(const Golden& g) {
  EngineConfig c;
  c.model = g.folder, c.dtype = "float32", c.threads = 2, c.progress = false;
  c.kv_memory_bytes = int64_t(256) << 20;
  return c;
}

inline std::unique_ptr<Engine> start(const EngineConfig& c) {
  auto e = Engine::create(c);
  EXPECT_TRUE(e.ok()) << (e.ok() ? "" : e.error().text);
  return e.ok() ? std::move(*e) : nullptr;
}

inline std::shared_ptr<Collector> send(Engine& e, const GoldenCase& c, const std::vector<TokenId>& eos) {
  GenerateRequest r;
  r.id = e.next_id(), r.prompt = c.prompt, r.sampling.temperature = 0, r.max_new_tokens = int(c.output.size()), r.stop_ids = eos;
  r.logprobs = true, r.top_logprobs = 5, r.images = c.images;
  auto sink = std::make_shared<Collector>();
  const Status s = e.submit(std::move(r), sink);
  EXPECT_TRUE(s.ok()) << s.error().text;
  return sink;
}

inline void expect_golden(const GoldenCase& c, const Collector::All& got, const std::string& where) {
  EXPECT_EQ(got.tokens, c.output) << where << " " << c.name << " " << got.error.text;
  for (size_t i = 0; i < std::min(got.logprobs.size(), c.output.size()); i++) {
    const std::map<TokenId, float> top(got.logprobs[i].top.begin(), got.logprobs[i].top.end());
    for (const json& want : c.top5.at(i)) {
      const TokenId id = want.at(0);
      const double lp = want.at(1);
      if (id == c.output[i]) {
        EXPECT_NEAR(got.logprobs[i].logprob, lp, 0.01) << where << " " << c.name << " token " << i;
      }
      if (top.count(id) && lp > -12) {
        EXPECT_NEAR(top.at(id), lp, 0.01) << where << " " << c.name << " token " << i << " id " << id;
      }
    }
  }
}

}  // namespace xylem
