#include "server/server.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "server/app.h"
#include "server/http_session.h"
#include "server/mailbox.h"

namespace xylem {
namespace {

using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr auto kAcceptPause =
    std::chrono::milliseconds(50);  // out of file descriptors: some come back when clients leave
constexpr auto kDrainPoll = std::chrono::milliseconds(20);
constexpr double kCancelGraceSeconds = 5;
constexpr auto kWatchPeriod = std::chrono::milliseconds(200);
constexpr auto kLostGrace = std::chrono::seconds(2);  // in which /health says that the engine is lost
constexpr int kBacklog = 4096;

// Every connection needs a descriptor: take as many as the system allows.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int default_threads() { return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 4, 2, 8); }

Status check_config(const ServerConfig& c) {
  if (c.port < 0 || c.port > 65535) return invalid(fmt::format("The port must be from 0 to 65535, but is {}.", c.port));
  if (c.sampling_defaults != "model" && c.sampling_defaults != "openai")
    return invalid(
        fmt::format("The sampling defaults must be \"model\" or \"openai\", but are \"{}\".", c.sampling_defaults));
  for (const std::string* s : {&c.cors_origin, &c.api_key})
    if (s->find_first_of("\r\n") != std::string::npos)
      return invalid("The CORS origin and the API key must be one line each.");
  return {};
}

}  // namespace

// Members are destroyed in reverse: the io_context with all connections first, then what they use.
struct Server::Impl {
  Impl(ServerConfig config, ModelContext model, Engine& engine)
      : app(std::move(config), std::move(model), engine),
        io(threads()),
        acceptor(asio::make_strand(io)),
        signals(acceptor.get_executor()),
        drain_timer(acceptor.get_executor()) {}
  ~Impl() { end_posts(); }

  // Nothing outside the io_context posts to it any more.
  void end_posts() {
    app.workers.stop();
    app.mailboxes->close_all();
  }


  int threads() const { return app.config.http_threads > 0 ? app.config.http_threads : default_threads(); }
  Status bind();
  asio::awaitable<void> accept_loop();
  asio::awaitable<void> signal_loop();
  asio::awaitable<void> watch_engine();
  asio::awaitable<void> drain();
  asio::awaitable<bool> idle_within(double seconds);
  void begin_stop();  // on the acceptor's strand

  App app;
  asio::io_context io;
  tcp::acceptor acceptor;  // its strand owns everything below
  asio::signal_set signals;
  asio::steady_timer drain_timer;
  std::atomic<bool> stopping{false};
  int port = 0;
};

Status Server::Impl::bind() {
  const ServerConfig& c = app.config;
  error_code ec;
  tcp::resolver resolver(io);
  const auto endpoints = resolver.resolve(c.host, std::to_string(c.port), tcp::resolver::passive, ec);
  if (ec || endpoints.empty()) return invalid(fmt::format("Cannot listen on host \"{}\": {}.", c.host, ec.message()));
  const tcp::endpoint endpoint = *endpoints.begin();
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(kBacklog, ec);
  if (ec == asio::error::address_in_use)
    return unavailable(fmt::format(
        "Port {} on {} is in use by another program. Stop it, or choose another port with --port.", c.port, c.host));
  if (ec) return unavailable(fmt::format("Cannot listen on {}:{}: {}.", c.host, c.port, ec.message()));
  port = acceptor.local_endpoint(ec).port();
  return {};
}

asio::awaitable<void> Server::Impl::accept_loop() {
  asio::steady_timer pause(acceptor.get_executor());
  while (acceptor.is_open()) {
    auto [ec, socket] = co_await acceptor.async_accept(asio::make_strand(io), kTuple);
    if (!ec) {
      error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      auto connection = std::make_shared<Connection>(std::move(socket));
      asio::co_spawn(connection->executor(), serve_connection(connection, app), asio::detached);
    } else if (acceptor.is_open()) {
      log::debug("accept: {}", ec.message());
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(kTuple);
    }
  }
}

asio::awaitable<void> Server::Impl::signal_loop() {
  while (true) {
    auto [ec, signal] = co_await signals.async_wait(kTuple);
    if (ec) co_return;
    if (stopping) std::_Exit(128 + signal);
    log::info("signal {}: finishing running requests; once more to quit at once", signal);
    begin_stop();
  }
}

// Ends the server when the engine cannot go on.
asio::awaitable<void> Server::Impl::watch_engine() {
  asio::steady_timer timer(acceptor.get_executor());
  while (!app.engine.health().lost) {
    timer.expires_after(kWatchPeriod);
    co_await timer.async_wait(kTuple);
  }
  log::error("{} Stopping.", app.engine.health().text);
  timer.expires_after(kLostGrace);
  co_await timer.async_wait(kTuple);
  begin_stop();
}

void Server::Impl::begin_stop() {
  if (stopping.exchange(true)) return;
  app.draining = true;
  error_code ignored;
  acceptor.close(ignored);
  asio::co_spawn(acceptor.get_executor(), drain(), asio::detached);
}

asio::awaitable<bool> Server::Impl::idle_within(double seconds) {
  for (const double end = now_seconds() + seconds; app.busy > 0;) {
    if (now_seconds() >= end) co_return false;
    drain_timer.expires_after(kDrainPoll);
    co_await drain_timer.async_wait(kTuple);
  }
  co_return true;
}

asio::awaitable<void> Server::Impl::drain() {
  if (!co_await idle_within(app.config.drain_timeout_seconds)) {
    log::warn("cancelling {} requests that did not finish in {} s", app.active.size(),
              app.config.drain_timeout_seconds);
    for (const RequestId id : app.active.with_prefix("")) app.engine.cancel(id);
    co_await idle_within(kCancelGraceSeconds);
  }
  io.stop();
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::listen(ServerConfig config, ModelContext model, Engine& engine) {
  TRY_VOID(check_config(config));
  CHECK(model.tokenizer != nullptr);
  raise_descriptor_limit();
  auto impl = std::make_unique<Impl>(std::move(config), std::move(model), engine);
  TRY_VOID(impl->bind());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

int Server::port() const { return impl_->port; }

Status Server::run() {
  Impl& s = *impl_;
  if (s.app.config.handle_signals) {
    s.signals.add(SIGINT);
    s.signals.add(SIGTERM);
    asio::co_spawn(s.acceptor.get_executor(), s.signal_loop(), asio::detached);
  }
  asio::co_spawn(s.acceptor.get_executor(), s.accept_loop(), asio::detached);
  asio::co_spawn(s.acceptor.get_executor(), s.watch_engine(), asio::detached);
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < s.threads(); ++i) threads.emplace_back([&s] { s.io.run(); });
    s.io.run();
  }
  s.end_posts();
  if (const EngineHealth h = s.app.engine.health(); h.lost) return unavailable(h.text);
  return {};
}

void Server::stop() {
  asio::post(impl_->acceptor.get_executor(), [this] { impl_->begin_stop(); });
}

}  // namespace xylem
