// Engines on an OpenCL device that fails, lacks memory or lacks kernels.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "device/opencl/fault_injection.h"
#include "device/opencl/opencl_device.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "runtime/choose_device.h"
#include "runtime/collector.h"
#include "runtime/load.h"

namespace xylem {
namespace {

// A checkpoint of some sizes, for random weights.
struct Folder {
  explicit Folder(const std::string& sizes) : path(std::filesystem::temp_directory_path() / ("xylem_sizes_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path);
    std::ofstream(path / "config.json") << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", )" << sizes
                                        << R"("max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000})";
  }
  ~Folder() { std::filesystem::remove_all(path); }
  const std::filesystem::path path;
};

class DeviceFailure : public testing::Test {
 protected:
  void SetUp() override {
    if (opencl_devices().empty()) GTEST_SKIP() << "there is no OpenCL device";
  }
  void TearDown() override {
    OpenClFaults& f = opencl_faults();
    f.fail_after = -1, f.fail_copies = f.lose = f.lost = f.no_driver = f.no_svm = false, f.memory_bytes = f.max_alloc_bytes = 0;
  }
  static EngineConfig config(const std::string& device = "opencl:0") {
    EngineConfig c;
    c.model = XYLEM_SOURCE_DIR "/models/demo", c.dtype = "float32", c.threads = 2, c.progress = false, c.device = device;
    c.kv_memory_bytes = int64_t(64) << 20, c.page_size = 16, c.chunked_prefill_size = 64, c.max_running_requests = 16;
    return c;
  }
  static std::unique_ptr<Engine> start(const EngineConfig& c) {
    auto e = Engine::create(c);
    EXPECT_TRUE(e.ok()) << (e.ok() ? "" : e.error().text);
    return e.ok() ? std::move(*e) : nullptr;
  }
  static std::string start_error(const EngineConfig& c) {
    const auto e = Engine::create(c);
    EXPECT_FALSE(e.ok());
    return e.ok() ? "" : e.error().text;
  }
  static std::shared_ptr<Collector> send(Engine& e, int prompt_tokens, int new_tokens) {
    GenerateRequest r;
    r.id = e.next_id(), r.sampling.temperature = 0, r.max_new_tokens = new_tokens;
    for (int i = 0; i < prompt_tokens; i++) r.prompt.push_back(TokenId(10 + i % 50));
    auto sink = std::make_shared<Collector>();
    const Status s = e.submit(std::move(r), sink);
    EXPECT_TRUE(s.ok()) << s.error().text;
    return sink;
  }
  static std::vector<TokenId> answer(Engine& e) {
    const Collector::All all = send(e, 20, 8)->wait();
    EXPECT_EQ(all.finish, Finish::kLength) << all.error.text;
    return all.tokens;
  }
  static void expect_failed(const Collector::All& all, const char* part) {
    EXPECT_EQ(all.finish, Finish::kError);
    EXPECT_NE(all.error.text.find(part), std::string::npos) << all.error.text;
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }
};

TEST_F(DeviceFailure, AFailedAllocationEndsTheRequestsOfItsStepAndNoOthers) {
  for (const int depth : {1, 2}) {
    EngineConfig c = config();
    c.pipeline_depth = depth;
    auto e = start(c);
    ASSERT_TRUE(e);
    const std::vector<TokenId> want = answer(*e);
    EXPECT_TRUE(e->health().ok);
    auto a = send(*e, 20, 400), b = send(*e, 30, 400);
    while (a->next().token < 0) {}
    while (b->next().token < 0) {}
    opencl_faults().code = CL_MEM_OBJECT_ALLOCATION_FAILURE, opencl_faults().fail_count = 1, opencl_faults().fail_copies = true, opencl_faults().fail_after = 10;
    expect_failed(a->wait(), "OpenCL error -4");
    expect_failed(b->wait(), "OpenCL error -4");
    EXPECT_EQ(answer(*e), want) << "depth " << depth;  // nothing of what failed is in the cache
    const EngineHealth h = e->health();
    EXPECT_TRUE(h.ok && !h.lost) << h.text;
    EXPECT_GE(e->stats().failed_steps, 1u);
    EXPECT_LE(e->stats().failed_steps, uint64_t(depth));
  }
}

TEST_F(DeviceFailure, UnhealthyUntilAStepSucceeds) {
  auto e = start(config());
  ASSERT_TRUE(e);
  opencl_faults().code = CL_OUT_OF_RESOURCES, opencl_faults().fail_count = 1, opencl_faults().fail_after = 3;
  expect_failed(send(*e, 200, 4)->wait(), "OpenCL error -5");  // in its first chunk, which samples nothing
  const EngineHealth h = e->health();
  EXPECT_FALSE(h.ok);
  EXPECT_FALSE(h.lost);
  EXPECT_TRUE(has(h.text, "OpenCL error -5")) << h.text;
  answer(*e);
  EXPECT_TRUE(e->health().ok);
}

TEST_F(DeviceFailure, AnyCallOfAStepMayFail) {
  auto e = start(config());
  ASSERT_TRUE(e);
  const std::vector<TokenId> want = answer(*e);
  opencl_faults().code = CL_OUT_OF_RESOURCES, opencl_faults().fail_count = 1, opencl_faults().fail_copies = true;
  for (const int calls : {0, 2, 4, 6, 20, 100}) {  // copies first, then launches
    opencl_faults().fail_after = calls;
    expect_failed(send(*e, 20, 8)->wait(), "OpenCL error -5");
    EXPECT_EQ(answer(*e), want) << "call " << calls << ": nothing that did not arrive is taken for there";
  }
}

// An image's request ends with an error of its own, wherever its encoding or its steps fail, and nothing wrong is kept of it.
TEST_F(DeviceFailure, AnyCallForAnImageMayFail) {
  auto processor = ImageProcessor::load(config().model, {});
  ASSERT_TRUE(processor.ok() && *processor);
  Image picture{40, 30, std::vector<uint8_t>(40 * 30 * 3)};
  for (size_t i = 0; i < picture.rgb.size(); i++) picture.rgb[i] = uint8_t(i * 7);
  const auto patches = (*processor)->process(picture);
  ASSERT_TRUE(patches.ok());
  const std::vector<std::shared_ptr<const ImagePatches>> images{std::make_shared<const ImagePatches>(*patches)};
  const TokenId placeholder[] = {(*processor)->placeholder()};
  const auto prompt = (*processor)->expand(placeholder, images);
  ASSERT_TRUE(prompt.ok());
  const auto ask = [&](Engine& e) {
    GenerateRequest r;
    r.id = e.next_id(), r.sampling.temperature = 0, r.max_new_tokens = 8, r.prompt = prompt->ids, r.images = {{prompt->first_token[0], images[0]}};
    auto sink = std::make_shared<Collector>();
    EXPECT_TRUE(e.submit(std::move(r), sink).ok());
    return sink->wait();
  };
  std::vector<TokenId> want;
  for (const int depth : {1, 2})
    for (const int calls : {0, 1, 5, 12, 40, 90, 200}) {
      EngineConfig c = config();
      c.pipeline_depth = depth;
      auto e = start(c);
      ASSERT_TRUE(e);
      opencl_faults().code = CL_OUT_OF_RESOURCES, opencl_faults().fail_count = 1, opencl_faults().fail_copies = true, opencl_faults().fail_after = calls;
      expect_failed(ask(*e), "OpenCL error -5");
      const Collector::All got = ask(*e);
      EXPECT_EQ(got.tokens.size(), 8u) << got.error.text;
      if (want.empty()) want = got.tokens;
      EXPECT_EQ(got.tokens, want) << "depth " << depth << ", call " << calls;
      EXPECT_TRUE(e->health().ok);
    }
}

TEST_F(DeviceFailure, ALostDeviceEndsEverything) {
  for (const int depth : {1, 2}) {
    EngineConfig c = config();
    c.pipeline_depth = depth, c.max_running_requests = 2;
    auto e = start(c);
    ASSERT_TRUE(e);
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < 5; i++) sinks.push_back(send(*e, 20 + i, 400));  // three of them wait
    while (sinks[0]->next().token < 0) {}
    opencl_faults().code = -9999, opencl_faults().lose = true, opencl_faults().fail_after = 10;
    for (const auto& s : sinks) expect_failed(s->wait(), "-9999");
    const EngineHealth h = e->health();
    EXPECT_TRUE(h.lost);
    EXPECT_TRUE(has(h.text, "lost")) << h.text;
    GenerateRequest r;
    r.id = e->next_id(), r.prompt = {5}, r.max_new_tokens = 1;
    const Status s = e->submit(std::move(r), std::make_shared<Collector>());
    ASSERT_FALSE(s.ok());
    EXPECT_EQ(s.error().code, Code::kUnavailable);
    TearDown();
  }
}

TEST_F(DeviceFailure, TooLittleMemoryIsRefusedWithATable) {
  opencl_faults().memory_bytes = 80 << 20;
  const std::string text = start_error(config());
  for (const char* part : {"weights: matrices", "weights: vectors", "activations", "working memory of kernels", "inputs of steps", "KV cache", "64.0 MiB", "--kv-memory", "80.0 MiB", "72.0 MiB"})
    EXPECT_TRUE(has(text, part)) << part << " in\n" << text;
  EngineConfig c = config();
  c.kv_memory_bytes = int64_t(16) << 20;
  auto e = start(c);
  ASSERT_TRUE(e);
  c.kv_memory_bytes = 0;  // chosen: what is left
  e = start(c);
  ASSERT_TRUE(e);
  EXPECT_LT(e->info().kv_bytes, 60 << 20);
  opencl_faults().memory_bytes = 4 << 20;
  EXPECT_TRUE(has(start_error(config()), "smaller model"));
}

TEST_F(DeviceFailure, WeightsAndCacheComeInPiecesThatTheDriverGives) {
  const Folder folder(R"("hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 96,)");
  EngineConfig c = config("cpu");
  c.model = folder.path, c.load_format = "dummy";
  const std::vector<TokenId> want = answer(*start(c));
  opencl_faults().max_alloc_bytes = 4 << 20;
  c.device = "opencl:0";
  auto e = start(c);
  ASSERT_TRUE(e);
  EXPECT_GT(e->info().weight_bytes, 3 * (4 << 20));
  EXPECT_LE(e->info().kv_bytes, 4 << 20);
  EXPECT_GT(e->info().kv_bytes, 3 << 20);
  EXPECT_EQ(answer(*e), want);
  opencl_faults().max_alloc_bytes = 1 << 20;
  EXPECT_TRUE(has(start_error(c), "gate_up_proj.weight takes 2.0 MiB in one piece")) << start_error(c);
}

// Takes the kernels of an op away from OpenCL devices.
template <class A>
class Without {
 public:
  Without() : all_(Kernel<A>::all()) {
    std::erase_if(Kernel<A>::all(), [](const Kernel<A>* k) { return k->dev == Dev::kOpenCl && k->name != std::string_view(kHostKernel); });
  }
  ~Without() { Kernel<A>::all() = all_; }

 private:
  const std::vector<const Kernel<A>*> all_;
};

TEST_F(DeviceFailure, MissingKernelsAreNamedOrRunOnTheCpu) {
  const std::vector<TokenId> want = answer(*start(config("cpu")));
  const Without<RmsNorm> no_norm;
  const Without<RopeTable> no_rope;
  const std::string text = start_error(config());
  for (const char* part : {"rms_norm of [", "rope_table", "--allow-fallback"}) EXPECT_TRUE(has(text, part)) << text;
  EXPECT_FALSE(has(text, "matmul"));
  EngineConfig c = config();
  c.allow_fallback = true;
  auto e = start(c);
  ASSERT_TRUE(e);
  EXPECT_EQ(e->info().fallback_ops, (std::vector<std::string>{"rms_norm", "rope_table"}));
  EXPECT_EQ(answer(*e), want);
}

TEST_F(DeviceFailure, WhatAFamilyCannotDoOnADeviceIsRefusedAtStart) {
  const Folder folder(R"("hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 600000,)");
  EngineConfig c = config();
  c.model = folder.path, c.load_format = "dummy";
  const std::string text = start_error(c);
  for (const char* part : {"sample of [", "600000", "takes vocabularies of at most 524288"}) EXPECT_TRUE(has(text, part)) << text;
}

TEST_F(DeviceFailure, DevicesThatAreNotThereAreNamed) {
  const std::string there = opencl_devices().front().name;
  for (const char* wanted : {"opencl:99", "opencl:", "opencl:0x", "opencl:-1", "gpu"}) {
    const auto d = choose_device(wanted);
    ASSERT_FALSE(d.ok()) << wanted;
    EXPECT_TRUE(has(d.error().text, there)) << d.error().text;
  }
  opencl_faults().no_svm = true;
  auto d = choose_device("opencl:0");
  if (!opencl_devices().front().usm) {
    ASSERT_FALSE(d.ok());
    EXPECT_TRUE(has(d.error().text, there) && has(d.error().text, "shared virtual memory")) << d.error().text;
  }
  opencl_faults().no_driver = true;
  for (const char* wanted : {"opencl:0", "xpu"}) {
    d = choose_device(wanted);
    ASSERT_FALSE(d.ok());
    EXPECT_TRUE(has(d.error().text, "intel-opencl-icd")) << d.error().text;
  }
  d = choose_device("auto");
  ASSERT_TRUE(d.ok());
  EXPECT_FALSE(d->device);
}

}  // namespace
}  // namespace xylem
