// For tests: a running server on an ephemeral loopback port, over the fake engine.
#pragma once
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/fake_engine.h"
#include "server/json_body.h"
#include "server/server.h"
#include "server/test_client.h"
#include "server/test_support.h"

namespace xylem {

inline ServerConfig test_config() {
  ServerConfig c;
  c.port = 0;
  c.handle_signals = false;
  c.header_timeout_seconds = 60;
  return c;
}

class Running {
 public:
  explicit Running(FakeEngineOptions options = {}, ServerConfig config = test_config(),
                   ModelContext model = test_model())
      : engine(std::move(options)),
        server(Server::listen(std::move(config), std::move(model), engine).value()),
        thread_([this] { ended = server->run().ok(); }) {}
  ~Running() {
    server->stop();
    thread_.join();
  }
  int port() const { return server->port(); }
  Reply call(std::string_view method, std::string_view path, std::string_view body = {},
             std::string_view headers = {}) {
    TestClient client(port());
    client.send(TestClient::request(method, path, body, headers));
    return client.reply(method == "HEAD");
  }
  Reply post(std::string_view path, std::string_view body) { return call("POST", path, body); }
  Json post_json(std::string_view path, std::string_view body) {
    const Reply r = post(path, body);
    EXPECT_EQ(r.status, 200) << r.body;
    return Json::parse(r.body);
  }
  // Polls: events reach the engine some time after the client acted.
  template <class F>
  bool eventually(F condition) {
    for (int i = 0; i < 6000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  FakeEngine engine;
  std::unique_ptr<Server> server;
  std::atomic<int> ended{-1};  // 1: run() returned, 0: with an error

 private:
  std::thread thread_;
};

}  // namespace xylem
