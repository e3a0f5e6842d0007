// One request on one connection, and how it is answered.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <memory>

#include "server/connection.h"
#include "server/http_types.h"
#include "server/memory_budget.h"
#include "server/router.h"

namespace xylem {

struct App;

struct Exchange {
  App& app;
  std::shared_ptr<Connection> connection;
  HttpRequest request;
  bool http_1_0 = false;
  bool keep_alive = true;  // cleared by whoever finds that the connection cannot be used again
  int status = 0;          // sent; 0: nothing yet
  MemoryLease memory;      // of a large body, then of its images
};

// A whole response.
asio::awaitable<void> respond(Exchange& x, HttpResponse response);

// A stream of server-sent events: the head once, then events, then the end. False when the client is gone.
asio::awaitable<bool> begin_stream(Exchange& x);
asio::awaitable<bool> send_events(Exchange& x, std::string_view events);
asio::awaitable<bool> end_stream(Exchange& x);

// Runs a generation to its end, or until the client leaves.
asio::awaitable<void> run_generation(Exchange& x, TextJob job);
asio::awaitable<void> run_waiting(Exchange& x, Waiting what);

}  // namespace xylem
