// A running server on an ephemeral loopback port, over the fake engine.
#include "server/server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>
#include <random>

#include "server/fake_engine.h"
#include "server/json_body.h"
#include "server/test_server.h"

namespace xylem {
namespace {

constexpr const char* kChat = R"({"messages": [{"role": "user", "content": "hi"}]})";

std::vector<std::string> data_lines(const std::string& sse) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < sse.size();) {
    const size_t end = sse.find("\n\n", at);
    if (end == std::string::npos) break;
    lines.push_back(sse.substr(at + 6, end - at - 6));
    at = end + 2;
  }
  return lines;
}

std::string chat_text(const std::string& sse) {
  std::string text;
  for (const std::string& line : data_lines(sse)) {
    if (line == "[DONE]") continue;
    const Json event = Json::parse(line);
    if (event["choices"].empty()) continue;
    if (const Json& delta = event["choices"][0]["delta"]; delta.contains("content"))
      text += delta["content"].get<std::string>();
  }
  return text;
}

TEST(Server, AnswersEveryRoute) {
  Running s({.script = "fine"});
  const Json chat = s.post_json("/v1/chat/completions", kChat);
  EXPECT_EQ(chat["choices"][0]["message"]["content"], "fine");
  EXPECT_EQ(chat["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(s.post_json("/v1/completions", R"({"prompt": ["a", "b"]})")["choices"][1]["text"], "fine");
  const Json generated = s.post_json("/generate", R"({"text": "a"})");
  EXPECT_EQ(generated["text"], "fine");
  EXPECT_EQ(generated["meta_info"]["finish_reason"]["matched"], 257);
  EXPECT_EQ(generated["output_ids"].size(), 5u);
  EXPECT_EQ(s.post_json("/generate", R"({"text": ["a", "b"]})").size(), 2u);
  EXPECT_EQ(Json::parse(s.call("PUT", "/generate", R"({"input_ids": [65], "sampling_params": {"n": 3}})").body).size(),
            3u);
  EXPECT_EQ(s.post_json("/tokenize", R"({"prompt": "ab"})"),
            Json::parse(R"({"tokens": [97, 98], "count": 2, "max_model_len": 4096})"));
  EXPECT_EQ(s.post_json("/v1/tokenize", kChat)["tokens"][0], 258);
  EXPECT_EQ(s.post_json("/detokenize", R"({"tokens": [[97], [98, 257]]})")["text"], Json::parse(R"(["a", "b"])"));
  for (const char* path : {"/", "/health", "/health_generate", "/ping", "/metrics", "/server_info", "/get_server_info",
                           "/model_info", "/get_model_info", "/v1/models", "/v1/models/models/fake",
                           "/v1/models/models%2Ffake?x=1", "/v1/loads", "/flush_cache"})
    EXPECT_EQ(s.call("GET", path).status, 200) << path;
  EXPECT_EQ(s.post("/flush_cache", "").status, 200);
  EXPECT_EQ(s.post("/abort_request", R"({"rid": "none"})").status, 200);
  EXPECT_EQ(Json::parse(s.call("GET", "/server_info").body)["internal_states"].size(), 1u);
  EXPECT_EQ(Json::parse(s.call("GET", "/v1/models").body)["data"][0]["max_model_len"], 4096);
}

TEST(Server, StreamsEqualWholeAnswers) {
  Running s;
  const std::string fields = R"({"messages": [{"role": "user", "content": "hi"}], "seed": 3, "max_tokens": 40)";
  const std::string whole = s.post_json("/v1/chat/completions", fields + "}")["choices"][0]["message"]["content"];
  EXPECT_EQ(whole.size(), 40u);
  const Reply r =
      s.post("/v1/chat/completions", fields + R"(, "stream": true, "stream_options": {"include_usage": true}})");
  EXPECT_EQ(r.headers.at("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(chat_text(r.body), whole);
  const auto lines = data_lines(r.body);
  EXPECT_EQ(lines.back(), "[DONE]");
  EXPECT_EQ(Json::parse(lines[lines.size() - 2])["usage"]["completion_tokens"], 40);
  const Reply native =
      s.post("/generate", R"({"text": "hi", "stream": true, "sampling_params": {"seed": 3, "max_new_tokens": 40}})");
  const auto events = data_lines(native.body);
  EXPECT_EQ(Json::parse(events[events.size() - 2])["text"], whole);
}

TEST(Server, ChoicesDifferBySeedAndRepeat) {
  Running s;
  const char* body = R"({"prompt": "x", "n": 2, "seed": 9, "max_tokens": 20})";
  const Json a = s.post_json("/v1/completions", body), b = s.post_json("/v1/completions", body);
  EXPECT_EQ(a["choices"][0]["text"], b["choices"][0]["text"]);
  EXPECT_EQ(a["choices"][1]["text"], b["choices"][1]["text"]);
  EXPECT_NE(a["choices"][0]["text"], a["choices"][1]["text"]);
}

TEST(Server, StopStringEndsTheEnginesRequest) {
  Running s({.script = std::string(2000, 'x') + "STOP" + std::string(100000, 'y'), .max_total_tokens = 1 << 20});
  const Json body =
      s.post_json("/generate", R"({"text": "a", "sampling_params": {"stop": "STOP", "max_new_tokens": 4000}})");
  EXPECT_EQ(body["text"].get<std::string>().size(), 2000u);
  EXPECT_EQ(body["meta_info"]["finish_reason"]["matched"], "STOP");
  EXPECT_TRUE(s.eventually([&] { return s.engine.stats().running == 0; }));
}

TEST(Server, HealthAfterAFailedStep) {
  Running s;
  s.engine.set_health({.ok = false, .text = "A step failed."});
  const uint64_t before = s.engine.submitted();
  const Reply r = s.call("GET", "/health");
  EXPECT_EQ(r.status, 503);
  EXPECT_EQ(Json::parse(r.body)["message"], "A step failed.");
  EXPECT_EQ(s.call("GET", "/ping").status, 503);
  EXPECT_TRUE(s.eventually([&] { return s.engine.submitted() > before; }));  // the next step is tried for
  EXPECT_EQ(s.call("GET", "/health_generate").status, 200);                  // it succeeds here
  s.engine.set_health({});
  EXPECT_EQ(s.call("GET", "/health").status, 200);
}

TEST(Server, EndsWithAnErrorWhenTheEngineIsLost) {
  Running s;
  s.engine.set_health({.ok = false, .lost = true, .text = "The device is lost."});
  for (const char* path : {"/health", "/health_generate"}) {
    const Reply r = s.call("GET", path);
    EXPECT_EQ(r.status, 503);
    EXPECT_EQ(Json::parse(r.body)["message"], "The device is lost.");
  }
  EXPECT_TRUE(s.eventually([&] { return s.ended == 0; }));
}

TEST(Server, BadRequestsGetTheEnvelope) {
  Running s;
  const auto expect = [](const Reply& r, int status) {
    EXPECT_EQ(r.status, status) << r.body;
    const Json body = Json::parse(r.body);
    EXPECT_EQ(body["object"], "error");
    EXPECT_FALSE(body["message"].get<std::string>().empty());
    EXPECT_EQ(body["error"]["message"], body["message"]);
  };
  expect(s.call("GET", "/nothing"), 404);
  expect(s.call("GET", "/v1/models/other"), 404);
  expect(s.call("GET", "/generate"), 405);
  expect(s.call("DELETE", "/health"), 405);
  expect(s.post("/generate", "{"), 400);
  expect(s.post("/generate", ""), 400);
  expect(s.post("/generate", "[]"), 400);
  expect(s.post("/generate", std::string(100000, '[')), 400);
  expect(s.post("/generate", "{\"text\": \"\xff\"}"), 400);
  expect(s.post("/generate", R"({"text": "a", "sampling_params": {"temperature": -1}})"), 400);
  expect(s.post("/generate", R"({"input_ids": [1]})"), 500);
  expect(s.post("/v1/completions", R"({"prompt": [1], "stream": true})"), 500);
  TestClient plain(s.port());
  plain.send("POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
  expect(plain.reply(), 400);
  EXPECT_EQ(
      s.post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3})").status,
      200);
}

TEST(Server, OversizedBodiesAndHeaders) {
  ServerConfig config = test_config();
  config.max_body_bytes = 1000;
  Running s({}, config);
  EXPECT_EQ(s.post("/generate", std::string(5000, ' ')).status, 413);
  TestClient chunked(s.port());
  chunked.send(
      "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; ++i) chunked.send("64\r\n" + std::string(100, ' ') + "\r\n");
  EXPECT_EQ(chunked.reply().status, 413);
  EXPECT_EQ(s.call("GET", "/health", "", "X: " + std::string(100000, 'a') + "\r\n").status, 431);
  EXPECT_EQ(s.call("GET", "/" + std::string(20000, 'a')).status, 404);
}

TEST(Server, KeyProtectsAllButHealthAndMetrics) {
  ServerConfig config = test_config();
  config.api_key = "secret";
  Running s({.script = "ok"}, config);
  EXPECT_EQ(s.post("/v1/chat/completions", kChat).status, 401);
  EXPECT_EQ(s.call("GET", "/v1/models").status, 401);
  EXPECT_EQ(s.call("GET", "/nothing").status, 401);
  EXPECT_EQ(s.call("GET", "/v1/models", "", "Authorization: Bearer wrong\r\n").status, 401);
  EXPECT_EQ(s.call("GET", "/v1/models", "", "Authorization: Bearer secret\r\n").status, 200);
  EXPECT_EQ(s.call("POST", "/v1/chat/completions", kChat, "Authorization: Bearer secret\r\n").status, 200);
  for (const char* open : {"/health", "/health_generate", "/metrics"})
    EXPECT_EQ(s.call("GET", open).status, 200) << open;
}

TEST(Server, FullQueueIs503) {
  Running s({.max_queued = 1});
  s.engine.hold(true);
  TestClient first(s.port());
  first.post("/generate", R"({"text": "a"})");
  ASSERT_TRUE(s.eventually([&] { return s.engine.stats().running == 1; }));
  const Reply r = s.post("/generate", R"({"text": "b", "stream": true})");
  EXPECT_EQ(r.status, 503);
  EXPECT_EQ(Json::parse(r.body)["message"], "The request queue is full.");
  s.engine.hold(false);
  EXPECT_EQ(first.reply().status, 200);
}

TEST(Server, ClientThatLeavesIsCancelled) {
  Running s({.step = std::chrono::milliseconds(1), .context_length = 1 << 30, .max_total_tokens = 1 << 30});
  const char* endless = R"("sampling_params": {"max_new_tokens": 10000000}})";
  TestClient streaming(s.port()), waiting(s.port());
  streaming.post("/generate", std::string(R"({"text": "a", "stream": true, )") + endless);
  waiting.post("/generate", std::string(R"({"text": "b", )") + endless);
  ASSERT_TRUE(streaming.read_until("data: "));
  ASSERT_TRUE(s.eventually([&] { return s.engine.stats().running == 2; }));
  streaming.close();
  EXPECT_TRUE(s.eventually([&] { return s.engine.stats().running == 1; }));
  waiting.close();
  EXPECT_TRUE(s.eventually([&] { return s.engine.stats().running == 0; }));
  EXPECT_EQ(s.engine.stats().aborted, 2u);
}

TEST(Server, AbortByRid) {
  Running s({.step = std::chrono::milliseconds(1), .context_length = 1 << 30, .max_total_tokens = 1 << 30});
  TestClient client(s.port());
  client.post("/v1/chat/completions",
              R"({"messages": [{"role": "user", "content": "hi"}], "rid": "job-7", "max_tokens": 10000000})");
  ASSERT_TRUE(s.eventually([&] { return s.engine.stats().running == 1; }));
  EXPECT_EQ(s.post("/abort_request", R"({"rid": "job"})").status, 200);
  const Reply r = client.reply();
  EXPECT_EQ(Json::parse(r.body)["choices"][0]["finish_reason"], "abort");
}

TEST(Server, SlowReaderIsDroppedAndHarmsNobody) {
  ServerConfig config = test_config();
  config.write_timeout_seconds = 0.3;
  config.incremental_streaming_output = true;
  Running s({.context_length = 1 << 30, .max_total_tokens = 1 << 30}, config);
  TestClient slow(s.port(), 4096);
  slow.post("/generate", R"({"text": "a", "stream": true, "sampling_params": {"max_new_tokens": 100000000}})");
  ASSERT_TRUE(s.eventually([&] { return s.engine.submitted() == 1; }));
  EXPECT_EQ(s.post("/generate", R"({"text": "b", "sampling_params": {"max_new_tokens": 20}})").status, 200);
  EXPECT_TRUE(s.eventually([&] { return s.engine.stats().running == 0; }));
}

TEST(Server, KeepAliveAndPipelining) {
  Running s({.script = "ok"});
  TestClient client(s.port());
  std::string burst;
  for (int i = 0; i < 5; ++i)
    burst += TestClient::request("POST", "/v1/chat/completions", kChat) + TestClient::request("GET", "/health", "");
  client.send(burst);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Json::parse(client.reply().body)["choices"][0]["message"]["content"], "ok");
    EXPECT_EQ(client.reply().status, 200);
  }
  client.send(TestClient::request("HEAD", "/health", ""));
  EXPECT_EQ(client.reply(/*to_head=*/true).status, 200);
  client.send(TestClient::request("GET", "/health", "", "Connection: close\r\n"));
  EXPECT_EQ(client.reply().headers.at("connection"), "close");
  EXPECT_TRUE(client.closed_by_server());
}

TEST(Server, OldHttpAndContinue) {
  Running s({.script = "ok"});
  const std::string body = R"({"text": "a", "stream": true})";
  TestClient old(s.port());
  old.send("POST /generate HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body);
  const Reply r = old.reply();
  EXPECT_FALSE(r.headers.contains("transfer-encoding"));
  EXPECT_EQ(data_lines(r.body).back(), "[DONE]");
  TestClient careful(s.port());
  careful.send(
      "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: "
      "13\r\n\r\n");
  ASSERT_TRUE(careful.read_until("100 Continue\r\n\r\n"));
  EXPECT_EQ(careful.reply().status, 100);
  careful.send(R"({"text": "a"})");
  EXPECT_EQ(careful.reply().status, 200);
}

TEST(Server, HostileBytesNeverStopIt) {
  Running s({.script = "ok"});
  std::mt19937 random(3);
  const std::string pieces[] = {"GET / HTTP/1.1\r\n",
                                "POST /generate HTTP/1.1\r\n",
                                "Content-Length: 5\r\n",
                                "Content-Length: 99999999999999999999\r\n",
                                "Content-Length: -1\r\n",
                                "Transfer-Encoding: chunked\r\n",
                                "\r\n",
                                "fffffffffffffffff\r\n",
                                "{\"text\":",
                                "\0\0",
                                "\xff\xfe",
                                "GET http://x:1/health HTTP/1.1\r\n",
                                "Content-Type: application/json\r\n",
                                "0\r\n\r\n",
                                "Expect: 100-continue\r\n"};
  for (int i = 0; i < 300; ++i) {
    TestClient client(s.port());
    for (unsigned n = random() % 8; n > 0; --n) client.send(pieces[random() % std::size(pieces)]);
  }
  EXPECT_EQ(s.post("/v1/chat/completions", kChat).status, 200);
}

TEST(Server, SilentConnectionsAreClosedAndStopNobody) {
  ServerConfig config = test_config();
  config.header_timeout_seconds = 1;
  Running s({.script = "ok"}, config);
  std::vector<std::unique_ptr<TestClient>> idle;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const size_t count = std::min<size_t>(1000, limit.rlim_cur / 4);
  for (size_t i = 0; i < count; ++i) idle.push_back(std::make_unique<TestClient>(s.port()));
  for (size_t i = 0; i < count; i += 2) idle[i]->send("POST /generate HT");
  EXPECT_EQ(s.post("/v1/chat/completions", kChat).status, 200);
  for (auto& client : idle) EXPECT_TRUE(client->closed_by_server());
}

TEST(Server, StopFinishesRunningRequests) {
  auto s = std::make_unique<Running>(FakeEngineOptions{.step = std::chrono::milliseconds(5)});
  const int port = s->port();
  TestClient client(port), idle(port);
  client.post("/v1/chat/completions",
              R"({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "stream": true})");
  ASSERT_TRUE(client.read_until("data: "));
  std::thread stopper([&] { s.reset(); });
  const Reply r = client.reply();
  EXPECT_EQ(chat_text(r.body).size(), 50u);
  EXPECT_TRUE(idle.closed_by_server());
  stopper.join();
}

TEST(Server, StopCancelsWhatDoesNotFinish) {
  ServerConfig config = test_config();
  config.drain_timeout_seconds = 0.1;
  auto s = std::make_unique<Running>(
      FakeEngineOptions{.step = std::chrono::milliseconds(1), .context_length = 1 << 30, .max_total_tokens = 1 << 30},
      config);
  TestClient client(s->port());
  client.post("/generate", R"({"text": "a", "sampling_params": {"max_new_tokens": 100000000}})");
  ASSERT_TRUE(s->eventually([&] { return s->engine.stats().running == 1; }));
  std::thread stopper([&] { s.reset(); });
  EXPECT_EQ(Json::parse(client.reply().body)["meta_info"]["finish_reason"]["type"], "abort");
  stopper.join();
}

TEST(Server, PortInUseIsAClearError) {
  Running s;
  ServerConfig config = test_config();
  config.port = s.port();
  auto second = Server::listen(config, test_model(), s.engine);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().text.find("is in use"), std::string::npos);
  config.host = "no.such.host.invalid";
  EXPECT_FALSE(Server::listen(config, test_model(), s.engine).ok());
  config.port = 70000;
  EXPECT_FALSE(Server::listen(config, test_model(), s.engine).ok());
}

TEST(Server, CorsOnlyWhenAsked) {
  Running plain;
  EXPECT_EQ(plain.call("OPTIONS", "/v1/chat/completions").status, 405);
  ServerConfig config = test_config();
  config.cors_origin = "*";
  config.api_key = "k";
  Running s({}, config);
  const Reply r = s.call("OPTIONS", "/v1/chat/completions");
  EXPECT_EQ(r.status, 204);
  EXPECT_EQ(r.headers.at("access-control-allow-origin"), "*");
}

TEST(Server, MetricsCount) {
  Running s({.script = "abc"});
  s.post("/v1/chat/completions", kChat);
  s.post("/nothing", "");
  const auto has = [&](const char* line) { return s.call("GET", "/metrics").body.find(line) != std::string::npos; };
  EXPECT_TRUE(has("xylem:generation_tokens_total{model_name=\"models/fake\"} 4"));
  EXPECT_TRUE(has("xylem:time_to_first_token_seconds_count{model_name=\"models/fake\"} 1"));
  EXPECT_TRUE(has("xylem:inter_token_latency_seconds_count{model_name=\"models/fake\"} 3"));
  EXPECT_TRUE(s.eventually([&] { return has("endpoint=\"other\",status_code=\"404\""); }))
      << "counted after it was sent";
}

TEST(Server, AThousandConcurrentStreams) {
  Running s({.step = std::chrono::milliseconds(1), .max_queued = 900});
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const size_t count = std::min<size_t>(1000, limit.rlim_cur / 3);
  std::vector<std::unique_ptr<TestClient>> clients;
  s.engine.hold(true);
  for (size_t i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<TestClient>(s.port()));
    clients.back()->post(
        "/v1/chat/completions",
        R"({"messages": [{"role": "user", "content": "hi"}], "stream": true, "max_tokens": 30, "seed": )" +
            std::to_string(i) + "}");
  }
  ASSERT_TRUE(s.eventually([&] { return s.engine.submitted() >= std::min<size_t>(count, 900); }));
  s.engine.hold(false);
  size_t answered = 0, refused = 0;
  for (auto& client : clients) {
    const Reply r = client->reply();
    if (r.status == 503)
      ++refused;
    else if (r.status == 200 && chat_text(r.body).size() == 30 && data_lines(r.body).back() == "[DONE]")
      ++answered;
  }
  EXPECT_EQ(answered + refused, count);
  EXPECT_GE(answered, std::min<size_t>(count, 900));
}

}  // namespace
}  // namespace xylem
