// What the models make of configs: every setting that is wrong is an error that names it, before anything is allocated.
#include <gtest/gtest.h>

#include <algorithm>

#include "nn/model.h"

namespace xylem {
namespace {

using nlohmann::json;

// The first tiny config of a model type, changed. An empty string stands for a model that was made.
std::string error_of(const std::string& type, const json& change) {
  for (const ModelEntry& e : model_registry()) {
    if (e.model_types[0] != type) continue;
    json c = json::parse(e.tiny_configs.at(0));
    c["architectures"] = e.architectures;
    c.update(change);
    auto made = make_model(Config(c), {});
    return made.ok() ? "" : made.error().text;
  }
  return "no such model";
}

struct Wrong { std::string type, change, error; };

TEST(ModelsConfig, WrongSettingsAreNamed) {
  const std::vector<Wrong> cases = {
      {"llama", R"({"num_attention_heads": 5})", "num_attention_heads 5 is not a multiple of num_key_value_heads 2"},
      {"llama", R"({"num_attention_heads": 100})", "hidden_size 48 is too small for num_attention_heads 100"},
      {"llama", R"({"hidden_size": 54})", "rotates 9 of the 9 dimensions"},
      {"llama", R"({"mlp_bias": true})", "mlp_bias"},
      {"llama", R"({"hidden_size": 1000000000000})", "'hidden_size' is 1000000000000"},
      {"llama", R"({"num_hidden_layers": 5000})", "'num_hidden_layers' is 5000"},
      {"llama", R"({"rope_scaling": {"rope_type": "dynamic", "factor": 2}})", "rope_type 'dynamic' is not supported"},
      {"llama", R"({"rope_scaling": {"type": "longrope"}})", "rope_type 'longrope' is not supported"},
      {"llama", R"({"rope_scaling": {"rope_type": "llama3", "factor": 8}})", "'low_freq_factor' is missing"},
      {"llama", R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4, "original_max_position_embeddings": 64}})", "high_freq_factor"},
      {"llama", R"({"rope_parameters": [1]})", "'rope_parameters' is not an object"},
      {"llama", R"({"rope_theta": 1, "rope_scaling": null})", "rope_theta must be larger than 1"},
      {"llama", R"({"rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 0}})", "original_max_position_embeddings positive"},
      {"llama", R"({"rope_scaling": {"rope_type": "yarn", "factor": 4, "beta_fast": 1, "beta_slow": 1}})", "beta_fast"},
      {"mistral", R"({"head_dim": 23})", "rotates 23 of the 23 dimensions"},
      {"mistral", R"({"sliding_window": 0})", "'sliding_window' is 0"},
      {"qwen2", R"({"layer_types": ["full_attention"]})", "layer_types has 1 entries for num_hidden_layers 3"},
      {"qwen2", R"({"layer_types": []})", "layer_types has 0 entries"},
      {"qwen3", R"({"layer_types": ["full_attention", "full_attention", "chunked_attention"]})", "layer_types holds 'chunked_attention'"},
      {"qwen3_moe", R"({"num_experts_per_tok": 7})", "'num_experts_per_tok' is 7, expected an integer from 1 to 6"},
      {"qwen3_moe", R"({"mlp_only_layers": "x"})", "'mlp_only_layers' is not a list of integers"},
      {"gemma3_text", R"({"layer_types": ["full_attention"]})", "layer_types has 1 entries for num_hidden_layers 4"},
      {"gemma3_text", R"({"rope_local_base_freq": 0})", "rope_local_base_freq must be larger than 1"},
      {"gemma3_text", R"({"query_pre_attn_scalar": -1})", "query_pre_attn_scalar"},
      {"qwen3_5", R"({"linear_num_value_heads": 3})", "linear_num_value_heads 3 is not a multiple of linear_num_key_heads 2"},
      {"qwen3_5", R"({"rope_parameters": {"rope_theta": 10000, "partial_rotary_factor": 0.01}})", "rotates 0 of the 16 dimensions"},
      {"qwen3_5_moe", R"({"layer_types": ["linear_attention", "full_attention", "sliding_attention"]})", "layer_types holds 'sliding_attention'"},
      {"gpt_oss", R"({"num_experts_per_tok": 7})", "'num_experts_per_tok' is 7"},
      {"gpt_oss", R"({"head_dim": 2000})", "'head_dim' is 2000"},
      {"deepseek_v2", R"({"n_group": 4})", "n_group 4, topk_group 2 and num_experts_per_tok 2 do not fit 6 experts"},
      {"deepseek_v2", R"({"qk_rope_head_dim": 11})", "qk_rope_head_dim 11 is odd"},
      {"deepseek_v3", R"({"topk_group": 5})", "topk_group 5"},
      {"deepseek_v3", R"({"topk_method": "greedy"})", "topk_method 'greedy' is not supported"},
      {"deepseek_v3", R"({"scoring_func": "softmax"})", "scoring_func 'softmax' is not supported"},
      {"kimi_linear", R"({"linear_attn_config": {"kda_layers": [0, 1]}})", "kda_layers holds 0, expected 1 to 4"},
      {"kimi_linear", R"({"linear_attn_config": {"kda_layers": [1, 5]}})", "kda_layers holds 5"},
      {"kimi_linear", R"({"linear_attn_config": {"kda_layers": [1, 2], "full_attn_layers": [2]}})", "do not share out the layers"},
      {"kimi_linear", R"({"linear_attn_config": {}})", "says which layers are linear"},
      {"kimi_linear", R"({"num_expert_group": 4})", "num_expert_group"},
      {"kimi_linear", R"({"mla_use_nope": false})", "mla_use_nope false is not supported"},
  };
  for (const Wrong& w : cases) {
    const std::string error = error_of(w.type, json::parse(w.change));
    EXPECT_NE(error.find(w.error), std::string::npos) << w.type << " " << w.change << ": " << (error.empty() ? "no error" : error);
    EXPECT_EQ(error.find('\n'), std::string::npos) << w.type << " " << w.change;
  }
}

// Windows in tokens of the cache groups, in the order of the layers that first use them.
std::vector<int> windows(const std::string& type, const json& change) {
  for (const ModelEntry& e : model_registry()) {
    if (e.model_types[0] != type) continue;
    json c = json::parse(e.tiny_configs.at(0));
    c.update(change);
    auto made = make_model(Config(c), {});
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().text);
    std::vector<int> list;
    if (made.ok())
      for (const CacheGroup& g : (*made)->caches().groups()) list.push_back(int(g.window_tokens) * 100 + int(g.layers));
    std::sort(list.begin(), list.end());
    return list;
  }
  return {};
}

TEST(ModelsConfig, WindowsAreForTheLayersOfTheFamily) {  // window * 100 + layers
  const std::vector<int> none = {3}, all = {4003}, last = {1, 4002};
  EXPECT_EQ(windows("llama", {{"sliding_window", 40}}), none);
  EXPECT_EQ(windows("mistral", {{"sliding_window", 40}}), all);
  EXPECT_EQ(windows("mistral", {{"sliding_window", nullptr}}), none);
  EXPECT_EQ(windows("qwen2", {{"sliding_window", 40}, {"use_sliding_window", false}}), none);
  EXPECT_EQ(windows("qwen2", {{"sliding_window", 40}, {"max_window_layers", 1}}), last);
  EXPECT_EQ(windows("qwen3", {{"sliding_window", 40}, {"use_sliding_window", true}}), none);  // from layer 28 on
  EXPECT_EQ(windows("qwen3", {{"sliding_window", 40}, {"use_sliding_window", true}, {"layer_types", {"sliding_attention", "full_attention", "sliding_attention"}}}), last);
  EXPECT_EQ(windows("qwen3_moe", {{"sliding_window", 40}, {"max_window_layers", 2}}), none);
  EXPECT_EQ(windows("qwen3_moe", {{"sliding_window", 40}, {"max_window_layers", 2}, {"use_sliding_window", true}}), all);
}

TEST(ModelsConfig, AQuarterOfAHeadOfQwen35RotatesByDefault) {
  for (const ModelEntry& e : model_registry()) {
    if (e.model_types[0] != "qwen3_5") continue;
    json c = json::parse(e.tiny_configs.at(0));
    c["rope_parameters"].erase("partial_rotary_factor");
    auto made = make_model(Config(c), {});
    ASSERT_TRUE(made.ok());
    for (const Param& p : (*made)->params())
      if (p.name == "rope") {
        EXPECT_EQ(p.constant.size(), 2u);  // pairs of a head of 16
      }
  }
}

TEST(ModelsConfig, AConfigWithoutArchitecturesGoesByItsModelType) {
  for (const json& names : {json(nullptr), json::array()}) {
    EXPECT_EQ(error_of("llama", {{"architectures", names}}), "");
    EXPECT_EQ(architecture_of(Config(json{{"model_type", "llama"}, {"architectures", names}})), "llama");
  }
  EXPECT_EQ(architecture_of(Config(json{{"model_type", "llama"}, {"architectures", json::array({"LlamaForCausalLM"})}})), "LlamaForCausalLM");
}

}  // namespace
}  // namespace xylem
