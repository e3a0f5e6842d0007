// Bodies of the generation routes -> jobs and engine requests; choices -> bytes.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "server/app.h"
#include "server/fake_engine.h"
#include "server/native_generate.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/test_support.h"

namespace xylem {
namespace {

class RequestsTest : public testing::Test {
 protected:
  using Parse = Result<TextJob> (*)(const App&, const Json&, const BodyImages&);
  std::string error_of(Parse parse, const std::string& body) {
    auto job = parse(app_, Json::parse(body), {});
    return job.ok() ? "" : job.error().text;
  }
  std::string chat_error(const std::string& fields) {
    return error_of(parse_chat, R"({"messages": [{"role": "user", "content": "hi"}], )" + fields + "}");
  }
  TextJob job_of(Parse parse, const std::string& body) {
    auto job = parse(app_, Json::parse(body), {});
    CHECK(job.ok(), job.error().text);
    return *std::move(job);
  }
  GenerateRequest engine_request(Parse parse, const std::string& body, int index = 0) {
    const TextJob job = job_of(parse, body);
    auto r = to_engine(app_, job, job.prompts[0], index);
    CHECK(r.ok(), r.error().text);
    return *std::move(r);
  }
  // The choice an engine makes of these bytes.
  Choice choice_of(const PromptJob& p, const std::string& text, bool logprobs = false) {
    Choice c(app_.model.tokenizer, p.prompt, p.options.output);
    for (const unsigned char b : text) {
      EngineEvent e{.token = b};
      if (logprobs) e.logprob = TokenLogprob{b, -0.5f, {{b, -0.5f}, {'z', -3.0f}}};
      c.push(std::move(e));
    }
    return c;
  }
  static void end(Choice& c) { c.push({.token = 257, .finish = Finish::kStop, .cached_tokens = 4}); }
  std::string text_of(const std::vector<TokenId>& ids) { return app_.model.tokenizer->decode(ids, false); }

  FakeEngine engine_;
  App app_{ServerConfig{}, test_model(), engine_};
};

constexpr const char* kHello = R"({"messages": [{"role": "user", "content": "hi"}]})";

TEST_F(RequestsTest, ChatRendersTheTemplate) {
  const GenerateRequest r = engine_request(parse_chat, kHello);
  EXPECT_EQ(text_of(r.prompt), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(r.prompt[0], 258);
  EXPECT_EQ(r.stop_ids, (std::vector<TokenId>{257}));
  EXPECT_EQ(r.max_new_tokens, 4096 - static_cast<int>(r.prompt.size()));
}

TEST_F(RequestsTest, ChatContinuesTheFinalMessage) {
  const auto r = engine_request(
      parse_chat, R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well, "}],
                                                "continue_final_message": true})");
  EXPECT_TRUE(text_of(r.prompt).ends_with("<|im_start|>assistant\nWell, "));
}

TEST_F(RequestsTest, ChatJoinsTextPartsForTemplatesThatWantStrings) {
  const auto r = engine_request(
      parse_chat,
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]})");
  EXPECT_NE(text_of(r.prompt).find("user\na b<|im_end|>"), std::string::npos);
  EXPECT_FALSE(probe_template_takes_parts(*app_.model.chat_template));
  const auto parts =
      ChatTemplate::parse("{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}")
          .value();
  EXPECT_TRUE(probe_template_takes_parts(*parts));
}

TEST_F(RequestsTest, ChatReadsEverySamplingField) {
  const auto r = engine_request(
      parse_chat, R"({"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "top_p": 0.9, "top_k": 7,
      "min_p": 0.1, "frequency_penalty": 1, "presence_penalty": -1, "repetition_penalty": 1.5, "logit_bias": {"65": -100}, "seed": 5,
      "max_tokens": 9, "max_completion_tokens": 8, "min_tokens": 2, "stop_token_ids": [66], "logprobs": true, "top_logprobs": 3, "priority": 2,
      "cache_salt": "s"})",
      2);
  EXPECT_EQ(r.sampling.temperature, 0.5f);
  EXPECT_EQ(r.sampling.top_p, 0.9f);
  EXPECT_EQ(r.sampling.top_k, 7);
  EXPECT_EQ(r.sampling.min_p, 0.1f);
  EXPECT_EQ(r.sampling.frequency_penalty, 1.0f);
  EXPECT_EQ(r.sampling.presence_penalty, -1.0f);
  EXPECT_EQ(r.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(r.sampling.logit_bias, (std::vector<std::pair<TokenId, float>>{{65, -100.0f}}));
  EXPECT_EQ(r.sampling.seed, 7u) << "seed + index of the choice";
  EXPECT_EQ(r.max_new_tokens, 8);
  EXPECT_EQ(r.min_new_tokens, 2);
  EXPECT_EQ(r.stop_ids, (std::vector<TokenId>{257, 66}));
  EXPECT_TRUE(r.logprobs);
  EXPECT_EQ(r.top_logprobs, 3);
  EXPECT_EQ(r.priority, 2);
  EXPECT_NE(r.cache_key, 0u);
}

TEST_F(RequestsTest, IgnoreEosEmptiesTheStopIds) {
  EXPECT_TRUE(engine_request(parse_generate, R"({"input_ids": [1], "sampling_params": {"ignore_eos": true}})")
                  .stop_ids.empty());
}

TEST_F(RequestsTest, ModelDefaultsFillWhatIsUnset) {
  ModelContext model = test_model();
  model.defaults = {.temperature = 0.0f, .top_p = 0.8f, .top_k = 64};
  model.suppress_ids = {3, 4};
  App app({.sampling_defaults = "model"}, model, engine_);
  const auto with = [&](const App& a, const char* body) {
    const auto job = parse_generate(a, Json::parse(body));
    return to_engine(a, *job, job->prompts[0], 0).value();
  };
  const auto r = with(app, R"({"input_ids": [1], "sampling_params": {"top_p": 0.5, "logit_bias": {"3": 1}}})");
  EXPECT_EQ(r.sampling.temperature, 0.0f);
  EXPECT_EQ(r.sampling.top_k, 64);
  EXPECT_EQ(r.sampling.top_p, 0.5f);
  ASSERT_EQ(r.sampling.logit_bias.size(), 2u) << "a client's own bias stands";
  EXPECT_EQ(r.sampling.logit_bias[1], (std::pair<TokenId, float>{4, -std::numeric_limits<float>::infinity()}));
  App plain({.sampling_defaults = "openai"}, model, engine_);
  EXPECT_EQ(with(plain, R"({"input_ids": [1]})").sampling.temperature, 1.0f);
}

TEST_F(RequestsTest, OutOfRangeIsRefusedByName) {
  for (const char* bad : {R"("temperature": -1)",
                          R"("temperature": 2.1)",
                          R"("temperature": "hot")",
                          R"("top_p": 0)",
                          R"("top_p": 1.1)",
                          R"("top_k": 0)",
                          R"("top_k": -2)",
                          R"("min_p": 2)",
                          R"("frequency_penalty": 3)",
                          R"("presence_penalty": -2.5)",
                          R"("repetition_penalty": 0)",
                          R"("repetition_penalty": 2.5)",
                          R"("n": 0)",
                          R"("n": 129)",
                          R"("seed": 1.5)",
                          R"("seed": 1e30)",
                          R"("logit_bias": {"260": 1})",
                          R"("logit_bias": {"x": 1})",
                          R"("logit_bias": {"1": 101})",
                          R"("logit_bias": {"1": null})",
                          R"("logit_bias": [1])",
                          R"("stop": "")",
                          R"("stop": [1])",
                          R"("stop_token_ids": [260])",
                          R"("stop_token_ids": [-1])",
                          R"("max_tokens": 0)",
                          R"("max_completion_tokens": -1)",
                          R"("top_logprobs": 21, "logprobs": true)",
                          R"("logprobs": 3)",
                          R"("stream": 1)",
                          R"("reasoning_effort": "huge")",
                          R"("rid": "")",
                          R"("modalities": ["audio"])",
                          R"("input_ids": [300])"}) {
    const Json field = Json::parse("{" + std::string(bad) + "}");
    EXPECT_TRUE(chat_error(bad).starts_with(field.items().begin().key())) << bad << " -> " << chat_error(bad);
  }
  EXPECT_NE(chat_error(R"("top_logprobs": 2)"), "");
  EXPECT_NE(chat_error(R"("min_tokens": 5, "max_tokens": 4)"), "");
  EXPECT_NE(chat_error(R"("stream_options": {"include_usage": true})"), "");
}

TEST_F(RequestsTest, WhatIsNotBuiltIsRefusedByName) {
  for (const char* bad : {R"("regex": "a")", R"("ebnf": "a")", R"("response_format": {"type": "json_object"})",
                          R"("tool_choice": "required")", R"("lora_path": "x")", R"("functions": [{}])",
                          R"("return_hidden_states": true)"})
    EXPECT_NE(chat_error(bad), "") << bad;
  for (const char* fine :
       {R"("user": "u", "metadata": {}, "store": true, "parallel_tool_calls": true, "service_tier": "auto")",
        R"("regex": null)", R"("response_format": {"type": "text"})",
        R"("tools": [{"type": "function"}], "tool_choice": "auto")", R"("model": "any")"})
    EXPECT_EQ(chat_error(fine), "");
  EXPECT_NE(
      error_of(parse_chat,
               R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]})")
          .find("image_url"),
      std::string::npos);
}

TEST_F(RequestsTest, MessagesAreChecked) {
  EXPECT_EQ(error_of(parse_chat, "{}"), "messages: is missing.");
  EXPECT_NE(error_of(parse_chat, R"({"messages": []})"), "");
  EXPECT_NE(error_of(parse_chat, R"({"messages": "hi"})"), "");
  EXPECT_EQ(error_of(parse_chat, R"({"messages": [{"role": "robot", "content": "x"}]})"),
            "messages[0].role: unknown role \"robot\"; use system, developer, user, assistant or tool.");
  EXPECT_EQ(error_of(parse_chat, R"({"messages": [{"role": "user"}]})"), "messages[0].content: is missing.");
  EXPECT_EQ(error_of(parse_chat, R"({"messages": [{"role": "user", "content": 3}]})"),
            "messages[0].content: must be a string or a list of parts, not a number.");
  EXPECT_NE(error_of(parse_chat, R"({"messages": [{"role": "tool", "content": "x"}]})").find("no tools here"),
            std::string::npos);
  EXPECT_EQ(error_of(parse_chat, "[]"), "The request body: must be a JSON object, not a list.");
}

TEST_F(RequestsTest, PromptsThatDoNotFitStateBothLengths) {
  std::string ids = "[1";
  for (int i = 1; i < 4095; ++i) ids += ",1";
  const auto check = [&](const std::string& params) {
    const TextJob job = job_of(parse_generate, "{\"input_ids\": " + ids + "], \"sampling_params\": " + params + "}");
    auto r = to_engine(app_, job, job.prompts[0], 0);
    return r.ok() ? std::to_string(r->max_new_tokens) : r.error().text;
  };
  EXPECT_EQ(check("{}"), "1") << "a default shrinks to what fits";
  EXPECT_EQ(check(R"({"max_new_tokens": 1})"), "1");
  EXPECT_EQ(check(R"({"max_new_tokens": 2})"),
            "This model's maximum context length is 4096 tokens. However, you requested 4097 tokens (4095 in the "
            "prompt, 2 in the completion). "
            "Please reduce the length of the prompt or of the completion.");
  ids += ",1";
  EXPECT_NE(check("{}").find("maximum context length is 4096 tokens. However, your prompt has 4096 tokens"),
            std::string::npos);
}

TEST_F(RequestsTest, CompletionsTakeEveryPromptForm) {
  EXPECT_EQ(job_of(parse_completions, R"({"prompt": "ab"})").prompts[0].prompt, (std::vector<TokenId>{'a', 'b'}));
  EXPECT_EQ(job_of(parse_completions, R"({"prompt": [65, 66]})").prompts[0].prompt, (std::vector<TokenId>{65, 66}));
  EXPECT_EQ(job_of(parse_completions, R"({"prompt": ["a", "b"], "n": 2})").prompts.size(), 2u);
  EXPECT_EQ(job_of(parse_completions, R"({"prompt": [[65], [66, 67]]})").prompts[1].prompt.size(), 2u);
  for (const char* bad :
       {R"({})", R"({"prompt": ""})", R"({"prompt": []})", R"({"prompt": [""]})", R"({"prompt": {}})",
        R"({"prompt": [1, "a"]})", R"({"prompt": [[]]})", R"({"prompt": "a", "suffix": "b"})",
        R"({"prompt": "a", "best_of": 3})", R"({"prompt": "a", "max_tokens": 0})", R"({"prompt": [-1]})"})
    EXPECT_NE(error_of(parse_completions, bad), "") << bad;
  EXPECT_EQ(engine_request(parse_completions, R"({"prompt": "ab"})").max_new_tokens, 16);
}

TEST_F(RequestsTest, GenerateTakesSingleAndListForms) {
  EXPECT_EQ(job_of(parse_generate, R"({"text": "ab"})").prompts[0].prompt.size(), 2u);
  EXPECT_EQ(engine_request(parse_generate, R"({"text": "ab"})").max_new_tokens, 128);
  const TextJob job =
      job_of(parse_generate,
             R"({"text": ["ab", "c"], "sampling_params": [{"temperature": 0}, {"temperature": 1}], "rid": ["x", "y"],
                                                 "return_logprob": true, "logprob_start_len": [1, -1], "token_ids_logprob": [65, 66]})");
  EXPECT_EQ(job.prompts[1].options.sampling.temperature, 1.0f);
  EXPECT_EQ(job.prompts[1].rid, "y");
  EXPECT_EQ(job.prompts[0].logprobs.prompt_from, 1);
  EXPECT_EQ(job.prompts[1].logprobs.ids.size(), 2u);
  for (const char* bad :
       {R"({})", R"({"text": "a", "input_ids": [1]})", R"({"text": []})", R"({"text": 5})",
        R"({"input_ids": [[1], 2]})", R"({"input_ids": []})", R"({"input_ids": [99999]})",
        R"({"text": "a", "sampling_params": {"max_tokens": 5}})", R"({"text": ["a", "b"], "sampling_params": [{}]})",
        R"({"text": "a", "sampling_params": 3})", R"({"text": "a", "sampling_params": {"regex": "x"}})",
        R"({"text": "a", "image_data": "x"})", R"({"text": "ab", "return_logprob": true, "logprob_start_len": 2})",
        R"({"text": ["a", "b"], "sampling_params": [{"n": 1}, {"n": 2}]})"})
    EXPECT_NE(error_of(parse_generate, bad), "") << bad;
}

TEST_F(RequestsTest, PromptsOfOneRequestAreBounded) {
  std::string list = "[\"a\"";
  for (size_t i = 0; i < kMaxPrompts; ++i) list += ",\"a\"";
  EXPECT_NE(error_of(parse_generate, "{\"text\": " + list + "]}").find("at most 8192"), std::string::npos);
  EXPECT_NE(error_of(parse_completions, "{\"prompt\": " + list + "]}").find("at most 8192"), std::string::npos);
}

TEST_F(RequestsTest, BenchmarkClientsBodiesPass) {
  EXPECT_EQ(
      error_of(
          parse_generate,
          R"({"text": "ab", "sampling_params": {"temperature": 0.0, "max_new_tokens": 5, "ignore_eos": true}, "stream": true,
                                         "lora_path": null, "return_logprob": false, "return_routed_experts": false, "logprob_start_len": -1})"),
      "");
  EXPECT_EQ(
      error_of(
          parse_completions,
          R"({"model": "m", "prompt": "ab", "temperature": 0.0, "best_of": 1, "max_tokens": 5, "stream": true, "ignore_eos": true})"),
      "");
  EXPECT_EQ(
      chat_error(R"("model": "m", "temperature": 0.0, "max_completion_tokens": 5, "stream": true, "ignore_eos": true)"),
      "");
}

TEST_F(RequestsTest, ChatBody) {
  TextJob job =
      job_of(parse_chat,
             R"({"messages": [{"role": "user", "content": "hi"}], "logprobs": true, "top_logprobs": 2, "rid": "r1"})");
  std::vector<Choice> choices;
  choices.push_back(choice_of(job.prompts[0], "ok", true));
  end(choices[0]);
  const Json body = Json::parse(job.formatter->body(choices));
  EXPECT_EQ(body["id"], "r1");
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "models/fake");
  const Json& choice = body["choices"][0];
  EXPECT_EQ(choice["message"]["content"], "ok");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["matched_stop"], 257);
  EXPECT_EQ(choice["logprobs"]["content"][1],
            Json::parse(R"({"token": "k", "bytes": [107], "logprob": -0.5, "top_logprobs":
      [{"token": "k", "bytes": [107], "logprob": -0.5}, {"token": "z", "bytes": [122], "logprob": -3.0}]})"));
  EXPECT_EQ(body["usage"]["completion_tokens"], 3);
  EXPECT_EQ(body["usage"]["prompt_tokens"], job.prompts[0].prompt.size());
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
}

std::vector<Json> events_of(const std::string& sse) {
  std::vector<Json> events;
  for (size_t at = 0; at < sse.size();) {
    const size_t end = sse.find("\n\n", at);
    EXPECT_EQ(sse.substr(at, 6), "data: ");
    events.push_back(Json::parse(sse.substr(at + 6, end - at - 6)));
    at = end + 2;
  }
  return events;
}

TEST_F(RequestsTest, ChatStream) {
  TextJob job = job_of(
      parse_chat,
      R"({"messages": [{"role": "user", "content": "hi"}], "stream": true, "stream_options": {"include_usage": true}})");
  std::vector<Choice> choices;
  choices.push_back(choice_of(job.prompts[0], "ok"));
  std::string sse;
  job.formatter->stream(0, choices[0], sse);
  job.formatter->stream(0, choices[0], sse);  // nothing new: nothing sent
  end(choices[0]);
  job.formatter->stream(0, choices[0], sse);
  job.formatter->stream_end(choices, sse);
  const auto events = events_of(sse);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0]["choices"][0]["delta"], Json::parse(R"({"role": "assistant", "content": ""})"));
  EXPECT_EQ(events[1]["choices"][0]["delta"]["content"], "ok");
  EXPECT_TRUE(events[1]["choices"][0]["finish_reason"].is_null());
  EXPECT_EQ(events[2]["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(events[3]["choices"].empty());
  EXPECT_EQ(events[3]["usage"]["completion_tokens"], 3);
}

TEST_F(RequestsTest, CompletionsEchoWithLogprobs) {
  TextJob job = job_of(parse_completions, R"({"prompt": "hé", "echo": true, "logprobs": 2})");
  std::vector<Choice> choices;
  choices.push_back(choice_of(job.prompts[0], "", true));
  EngineEvent first{.token = 'o'};
  first.logprob = TokenLogprob{'o', -0.25f, {{'o', -0.25f}}};
  first.prompt_logprobs = {{0xc3, -1.0f}, {0xa9, -std::numeric_limits<float>::infinity()}};
  choices[0].push(std::move(first));
  choices[0].push({.finish = Finish::kLength});
  const Json choice = Json::parse(job.formatter->body(choices))["choices"][0];
  EXPECT_EQ(choice["text"], "héo");
  const Json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"].size(), 4u);
  EXPECT_EQ(logprobs["token_logprobs"], Json::parse("[null, -1.0, -9999.0, -0.25]"));
  EXPECT_EQ(logprobs["top_logprobs"][3], Json::parse(R"({"o": -0.25})"));
  EXPECT_EQ(logprobs["text_offset"][3], 3) << "tokens are counted as the characters they show alone";
  EXPECT_EQ(choice["finish_reason"], "length");
}

TEST_F(RequestsTest, GenerateStreamIsCumulative) {
  TextJob job =
      job_of(parse_generate,
             R"({"text": "ab", "stream": true, "return_logprob": true, "logprob_start_len": 0, "top_logprobs_num": 1,
                                           "return_text_in_logprobs": true, "rid": "me"})");
  std::string sse;
  Choice c = choice_of(job.prompts[0], "o", true);
  job.formatter->stream(0, c, sse);
  EngineEvent e{.token = 'k'};
  e.logprob = TokenLogprob{'k', -0.5f, {{'k', -0.5f}}};
  e.finish = Finish::kLength;
  c.push(std::move(e));
  job.formatter->stream(0, c, sse);
  const auto events = events_of(sse);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0]["text"], "o");
  EXPECT_TRUE(events[0]["meta_info"]["finish_reason"].is_null());
  EXPECT_EQ(events[1]["text"], "ok");
  EXPECT_EQ(events[1]["output_ids"], Json::parse("[111, 107]"));
  const Json& meta = events[1]["meta_info"];
  EXPECT_EQ(meta["id"], "me");
  EXPECT_EQ(meta["finish_reason"], Json::parse(R"({"type": "length", "length": 2})"));
  EXPECT_EQ(meta["completion_tokens"], 2);
  EXPECT_EQ(meta["output_token_logprobs"], Json::parse(R"([[-0.5, 111, "o"], [-0.5, 107, "k"]])"));
  EXPECT_EQ(meta["output_top_logprobs"][1], Json::parse(R"([[-0.5, 107, "k"]])"));
  EXPECT_EQ(meta["input_token_logprobs"][0], Json::parse(R"([null, 97, "a"])"));
}

// Whatever a body holds, parsing ends in a job or an error, never in a crash.
TEST_F(RequestsTest, RandomBodiesAreParsedOrRefused) {
  std::mt19937 random(11);
  const char* names[] = {"messages",
                         "prompt",
                         "text",
                         "input_ids",
                         "sampling_params",
                         "stream",
                         "stream_options",
                         "n",
                         "stop",
                         "logprobs",
                         "top_logprobs",
                         "logit_bias",
                         "max_tokens",
                         "role",
                         "content",
                         "type",
                         "tools",
                         "tool_choice",
                         "chat_template_kwargs",
                         "rid",
                         "seed",
                         "temperature",
                         "response_format",
                         "token_ids_logprob",
                         "logprob_start_len",
                         "return_logprob",
                         "continue_final_message",
                         "echo",
                         "tool_calls",
                         "function",
                         "arguments"};
  const Json atoms[] = {nullptr,
                        true,
                        false,
                        0,
                        -1,
                        1,
                        2.5,
                        1e300,
                        9223372036854775807,
                        18446744073709551615ull,
                        "",
                        "user",
                        "assistant",
                        "text",
                        "{\"a\":1}",
                        "\xf0\x9f\x98\x80",
                        Json::array(),
                        Json::object()};
  const std::function<Json(int)> make = [&](int depth) -> Json {
    const unsigned kind = random() % (depth > 0 ? 4 : 2);
    if (kind < 2) return atoms[random() % std::size(atoms)];
    Json out = kind == 2 ? Json::array() : Json::object();
    for (unsigned k = random() % 5; k > 0; --k) {
      if (kind == 2)
        out.push_back(make(depth - 1));
      else
        out[names[random() % std::size(names)]] = make(depth - 1);
    }
    return out;
  };
  int jobs = 0;
  for (int i = 0; i < 30000; ++i) {
    Json body = make(4);
    if (!body.is_object()) body = Json::object();
    if (i % 3 == 0) body["messages"] = Json::array({{{"role", "user"}, {"content", make(1)}}, make(3)});
    if (i % 3 == 1) body["prompt"] = make(2);
    if (i % 3 == 2) body["text"] = make(1);
    for (const Parse parse : {&parse_chat, &parse_completions, &parse_generate}) {
      auto job = parse(app_, body, {});
      if (!job.ok()) {
        EXPECT_FALSE(job.error().text.empty());
        continue;
      }
      ++jobs;
      for (const PromptJob& p : job->prompts) (void)to_engine(app_, *job, p, 0);
    }
  }
  EXPECT_GT(jobs, 100);
}

}  // namespace
}  // namespace xylem
