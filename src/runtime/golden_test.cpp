// The engine against transformers' outputs: token by token in float32, alone and under everything that must not matter.
#include <cstdlib>

#include "device/opencl/opencl_device.h"
#include "runtime/golden_cases.h"
#include "runtime/load.h"
#include "weights/safetensors.h"

namespace xylem {
namespace {

class GoldenTest : public testing::TestWithParam<Golden> {};
INSTANTIATE_TEST_SUITE_P(Models, GoldenTest, testing::ValuesIn(goldens()), [](const auto& i) { return i.param.name; });

TEST_P(GoldenTest, AloneThenAllAtOnceWithAWarmCache) {
  std::vector<TokenId> eos;
  const auto cases = load_cases(GetParam(), Which::kText, &eos);
  auto engine = start(float32(GetParam()));
  ASSERT_TRUE(engine);
  for (const auto& c : cases) expect_golden(c, send(*engine, c, eos)->wait(), "cold");
  std::vector<std::shared_ptr<Collector>> sinks;
  for (const auto& c : cases) sinks.push_back(send(*engine, c, eos));
  size_t cached = 0, prompt_tokens = 0;
  for (size_t i = 0; i < cases.size(); i++) {
    const auto all = sinks[i]->wait();
    expect_golden(cases[i], all, "warm");
    cached += size_t(all.cached_tokens), prompt_tokens += cases[i].prompt.size();
  }
  EXPECT_GT(cached, prompt_tokens / 2);
}

constexpr size_t kShort = 100;  // tokens of prompt and output

struct Variant { const char* name; int chunk, page, depth; bool tight, cache; };

// The least memory with which one request of so many tokens runs: the others push each other out.
int64_t tight_memory(EngineConfig config, size_t tokens) {
  auto enough = [&](int64_t bytes) {
    config.kv_memory_bytes = bytes;
    auto e = Engine::create(config);
    return e.ok() && (*e)->info().max_total_tokens >= int64_t(tokens);
  };
  int64_t lo = 0, hi = 64 << 10;
  while (!enough(hi) && hi < int64_t(1) << 30) lo = hi, hi *= 2;
  while (hi - lo > 2048) {
    const int64_t mid = (lo + hi) / 2;
    (enough(mid) ? hi : lo) = mid;
  }
  return hi;
}

TEST_P(GoldenTest, NothingThatMustNotMatterDoes) {
  const Variant variants[] = {{"chunk 16, page 16", 16, 16, 1, false, true}, {"chunk 64, page 64, depth 2", 64, 64, 2, false, true},
                              {"chunk 2048, depth 2", 2048, 32, 2, false, false}, {"no room, depth 1", 64, 16, 1, true, true},
                              {"no room, depth 2", 256, 16, 2, true, true}};
  std::vector<TokenId> eos;
  const auto all_cases = load_cases(GetParam(), Which::kText, &eos);
  for (const Variant& v : variants) {
    // Without room, short prompts that grow together, those that grow most first; twice, so that the cache is warm as far as
    // it survives.
    auto cases = all_cases;
    if (v.tight) {
      std::erase_if(cases, [](const GoldenCase& c) { return c.prompt.size() + c.output.size() > kShort; });
      std::stable_sort(cases.begin(), cases.end(), [](const GoldenCase& a, const GoldenCase& b) { return a.output.size() > b.output.size(); });
      cases.reserve(2 * cases.size());
      cases.insert(cases.end(), cases.begin(), cases.end());
    }
    EngineConfig config = float32(GetParam());
    config.chunked_prefill_size = v.chunk, config.page_size = v.page, config.pipeline_depth = v.depth, config.disable_radix_cache = !v.cache;
    config.max_running_requests = 16;
    if (v.tight) {
      size_t longest = 0;
      for (const GoldenCase& c : cases) longest = std::max(longest, c.prompt.size() + c.output.size());
      config.kv_memory_bytes = tight_memory(config, longest + 2 * size_t(v.page));
    }
    auto engine = start(config);
    ASSERT_TRUE(engine);
    std::vector<std::shared_ptr<Collector>> sinks;
    for (const auto& c : cases) sinks.push_back(send(*engine, c, eos));
    for (size_t i = 0; i < cases.size(); i++) expect_golden(cases[i], sinks[i]->wait(), v.name);
    if (v.tight) {
      EXPECT_GT(engine->stats().preemptions, 0u) << v.name;
    }
  }
}

// The same on the first OpenCL device (XYLEM_OPENCL=N: another one), here usually PoCL, which takes some milliseconds a step:
// a few short cases, or with XYLEM_OPENCL_ALL all of them, then all again with a warm cache.
TEST_P(GoldenTest, OnOpenCl) {
  const char *wanted = std::getenv("XYLEM_OPENCL"), *all = std::getenv("XYLEM_OPENCL_ALL");
  if (opencl_devices().empty()) GTEST_SKIP() << "there is no OpenCL device";
  std::vector<TokenId> eos;
  auto cases = load_cases(GetParam(), Which::kText, &eos);
  if (!all) {  // a prompt of more than one chunk is among them
    std::stable_sort(cases.begin(), cases.end(), [](const GoldenCase& a, const GoldenCase& b) { return a.output.size() < b.output.size(); });
    cases.resize(std::min<size_t>(cases.size(), 3));
  }
  EngineConfig config = float32(GetParam());
  config.device = std::string("opencl:") + (wanted ? wanted : "0"), config.page_size = 16, config.chunked_prefill_size = 64, config.max_running_requests = 16;
  auto engine = start(config);
  ASSERT_TRUE(engine);
  for (int round = 0; round < (all ? 2 : 1); round++) {
    std::vector<std::shared_ptr<Collector>> sinks;
    for (const auto& c : cases) sinks.push_back(send(*engine, c, eos));
    for (size_t i = 0; i < cases.size(); i++) expect_golden(cases[i], sinks[i]->wait(), "opencl");
  }
}

// Hidden states of every layer against the recorded ones.
struct Tap : HiddenTap {
  std::map<int, std::vector<float>> states;
  void on_hidden(int i, const Tensor& x) override {
    auto& v = states[i];
    for (int64_t r = 0; r < x.rows(); r++) v.insert(v.end(), x.row(r), x.row(r) + x.cols());
  }
};

TEST_P(GoldenTest, HiddenStatesOfEveryLayer) {
  auto loaded = load_engine(float32(GetParam()));
  ASSERT_TRUE(loaded.ok()) << loaded.error().text;
  auto file = MappedFile::open(GetParam().data + "/hidden.safetensors");
  ASSERT_TRUE(file.ok());
  auto tensors = parse_safetensors(**file);
  ASSERT_TRUE(tensors.ok());
  const StoredTensor& ids = tensors->at("word.input_ids");
  const int n = int(ids.shape.at(0));
  std::vector<TokenId> prompt(static_cast<size_t>(n));
  std::memcpy(prompt.data(), ids.data, size_t(n) * 4);
  GenerateRequest request;
  request.id = 1, request.prompt = prompt, request.prompt_logprobs_from = 0;
  loaded->sched->submit({1, prompt, 1, 0, {}, 0, 0, 0});
  std::vector<Event> events;
  const StepPlan plan = loaded->sched->plan(&events);
  ASSERT_EQ(plan.rows.size(), 1u);
  ASSERT_EQ(plan.rows[0].count, n);  // one chunk
  StepSlab slab(loaded->runner->device(), loaded->limits, loaded->runner->model().caches());
  BatchBuilder builder(loaded->limits, loaded->runner->model().caches(), loaded->runner->token_pool());
  builder.build(plan, *loaded->sched, [&](RequestId) -> const GenerateRequest& { return request; }, slab);
  Tap tap;
  loaded->runner->set_tap(&tap);
  ASSERT_TRUE(loaded->runner->run(slab).ok());
  int layers = 0;
  for (; tensors->count("word.hidden." + std::to_string(layers)); layers++) {
    const StoredTensor& want = tensors->at("word.hidden." + std::to_string(layers));
    const auto& got = tap.states[layers];
    ASSERT_EQ(got.size() * 4, size_t(want.bytes)) << "layer " << layers;
    double err = 0, ref = 0;
    for (size_t i = 0; i < got.size(); i++) {
      float w;
      std::memcpy(&w, want.data + i * 4, 4);
      err += (double(got[i]) - w) * (double(got[i]) - w), ref += double(w) * w;
    }
    EXPECT_LT(std::sqrt(err / ref), 1e-3) << "layer " << layers;
  }
  EXPECT_GT(layers, 3);
}

}  // namespace
}  // namespace xylem
