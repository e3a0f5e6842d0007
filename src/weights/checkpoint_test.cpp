#include "weights/checkpoint.h"

#include <random>

#include "weights/loader.h"
#include "weights/safetensors.h"
#include "weights/test_checkpoint.h"

namespace xylem {
namespace {

using testing::FakeModel;
using testing::FileBuilder;
using testing::TempDir;

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

std::string config_error(const std::string& json) {
  const TempDir dir;
  dir.write("config.json", json);
  const auto config = load_config(dir.path());
  return config.ok() ? "" : config.error().text;
}

TEST(Config, SaysWhatAFolderLacks) {
  EXPECT_PRED2(has, load_config("/no/such/folder").error().text, "/no/such/folder: there is no such folder");
  const TempDir dir;
  EXPECT_PRED2(has, load_config(dir.path()).error().text, "lacks config.json, model.safetensors or model.safetensors.index.json, tokenizer.json");
  dir.write("model.safetensors", "x");
  EXPECT_PRED2(has, load_config(dir.path()).error().text, "lacks config.json, tokenizer.json");
  EXPECT_PRED2(has, load_config(dir.file("model.safetensors")).error().text, "is a file");
  dir.write("config.json", R"({"model_type":"x"})");
  auto config = load_config(dir.path());
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->text_or("model_type", ""), "x");
}

TEST(Config, SaysWhereTheJsonIsWrong) {
  EXPECT_PRED2(has, config_error("{\"a\": 1,\n \"b\": }"), "line 2, column 7");
  EXPECT_PRED2(has, config_error(""), "is not valid JSON");
  EXPECT_PRED2(has, config_error("[1]"), "is not a JSON object");
  EXPECT_PRED2(has, config_error("{\"a\":\"\xff\"}"), "is not valid JSON");
  EXPECT_PRED2(has, config_error("{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}"), "nested too deeply");
}

TEST(Config, RefusesQuantisedWeightsByName) {
  const std::string error = config_error(R"({"quantization_config":{"quant_method":"gptq"}})");
  EXPECT_PRED2(has, error, "method 'gptq'");
  EXPECT_PRED2(has, error, "bfloat16, float16 and float32");
  EXPECT_PRED2(has, error, "'mxfp4'");
  EXPECT_PRED2(has, error, "'fp8'");
  EXPECT_PRED2(has, config_error(R"({"text_config":{"quantization_config":{"quant_method":"awq"}}})"), "method 'awq'");
  EXPECT_PRED2(has, config_error(R"({"compression_config":{"quant_method":"compressed-tensors"}})"), "method 'compressed-tensors'");
  EXPECT_PRED2(has, config_error(R"({"quantization_config":{"bits":4}})"), "method 'unknown'");
  EXPECT_PRED2(has, config_error(R"({"quantization_config":[1]})"), "method 'unknown'");
  EXPECT_EQ(config_error(R"({"quantization_config":null,"text_config":null})"), "");
}

TEST(Config, AcceptsTheQuantisationsThatLoad) {
  EXPECT_EQ(config_error(R"({"quantization_config":{"quant_method":"mxfp4","modules_to_not_convert":["lm_head"]}})"), "");
  EXPECT_EQ(config_error(R"({"text_config":{"quantization_config":{"quant_method":"fp8","fmt":"e4m3","weight_block_size":[128,128],"activation_scheme":"dynamic"}}})"), "");
  EXPECT_EQ(config_error(R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[128,128],"scale_fmt":"ue8m0"}})"), "");
  EXPECT_PRED2(has, config_error(R"({"quantization_config":{"quant_method":"fp8"}})"), "weight_block_size missing");
  EXPECT_PRED2(has, config_error(R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[64,128]}})"), "weight_block_size [64,128]");
  EXPECT_PRED2(has, config_error(R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[128,128],"fmt":"e5m2"}})"), "format \"e5m2\"");
  EXPECT_PRED2(has, config_error(R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[128,128],"activation_scheme":"static"}})"), "activation_scheme \"static\"");
  const auto type = [](const char* text) { return quantised_type(Config(nlohmann::json::parse(text))); };
  EXPECT_EQ(type(R"({"quantization_config":{"quant_method":"mxfp4"}})"), DType::kMxfp4);
  EXPECT_EQ(type(R"({"text_config":{"quantization_config":{"quant_method":"fp8"}}})"), DType::kF8E4M3);
  EXPECT_EQ(type(R"({"quantization_config":{"quant_method":7}})"), DType::kBF16);
  EXPECT_EQ(type("[]"), DType::kBF16);
}

TEST(Config, FuzzedTextNeverCrashes) {
  const std::string good = R"({"architectures":["X"],"text_config":{"n":1,"quantization_config":null},"quantization_config":{"quant_method":"x"}})";
  std::mt19937 random(3);
  const TempDir dir;
  for (int round = 0; round < 3000; round++) {
    std::string s = good;
    for (int edits = 0; edits < 3; edits++) s[random() % s.size()] = "{}[]\",:0a\\\xff"[random() % 11];
    dir.write("config.json", s);
    const auto config = load_config(dir.path());
    ASSERT_TRUE(config.ok() || !config.error().text.empty());
  }
}

TEST(Summary, CountsFromHeaders) {
  const TempDir dir;
  dir.write("model.safetensors", FileBuilder().add("w", "BF16", {32, 4}, 1).add("head", "BF16", {32, 4}, 1).add("t", "F16", {10, 2}, 1).add("v.a", "F32", {3}, 1).add("dead", "I8", {7}, 1).aligned_bytes());
  Tensor w, h, t;
  FakeModel m([&](ParamList& p) { p.matrix("w", w, 32, 4), p.tied("/head", h, 32, 4, w), p.table("t", t, 10, 2); });
  m.unused_labels = {{"v.", "vision"}};
  m.layout.kv(2, 8);
  m.layout.kv(2, 8);
  m.layout.window_kv(1, 8, 100);
  m.layout.state(1000);
  auto s = summarize_checkpoint(dir.path(), m, 1000);
  ASSERT_TRUE(s.ok()) << s.error().text;
  EXPECT_TRUE(s->has_weights);
  EXPECT_EQ(s->tensors, 5);
  EXPECT_EQ(s->dtypes["BF16"].bytes, 512);
  EXPECT_EQ(s->dtypes["I8"].tensors, 1);
  EXPECT_EQ(s->groups["model"].tensors, 3);
  EXPECT_EQ(s->groups["vision"].bytes, 12);
  EXPECT_EQ(s->groups["unused"].bytes, 7);
  EXPECT_EQ(s->parameters, 148);
  EXPECT_EQ(s->weight_bytes, 256) << "a head saved beside the matrix it is tied to counts once";
  EXPECT_EQ(s->mapped_bytes, 40);
  EXPECT_EQ(s->cache_bytes_per_token, 2 * 64 + 32);
  EXPECT_EQ(s->cache_bytes_per_sequence, 128 * 1000 + 32 * 100 + 1000);
  EXPECT_FALSE(w) << "nothing is loaded";
}

TEST(Summary, WorksWithoutWeights) {
  const TempDir dir;
  dir.write("config.json", "{}");
  Tensor w;
  FakeModel m([&](ParamList& p) { p.matrix("w", w, 16, 4); });
  auto s = summarize_checkpoint(dir.path(), m, 0);
  ASSERT_TRUE(s.ok()) << s.error().text;
  EXPECT_FALSE(s->has_weights);
  EXPECT_EQ(s->weight_bytes, 128);
  EXPECT_EQ(s->context_tokens, 4096);
}

TEST(Summary, CountsQuantisedWeights) {
  const TempDir dir;
  Tensor w, x, v;
  FakeModel m([&](ParamList& p) { p.matrix("w", w, 128, 256), p.experts("x", x, 2, 128, 64, {}), p.vector("v", v, 16); });
  const int64_t f8 = 128 * 256 + 8 * 2 * 64, mx = 2 * 128 * 64 / 2 + 2 * 8 * 64;
  dir.write("config.json", R"({"quantization_config":{"quant_method":"mxfp4"}})");
  auto s = summarize_checkpoint(dir.path(), m, 0);
  ASSERT_TRUE(s.ok()) << s.error().text;
  EXPECT_EQ(s->weight_bytes, 128 * 256 * 2 + mx + 64);
  dir.write("config.json", R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[128,128]}})");
  s = summarize_checkpoint(dir.path(), m, 0);
  ASSERT_TRUE(s.ok()) << s.error().text;
  EXPECT_EQ(s->weight_bytes, f8 + 2 * 128 * 64 * 2 + 64) << "experts of 64 inputs are smaller than a block";
  dir.write("model.safetensors", FileBuilder().add_bytes("w", "F8_E4M3", {128, 256}, std::string(128 * 256, 1)).add("w_scale_inv", "F32", {1, 2}, 1)
      .add_bytes("x_blocks", "U8", {2, 128, 2, 16}, std::string(2 * 128 * 32, 1)).add_bytes("x_scales", "U8", {2, 128, 2}, std::string(512, 1)).add("v", "BF16", {16}, 1).aligned_bytes());
  s = summarize_checkpoint(dir.path(), m, 0);
  ASSERT_TRUE(s.ok()) << s.error().text;
  EXPECT_EQ(s->weight_bytes, f8 + mx + 64);
  EXPECT_EQ(s->dtypes["F8_E4M3"].bytes, 128 * 256);
  EXPECT_EQ(s->dtypes["U8"].tensors, 2);
  EXPECT_EQ(s->groups["model"].tensors, 5) << "scales belong to the model";
  EXPECT_EQ(s->parameters, 128 * 256 + 2 * 128 * 64 + 16);
}

// Every model's own small configs, with random weights: all tensors get memory of the declared shape.
TEST(Models, LoadRandomWeights) {
  ASSERT_FALSE(model_registry().empty());
  for (const ModelEntry& entry : model_registry()) {
    for (const std::string& json : entry.tiny_configs) {
      auto model = make_model(Config(nlohmann::json::parse(json)), {});
      ASSERT_TRUE(model.ok()) << model.error().text;
      CpuDevice device(1, Isa::kScalar);
      LoadOptions options;
      options.dummy = true;
      options.dummy_type = quantised_type(Config(nlohmann::json::parse(json)));
      auto weights = load_weights("", **model, device, options);
      ASSERT_TRUE(weights.ok()) << weights.error().text;
      for (const Param& p : (*model)->params()) {
        ASSERT_TRUE(p.tensor && *p.tensor) << p.name;
        for (size_t i = 0; i < p.shape.size(); i++) EXPECT_EQ(p.tensor->dim[i], p.shape[i]) << p.name;
      }
    }
  }
}

// The demo checkpoint of the repository: each matrix of the model against the bytes of the file.
TEST(Models, DemoEqualsItsFile) {
  const std::string folder = std::string(XYLEM_SOURCE_DIR) + "/models/demo";
  auto config = load_config(folder);
  ASSERT_TRUE(config.ok()) << config.error().text;
  auto model = make_model(*config, {});
  ASSERT_TRUE(model.ok()) << model.error().text;
  CpuDevice device(2, Isa::kScalar);
  auto weights = load_weights(folder, **model, device, {});
  ASSERT_TRUE(weights.ok()) << weights.error().text;
  auto files = TensorFiles::open(folder);
  ASSERT_TRUE(files.ok());
  const std::string prefix = "model.language_model.";
  int checked = 0;
  for (const Param& p : (*model)->params()) {
    if (p.kind == Param::Kind::kConstant || p.kind == Param::Kind::kTied) continue;
    std::vector<Param::Part> parts = p.parts;
    if (files->find(prefix + p.name)) parts = {{p.name, p.shape[0]}};
    int64_t row = 0;
    const int64_t cols = p.shape.size() > 1 ? p.shape[1] : 1;
    for (const auto& part : parts) {
      const StoredTensor* t = files->find(prefix + part.name);
      ASSERT_TRUE(t) << part.name;
      for (int64_t i = 0; i < part.rows * cols; i++) {
        const float want = load_f32(t->data, i, *t->type) * p.scale;
        const float got = cols > 1 ? testing::element(*p.tensor, 0, row + i / cols, i % cols) : p.tensor->as<>()[i];
        ASSERT_EQ(got, want) << part.name << " element " << i;
      }
      row += part.rows;
      checked++;
    }
  }
  EXPECT_GT(checked, 100);
}

}  // namespace
}  // namespace xylem
