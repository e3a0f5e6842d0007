// Reasoning apart from the answer: of one choice, over HTTP with a fake engine, and with real templates.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "server/choice.h"
#include "server/fake_engine.h"
#include "server/json_body.h"
#include "server/server.h"
#include "server/test_client.h"
#include "server/test_support.h"
#include "text/reasoning_formats.h"

namespace xylem {
namespace {

const std::vector<std::string> kThink = {"<think>", "</think>", "<tool_call>"};
const std::vector<std::string> kGemma = {"<|channel>", "<channel|>"};
const std::vector<std::string> kHarmony = {"<|start|>", "<|channel|>", "<|message|>", "<|constrain|>",
                                           "<|end|>",   "<|return|>",  "<|call|>"};

constexpr const char* kThinkTemplate =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% else %}<think>\n"
    "{% endif %}";
constexpr const char* kHarmonyTemplate =
    "<|start|>system<|message|>{{ strftime_now('%Y') | length }} Reasoning: {{ reasoning_effort or 'medium' }}<|end|>"
    "{% for m in messages %}{% if m.thinking %}[{{ m.thinking }}]{% endif %}<|start|>{{ m.role }}<|message|>"
    "{{ m.content }}<|end|>{% endfor %}<|start|>assistant";

ModelContext model_of(const char* parser, const std::vector<std::string>& tags, const char* chat_template,
                      bool special = true) {
  ModelContext m = test_model();
  m.tokenizer = Tokenizer::parse(byte_tokenizer_json(tags, special)).value();
  m.chat_template = ChatTemplate::parse(chat_template).value();
  m.reasoning = make_reasoning_format(parser, *m.tokenizer).value();
  return m;
}

// As in released vocabularies, these tags are tokens but not special ones.
ModelContext think_model() { return model_of("qwen3", kThink, kThinkTemplate, /*special=*/false); }
ModelContext harmony_model() {
  ModelContext m = model_of("gpt-oss", kHarmony, kHarmonyTemplate);
  m.eos_ids = {257, *m.tokenizer->id("<|return|>"), *m.tokenizer->id("<|call|>")};
  return m;
}

// The server, whose engine answers everything with `answer`.
class Served {
 public:
  Served(ModelContext model, std::string_view answer)
      : tokenizer_(model.tokenizer),
        tokens_(tokenizer_->encode(answer, false).value()),
        engine_({.tokens = tokens_, .vocab_size = model.tokenizer->vocab_size()}),
        server_(Server::listen(config(), std::move(model), engine_).value()),
        thread_([this] { (void)server_->run(); }) {}
  ~Served() {
    server_->stop();
    thread_.join();
  }

  Reply post(const std::string& path, const std::string& body) {
    TestClient client(server_->port());
    client.post(path, body);
    return client.reply();
  }
  Json chat(const std::string& fields = "") {
    const Reply r = post("/v1/chat/completions", body(fields));
    EXPECT_EQ(r.status, 200) << r.body;
    return Json::parse(r.body);
  }
  std::string refusal(const std::string& fields) {
    const Reply r = post("/v1/chat/completions", body(fields));
    EXPECT_EQ(r.status, 400) << r.body;
    return Json::parse(r.body)["message"];
  }
  // The same as a stream: the first choice's deltas joined, and what each chunk had of them.
  struct Stream {
    std::string reasoning, content, order;  // order: r and c, one for each chunk with text
    size_t logprobs = 0;
    Json last, usage;
  };
  Stream stream(const std::string& fields = "") {
    const Reply r =
        post("/v1/chat/completions", body(R"("stream": true, "stream_options": {"include_usage": true})" + fields));
    EXPECT_EQ(r.status, 200) << r.body;
    Stream s;
    for (size_t at = 0, end; (end = r.body.find("\n\n", at)) != std::string::npos; at = end + 2) {
      const std::string data = r.body.substr(at + 6, end - at - 6);
      if (data != "[DONE]") add(Json::parse(data), s);
    }
    return s;
  }
  std::string prompt() const { return tokenizer_->decode(request().prompt, false); }  // of the last request
  GenerateRequest request() const { return engine_.last_request(); }
  size_t tokens() const { return tokens_.size(); }

 private:
  static ServerConfig config() {
    ServerConfig c;
    c.port = 0;
    c.handle_signals = false;
    return c;
  }
  static std::string body(const std::string& fields) {
    const bool messages = fields.find("\"messages\"") != std::string::npos;
    return std::string("{") + (messages ? "" : R"("messages": [{"role": "user", "content": "hi"}])") +
           (messages || fields.empty() || fields[0] == ',' ? "" : ",") + fields + "}";
  }
  static void add(const Json& event, Stream& s) {
    if (event["choices"].empty()) {
      s.usage = event["usage"];
      return;
    }
    const Json& choice = event["choices"][0];
    const Json& delta = choice["delta"];
    EXPECT_FALSE(delta.contains("reasoning_content") && delta.contains("content"));
    for (const auto& [name, text, mark] :
         {std::tuple("reasoning_content", &s.reasoning, 'r'), std::tuple("content", &s.content, 'c')}) {
      if (!delta.contains(name) || delta[name] == "") continue;
      *text += delta[name].get<std::string>();
      s.order += mark;
    }
    if (choice["logprobs"].is_object()) s.logprobs += choice["logprobs"]["content"].size();
    s.last = choice;
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<TokenId> tokens_;
  FakeEngine engine_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

TEST(ChatReasoning, IsSplitFromTheAnswer) {
  Served s(think_model(), "why é</think>\n\nso 🙂");
  const Json whole = s.chat();
  const Json& message = whole["choices"][0]["message"];
  EXPECT_EQ(message["reasoning_content"], "why é") << "the prompt had opened the block";
  EXPECT_EQ(message["content"], "\n\nso 🙂");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(whole["usage"]["reasoning_tokens"], 7) << "bytes of why é and the closing tag";
  EXPECT_EQ(whole["usage"]["completion_tokens"], s.tokens() + 1);
  const auto stream = s.stream();
  EXPECT_EQ(stream.reasoning, "why é");
  EXPECT_EQ(stream.content, "\n\nso 🙂");
  EXPECT_EQ(stream.last["finish_reason"], "stop");
  EXPECT_EQ(stream.usage["reasoning_tokens"], 7);
}

TEST(ChatReasoning, StaysInTheTextWhenNotSeparated) {
  Served s(think_model(), "why</think>so");
  const Json message = s.chat(R"("separate_reasoning": false)")["choices"][0]["message"];
  EXPECT_EQ(message["content"], "why</think>so");
  EXPECT_TRUE(message["reasoning_content"].is_null());
  EXPECT_EQ(s.stream(R"(, "separate_reasoning": false)").content, "why</think>so");
  Served special(harmony_model(), "<|channel|>final<|message|>so<|return|>");
  EXPECT_EQ(special.chat(R"("separate_reasoning": false)")["choices"][0]["message"]["content"],
            "<|channel|>final<|message|>so")
      << "tags that are special tokens too";
}

TEST(ChatReasoning, CanWaitUntilItIsComplete) {
  Served s(think_model(), "why</think>so");
  const auto stream = s.stream(R"(, "stream_reasoning": false)");
  EXPECT_EQ(stream.reasoning, "why");
  EXPECT_EQ(stream.content, "so");
  EXPECT_EQ(stream.order.find("r"), stream.order.rfind("r")) << "in one chunk";
  EXPECT_EQ(s.stream(R"(, "stream_reasoning": false, "max_tokens": 2)").reasoning, "wh") << "never lost";
}

TEST(ChatReasoning, UnfinishedReasoningHasNoAnswer) {
  Served s(think_model(), "why</think>so");
  const Json choice = s.chat(R"("max_tokens": 2)")["choices"][0];
  EXPECT_EQ(choice["message"]["reasoning_content"], "wh");
  EXPECT_TRUE(choice["message"]["content"].is_null());
  EXPECT_EQ(choice["finish_reason"], "length");
  const auto stream = s.stream(R"(, "max_tokens": 2)");
  EXPECT_EQ(stream.reasoning, "wh");
  EXPECT_EQ(stream.content, "");
}

TEST(ChatReasoning, StopStringsEndReasoningToo) {
  Served s(think_model(), "why not</think>so");
  Json choice = s.chat(R"("stop": " no")")["choices"][0];
  EXPECT_EQ(choice["message"]["reasoning_content"], "why");
  EXPECT_TRUE(choice["message"]["content"].is_null());
  EXPECT_EQ(choice["matched_stop"], " no");
  choice = s.chat(R"("stop": "</think>")")["choices"][0];
  EXPECT_EQ(choice["message"]["reasoning_content"], "why not") << "a tag's spelling is text to stop strings";
  choice = s.chat(R"("stop": "think>s")")["choices"][0];
  EXPECT_EQ(choice["message"]["reasoning_content"], "why not</") << "half a tag is text";
  choice = s.chat(R"("stop": "think>x")")["choices"][0];
  EXPECT_EQ(choice["message"]["content"], "so") << "held back, then let go";
  const auto stream = s.stream(R"(, "stop": ["think>x", "o!"])");
  EXPECT_EQ(stream.reasoning, "why not");
  EXPECT_EQ(stream.content, "so");
}

TEST(ChatReasoning, LogprobsStayWithTheirTokens) {
  Served s(think_model(), "why</think>so");
  EXPECT_EQ(s.chat(R"("logprobs": true)")["choices"][0]["logprobs"]["content"].size(), s.tokens() + 1);
  EXPECT_EQ(s.stream(R"(, "logprobs": true)").logprobs, s.tokens() + 1) << "each once";
  EXPECT_EQ(s.stream(R"(, "logprobs": true, "stream_reasoning": false)").logprobs, s.tokens() + 1);
}

TEST(ChatReasoning, EveryChoiceHasItsOwn) {
  Served s(think_model(), "why</think>so");
  const Json body = s.chat(R"("n": 3)");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(body["choices"][i]["message"]["reasoning_content"], "why");
    EXPECT_EQ(body["choices"][i]["message"]["content"], "so");
  }
}

TEST(ChatReasoning, OtherRoutesAreUnchanged) {
  Served s(think_model(), "why</think>so");
  EXPECT_EQ(Json::parse(s.post("/generate", R"({"text": "a"})").body)["text"], "why</think>so");
  EXPECT_EQ(Json::parse(s.post("/v1/completions", R"({"prompt": "a"})").body)["choices"][0]["text"], "why</think>so");
}

TEST(ChatReasoning, TemplateArgumentsReachTheTemplate) {
  Served s(think_model(), "so");
  EXPECT_EQ(s.chat(R"("chat_template_kwargs": {"enable_thinking": false})")["choices"][0]["message"]["content"], "so");
  EXPECT_TRUE(s.prompt().ends_with("assistant\n<think>\n\n</think>\n\n"));
  s.chat(R"("reasoning_effort": "none")");
  EXPECT_TRUE(s.prompt().ends_with("</think>\n\n"));
  s.chat(R"("chat_template_kwargs": {"reasoning_effort": "none"})");
  EXPECT_TRUE(s.prompt().ends_with("</think>\n\n"));
  EXPECT_EQ(
      s.chat(R"("chat_template_kwargs": {"enable_thinking": true})")["choices"][0]["message"]["reasoning_content"],
      "so");
  EXPECT_TRUE(s.prompt().ends_with("<think>\n"));
  s.chat(
      R"("messages": [{"role": "assistant", "content": "b", "reasoning_content": "a"}, {"role": "user", "content": "c"}])");
  EXPECT_NE(s.prompt().find("assistant\n<think>\na\n</think>\n\nb<|im_end|>"), std::string::npos);
}

TEST(ChatReasoning, AContinuedAnswerBeginsWhereItWas) {
  Served s(think_model(), "more</think>so");
  const auto ask = [&](const std::string& begun) {
    return s.chat(R"("messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": ")" + begun +
                  R"("}], "continue_final_message": true)")["choices"][0]["message"];
  };
  EXPECT_EQ(ask("thus")["reasoning_content"], "more");
  EXPECT_TRUE(ask("thus</think>it")["reasoning_content"].is_null());
}

TEST(ChatReasoning, PromptsOfIdsTellToo) {
  Served s(think_model(), "why</think>so");
  EXPECT_EQ(s.chat(R"("input_ids": [97, 260, 10])")["choices"][0]["message"]["reasoning_content"], "why");
  EXPECT_EQ(s.chat(R"("input_ids": [97, 261])")["choices"][0]["message"]["content"], "why</think>so");
}

TEST(ChatReasoning, WrongTypesAreRefusedByName) {
  Served s(think_model(), "so");
  for (const char* bad :
       {R"("separate_reasoning": "yes")", R"("stream_reasoning": 1)", R"("chat_template_kwargs": [])",
        R"("chat_template_kwargs": "x")", R"("reasoning_effort": true)", R"("reasoning_effort": "huge")"})
    EXPECT_TRUE(s.refusal(bad).starts_with(Json::parse("{" + std::string(bad) + "}").items().begin().key())) << bad;
  EXPECT_TRUE(s.refusal(R"("chat_template_kwargs": {"enable_thinking": "off"})")
                  .starts_with("chat_template_kwargs.enable_thinking: "));
  EXPECT_TRUE(s.refusal(R"("chat_template_kwargs": {"thinking": 0})").starts_with("chat_template_kwargs.thinking: "));
  EXPECT_TRUE(s.refusal(R"("chat_template_kwargs": {"reasoning_effort": "huge"})")
                  .starts_with("chat_template_kwargs.reasoning_effort: "));
  EXPECT_TRUE(s.refusal(R"("messages": [{"role": "assistant", "content": "b", "reasoning_content": 3}])")
                  .starts_with("messages[0].reasoning_content: "));
}

TEST(ChatReasoning, GemmaThoughts) {
  Served s(model_of("gemma4", kGemma, kTestTemplate), "<|channel>thought\nwhy\n<channel|>so");
  const Json message = s.chat()["choices"][0]["message"];
  EXPECT_EQ(message["reasoning_content"], "why\n");
  EXPECT_EQ(message["content"], "so");
  const auto stream = s.stream();
  EXPECT_EQ(stream.reasoning, "why\n");
  EXPECT_EQ(stream.content, "so");
  EXPECT_EQ(s.chat(R"("skip_special_tokens": false)")["choices"][0]["message"]["content"], "so");
}

TEST(ChatReasoning, HarmonyChannels) {
  Served s(harmony_model(),
           "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>so<|return|>lost");
  const Json choice = s.chat()["choices"][0];
  EXPECT_EQ(choice["message"]["reasoning_content"], "why");
  EXPECT_EQ(choice["message"]["content"], "so");
  EXPECT_EQ(choice["finish_reason"], "stop");
  const auto stream = s.stream(R"(, "logprobs": true)");
  EXPECT_EQ(stream.reasoning, "why");
  EXPECT_EQ(stream.content, "so");
  EXPECT_EQ(stream.logprobs, s.tokens() - 4) << "those of the headers too";
  EXPECT_EQ(s.chat(R"("no_stop_trim": true)")["choices"][0]["message"]["content"], "so");
}

TEST(ChatReasoning, HarmonyToolCallsEndTheTurnAndDoNotShow) {
  Served s(harmony_model(),
           "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>commentary to=functions.f "
           "<|constrain|>json<|message|>{\"a\": 1}<|call|>");
  const Json choice = s.chat()["choices"][0];
  EXPECT_EQ(choice["message"]["reasoning_content"], "why");
  EXPECT_TRUE(choice["message"]["content"].is_null());
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(s.stream().content, "");
}

TEST(ChatReasoning, HarmonyRequests) {
  Served s(harmony_model(), "<|channel|>final<|message|>so");
  s.chat(R"("reasoning_effort": "high")");
  EXPECT_TRUE(s.prompt().starts_with("<|start|>system<|message|>4 Reasoning: high<|end|>"));
  EXPECT_TRUE(s.refusal(R"("reasoning_effort": "none")").starts_with("reasoning_effort: "));
  s.chat(
      R"("messages": [{"role": "assistant", "content": "b", "reasoning_content": "a"}, {"role": "user", "content": "c"}])");
  EXPECT_NE(s.prompt().find("[a]<|start|>assistant"), std::string::npos) << "its template's name is thinking";
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() { std::filesystem::create_directories(folder_); }
  ~CheckpointTest() override { std::filesystem::remove_all(folder_); }
  void put(const char* name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  Result<ModelContext> load(const std::string& parser = "auto") {
    return load_model_context(folder_.string(), "", parser);
  }
  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() /
      ("xylem_" + std::to_string(getpid()) + testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(CheckpointTest, ParserIsFoundOrNamed) {
  put("tokenizer.json", byte_tokenizer_json(kThink));
  put("config.json", R"({"model_type": "qwen3"})");
  EXPECT_EQ(load()->reasoning->name, "qwen3");
  EXPECT_EQ(load("deepseek-r1")->reasoning->name, "deepseek-r1");
  EXPECT_EQ(load("none")->reasoning, nullptr);
  ASSERT_FALSE(load("r1").ok());
  EXPECT_NE(load("r1").error().text.find("deepseek-r1"), std::string::npos);
  put("tokenizer.json", byte_tokenizer_json());
  EXPECT_EQ(load()->reasoning, nullptr) << "its vocabulary has no tags";
  EXPECT_EQ(load("qwen3")->reasoning->name, "qwen3") << "asked for: tags are text";
  put("config.json", R"({"model_type": 3})");
  EXPECT_TRUE(load().ok());
}

TEST_F(CheckpointTest, HarmonyTurnsEndWithReturnAndCall) {
  put("tokenizer.json", byte_tokenizer_json(kHarmony));
  put("config.json", R"({"model_type": "gpt_oss", "eos_token_id": 257})");
  const TokenId end = 264, ret = 265, call = 266;
  EXPECT_EQ(load()->eos_ids, (std::vector<TokenId>{257, ret, call}));
  EXPECT_EQ(load("none")->eos_ids, (std::vector<TokenId>{257, ret, call}));
  put("generation_config.json", "{\"eos_token_id\": [" + std::to_string(call) + ", " + std::to_string(end) + "]}");
  EXPECT_EQ(load()->eos_ids, (std::vector<TokenId>{call, ret})) << "an ended message is not an ended turn";
}

// The released templates, each with a vocabulary of its tags: what the prompt says of where the answer begins.
class RealTemplates : public testing::Test {
 protected:
  void SetUp() override {
    const char* shared = std::getenv("XYLEM_SHARED");
    folder_ = std::filesystem::path(shared ? shared : XYLEM_SOURCE_DIR "/../shared") / "templates";
    if (!std::filesystem::exists(folder_)) GTEST_SKIP() << "no templates in " << folder_;
  }
  std::string render(const std::string& name, const Json& more) {
    std::ifstream in(folder_ / (name + ".jinja"));
    std::string source((std::istreambuf_iterator<char>(in)), {});
    Json vars = {{"messages", Json::array({{{"role", "user"}, {"content", "hi"}}})},
                 {"add_generation_prompt", true},
                 {"bos_token", ""},
                 {"eos_token", ""}};
    for (const auto& [key, value] : more.items()) vars[key] = value;
    return ChatTemplate::parse(std::move(source))
        .value()
        ->render(vars, std::tm{.tm_mday = 20, .tm_mon = 10, .tm_year = 126})
        .value();
  }
  bool inside(const char* parser, const std::string& name, const Json& more) {
    const auto tokenizer = Tokenizer::parse(byte_tokenizer_json()).value();
    return make_reasoning_format(parser, *tokenizer).value()->begins_inside(render(name, more), "");
  }
  std::filesystem::path folder_;
};

TEST_F(RealTemplates, ShowWhereTheAnswerBegins) {
  const Json none = Json::object(), on = {{"enable_thinking", true}, {"thinking", true}},
             off = {{"enable_thinking", false}, {"thinking", false}};
  EXPECT_FALSE(inside("qwen3", "Qwen-Qwen3-0.6B", none)) << "the model opens the block itself";
  EXPECT_FALSE(inside("qwen3", "Qwen-Qwen3-0.6B", off));
  EXPECT_TRUE(inside("qwen3", "Qwen3.5-4B", none));
  EXPECT_TRUE(inside("qwen3", "Qwen3.5-4B", on));
  EXPECT_FALSE(inside("qwen3", "Qwen3.5-4B", off));
  EXPECT_TRUE(inside("qwen3", "Qwen-QwQ-32B", on));
  EXPECT_FALSE(inside("qwen3", "Qwen-QwQ-32B", none)) << "this copy closes the block unless it is asked to think";
  EXPECT_TRUE(inside("deepseek-r1", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", on));
  EXPECT_FALSE(inside("deepseek-r1", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", off));
  EXPECT_FALSE(inside("deepseek-v3", "deepseek-ai-DeepSeek-V3.1", none));
  EXPECT_TRUE(inside("deepseek-v3", "deepseek-ai-DeepSeek-V3.1", on));
  EXPECT_FALSE(inside("gemma4", "google-gemma-4-31B-it", on));
  EXPECT_FALSE(inside("gemma4", "google-gemma-4-31B-it", off));
  EXPECT_FALSE(inside("gpt-oss", "openai-gpt-oss-120b", none));
}

TEST_F(RealTemplates, HarmonyShowsDateAndEffort) {
  const std::string prompt = render("openai-gpt-oss-120b", {{"reasoning_effort", "low"}});
  EXPECT_NE(prompt.find("Current date: 2026-11-20\n"), std::string::npos);
  EXPECT_NE(prompt.find("Reasoning: low\n"), std::string::npos);
}

Choice answered(const ModelContext& model, std::string_view answer) {
  Choice choice(model.tokenizer, {}, {.reasoning = model.reasoning});
  const std::vector<TokenId> ids = model.tokenizer->encode(answer, false).value();
  for (const TokenId id : ids) choice.push({.token = id});
  choice.push({.finish = Finish::kLength});
  return choice;
}

// The small checkpoints and vocabularies of the families: tags are found, and survive real detokenisers.
TEST(RealVocabularies, SplitAnswers) {
  const char* shared = std::getenv("XYLEM_SHARED");
  const std::filesystem::path root(shared ? shared : XYLEM_SOURCE_DIR "/../shared");
  if (!std::filesystem::exists(root / "models")) GTEST_SKIP() << "no checkpoints in " << root;
  struct Family {
    const char *folder, *parser, *answer, *reasoning, *content;
  };
  for (const Family& f :
       {Family{"models/qwen3.5", "qwen3", "<think>\nwhy so\n</think>\n\nParis é", "\nwhy so\n", "\n\nParis é"},
        {"models/deepseek-v3", "deepseek-v3", "<think>why so</think>Paris", "why so", "Paris"},
        {"models/gemma4-e", "gemma4", "<|channel>thought\nwhy so\n<channel|>Paris 🙂", "why so\n", "Paris 🙂"},
        {"models/gpt-oss", "gpt-oss",
         "<|channel|>analysis<|message|>why so<|end|><|start|>assistant<|channel|>final<|message|>Paris", "why so",
         "Paris"}}) {
    const auto model = load_model_context((root / f.folder).string());
    ASSERT_TRUE(model.ok()) << model.error().text;
    ASSERT_TRUE(model->reasoning) << f.folder;
    EXPECT_EQ(model->reasoning->name, f.parser);
    for (const ReasoningTag& tag : model->reasoning->tags) EXPECT_GE(tag.id, 0) << f.folder << " " << tag.text;
    const Choice choice = answered(*model, f.answer);
    EXPECT_EQ(choice.reasoning(), f.reasoning) << f.folder;
    EXPECT_EQ(choice.text(), f.content) << f.folder;
  }
  EXPECT_EQ(load_model_context((root / "models/kimi-linear").string())->reasoning, nullptr) << "it does not think";
}

TEST(RealVocabularies, HarmonySplitsCharactersAndChannels) {
  const char* shared = std::getenv("XYLEM_SHARED");
  const std::filesystem::path root(shared ? shared : XYLEM_SOURCE_DIR "/../shared");
  if (!std::filesystem::exists(root / "tokenizers")) GTEST_SKIP() << "no vocabularies in " << root;
  ModelContext model;
  model.tokenizer = Tokenizer::load((root / "tokenizers/o200k").string()).value();
  model.reasoning = find_reasoning_format("gpt_oss", *model.tokenizer, "");
  const Choice choice = answered(
      model,
      "<|channel|>analysis<|message|>𝔘𝔫𝔦 ᚠᛇᚻ about <|final|> 🏳️‍🌈<|end|><|start|>assistant"
      "<|channel|>final<|message|>𐍈 <think>x</think> 日本");
  EXPECT_EQ(choice.reasoning(), "𝔘𝔫𝔦 ᚠᛇᚻ about <|final|> 🏳️‍🌈");
  EXPECT_EQ(choice.text(), "𐍈 <think>x</think> 日本");
}

}  // namespace
}  // namespace xylem
