// Every registered model with tiny random weights: what must not change its output does not. A new model is tested by
// registering it.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "nn/model.h"
#include "runtime/collector.h"
#include "runtime/load.h"

namespace xylem {
namespace {

constexpr int kNewTokens = 48;

struct Tiny { std::string name, config; };
void PrintTo(const Tiny& t, std::ostream* out) { *out << t.name; }
std::vector<Tiny> tiny_models() {
  std::vector<Tiny> v;
  for (const ModelEntry& e : model_registry())
    for (size_t i = 0; i < e.tiny_configs.size(); i++) v.push_back({e.model_types[0] + "_" + std::to_string(i), e.tiny_configs[i]});
  return v;
}

class ModelTest : public testing::TestWithParam<Tiny> {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("xylem_tiny_" + GetParam().name + "_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "config.json") << GetParam().config;
    std::mt19937 rng(5);
    std::vector<TokenId> shared(70);
    for (TokenId& t : shared) t = TokenId(rng() % 90);
    for (int n : {1, 2, 17, 40, 64, 65, 100, 130}) {
      std::vector<TokenId> p(shared.begin(), shared.begin() + std::min(n, 70));
      while (int(p.size()) < n) p.push_back(TokenId(rng() % 90));
      prompts_.push_back(std::move(p));
    }
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  EngineConfig config(const std::string& dtype) const {
    EngineConfig c;
    c.model = folder_, c.dtype = dtype, c.load_format = "dummy", c.threads = 2, c.progress = false, c.page_size = 16, c.max_running_requests = 8;
    c.kv_memory_bytes = 64 << 20;
    return c;
  }
  static std::unique_ptr<Engine> start(const EngineConfig& c) {
    auto e = Engine::create(c);
    EXPECT_TRUE(e.ok()) << (e.ok() ? "" : e.error().text);
    return e.ok() ? std::move(*e) : nullptr;
  }
  std::shared_ptr<Collector> send(Engine& e, size_t i) const {
    GenerateRequest r;
    r.id = e.next_id(), r.prompt = prompts_[i], r.max_new_tokens = kNewTokens, r.logprobs = true;
    r.sampling.temperature = i % 2 ? 0.8f : 0.0f, r.sampling.top_p = 0.95f, r.sampling.seed = 100 + i;  // sampled ones too: same seed, same output
    auto sink = std::make_shared<Collector>();
    const Status s = e.submit(std::move(r), sink);
    CHECK(s.ok(), s.error().text);
    return sink;
  }
  std::vector<Collector::All> one_by_one(const EngineConfig& c) const {
    auto e = start(c);
    std::vector<Collector::All> all;
    for (size_t i = 0; i < prompts_.size(); i++) all.push_back(send(*e, i)->wait());
    return all;
  }
  void expect_same(const std::vector<Collector::All>& want, Engine& e, const std::string& what) const {
    std::vector<std::shared_ptr<Collector>> sinks;
    for (size_t i = 0; i < prompts_.size(); i++) sinks.push_back(send(e, i));
    for (size_t i = 0; i < prompts_.size(); i++) {
      const auto got = sinks[i]->wait();
      EXPECT_EQ(got.tokens, want[i].tokens) << what << ", prompt " << i << " " << got.error.text;
      for (size_t k = 0; k < std::min(got.logprobs.size(), want[i].logprobs.size()); k++)
        EXPECT_NEAR(got.logprobs[k].logprob, want[i].logprobs[k].logprob, 2e-3) << what << ", prompt " << i << " token " << k;
    }
  }
  std::filesystem::path folder_;
  std::vector<std::vector<TokenId>> prompts_;
};
INSTANTIATE_TEST_SUITE_P(Registered, ModelTest, testing::ValuesIn(tiny_models()), [](const auto& i) { return i.param.name; });

TEST_P(ModelTest, OutputDoesNotDependOnHowStepsAreMade) {
  EngineConfig plain = config("float32");
  plain.chunked_prefill_size = 2048, plain.disable_radix_cache = true;
  const auto want = one_by_one(plain);
  for (const auto& w : want) EXPECT_EQ(w.tokens.size(), size_t(kNewTokens)) << w.error.text;

  EngineConfig c = plain;
  auto batch = start(c);
  expect_same(want, *batch, "batch");
  c.pipeline_depth = 2;
  auto deep = start(c);
  expect_same(want, *deep, "depth 2");
  c.chunked_prefill_size = 16;
  auto chunked = start(c);
  expect_same(want, *chunked, "chunks of 16");
  c.disable_radix_cache = false;
  auto cached = start(c);
  expect_same(want, *cached, "cold cache");
  expect_same(want, *cached, "warm cache");
  EXPECT_GT(cached->stats().cached_prompt_tokens, 200u);
  c.threads = 3;
  auto threads = start(c);
  expect_same(want, *threads, "three threads");
  for (int64_t kib = 16; kib < 100000; kib += kib / 4) {  // the least memory that runs them: they push each other out
    EngineConfig tight = c;
    tight.kv_memory_bytes = kib << 10;
    auto e = Engine::create(tight);
    if (!e.ok() || (*e)->info().max_total_tokens < 192) continue;
    expect_same(want, **e, "no room");
    EXPECT_GT((*e)->stats().preemptions, 0u);
    break;
  }
}

TEST_P(ModelTest, PromptLogprobsEqualThoseOfDecoding) {
  auto e = start(config("float32"));
  GenerateRequest r;
  r.id = e->next_id(), r.prompt = prompts_[3], r.max_new_tokens = 30, r.logprobs = true, r.sampling.temperature = 0;
  auto sink = std::make_shared<Collector>();
  ASSERT_TRUE(e->submit(r, sink).ok());
  const auto first = sink->wait();
  GenerateRequest again;
  again.id = e->next_id(), again.prompt = r.prompt, again.max_new_tokens = 1, again.prompt_logprobs_from = 0, again.top_logprobs = 2;
  again.prompt.insert(again.prompt.end(), first.tokens.begin(), first.tokens.end());
  sink = std::make_shared<Collector>();
  ASSERT_TRUE(e->submit(again, sink).ok());
  const auto second = sink->wait();
  ASSERT_EQ(second.prompt_logprobs.size(), again.prompt.size() - 1);
  for (size_t i = 0; i < first.tokens.size(); i++) {
    const TokenLogprob& l = second.prompt_logprobs[r.prompt.size() - 1 + i];
    EXPECT_EQ(l.token, first.tokens[i]);
    EXPECT_NEAR(l.logprob, first.logprobs[i].logprob, 2e-3);
    ASSERT_EQ(l.top.size(), 2u);
    EXPECT_EQ(l.top[0].first, first.tokens[i]);  // greedy
  }
}

// min_new_tokens bans the stop ids: those outside the logits must not be written.
TEST_P(ModelTest, StopIdsOutsideTheVocabularyDoNoHarm) {
  auto e = start(config("float32"));
  std::vector<Collector::All> got;
  for (const std::vector<TokenId>& stops : {std::vector<TokenId>{}, std::vector<TokenId>{-7, 99999999, TokenId(e->info().vocab_size)}}) {
    GenerateRequest r;
    r.id = e->next_id(), r.prompt = prompts_[3], r.max_new_tokens = 8, r.min_new_tokens = 5, r.stop_ids = stops, r.sampling.temperature = 0;
    auto sink = std::make_shared<Collector>();
    ASSERT_TRUE(e->submit(r, sink).ok());
    got.push_back(sink->wait());
  }
  EXPECT_EQ(got[1].tokens.size(), 8u);
  EXPECT_EQ(got[1].tokens, got[0].tokens);
}

// A recorded step, run again from the same cache, gives the same bits: launch arguments hold everything that a step reads.
TEST_P(ModelTest, ReplayEqualsEager) {
  EngineConfig small = config("bfloat16");
  small.kv_memory_bytes = 4 << 20;  // it is copied
  auto loaded = load_engine(small);
  ASSERT_TRUE(loaded.ok()) << loaded.error().text;
  std::map<RequestId, GenerateRequest> requests;
  for (RequestId id = 1; id <= 4; id++) {
    requests[id].id = id, requests[id].prompt = prompts_[size_t(id)], requests[id].sampling.seed = id;
    loaded->sched->submit({id, prompts_[size_t(id)], 8, 0, {}, 0, 0, -1});
  }
  StepSlab slab(loaded->runner->device(), loaded->limits, loaded->runner->model().caches());
  BatchBuilder builder(loaded->limits, loaded->runner->model().caches(), loaded->runner->token_pool());
  std::vector<Event> events;
  auto bytes = [](const Tensor& t) { return std::string(t.as<const char>(), t.bytes()); };
  for (int step = 0; step < 6; step++) {  // prompts first, then decodes
    const StepPlan p = loaded->sched->plan(&events);
    ASSERT_FALSE(p.rows.empty());
    builder.build(p, *loaded->sched, [&](RequestId id) -> const GenerateRequest& { return requests.at(id); }, slab);
    std::vector<std::string> cache;  // states are overwritten in place: the same step needs the same cache
    for (const Tensor& pool : loaded->runner->pools()) cache.push_back(bytes(pool));
    Plan plan;
    ASSERT_TRUE(loaded->runner->run(slab, &plan).ok());
    const std::string logits = bytes(slab.sample.logits), tokens = bytes(slab.result.tokens);
    std::memset(slab.sample.logits.data, 0xFF, slab.sample.logits.bytes());
    std::memset(slab.result.tokens.data, 0xFF, slab.result.tokens.bytes());
    for (size_t g = 0; g < cache.size(); g++) std::memcpy(loaded->runner->pools()[g].data, cache[g].data(), cache[g].size());
    loaded->runner->replay(plan);
    EXPECT_EQ(bytes(slab.sample.logits), logits) << "step " << step;
    EXPECT_EQ(bytes(slab.result.tokens), tokens) << "step " << step;
    const int32_t* t = slab.result.tokens.as<int32_t>();
    loaded->sched->commit(p, {t, size_t(slab.result.tokens.numel())}, &events);
  }
}

TEST_P(ModelTest, Bfloat16StaysClose) {
  const auto exact = one_by_one(config("float32")), rounded = one_by_one(config("bfloat16"));
  for (size_t i = 0; i < exact.size(); i++) {
    ASSERT_EQ(rounded[i].tokens.size(), size_t(kNewTokens)) << rounded[i].error.text;
    EXPECT_NEAR(rounded[i].logprobs[0].logprob, exact[i].logprobs[0].logprob, rounded[i].tokens[0] == exact[i].tokens[0] ? 0.3 : 1e9);
  }
}

}  // namespace
}  // namespace xylem
