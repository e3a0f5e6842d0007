#include "server/http_session.h"

#include <fmt/format.h>

#include <boost/beast/http/error.hpp>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/log.h"
#include "server/app.h"
#include "server/auth.h"
#include "server/errand.h"
#include "server/exchange.h"
#include "server/image_load.h"

namespace xylem {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr uint32_t kMaxHeaderBytes = 32 << 10;
constexpr double kLingerSeconds = 2;
constexpr const char* kNoMemory = "The requests in flight take too much memory. Try again later.";
constexpr size_t kLargeBodyBytes = 1 << 20;  // parsed by a worker, and part of the memory budget

// Counts the request and logs its line, whichever way it ends.
class Account {
 public:
  Account(Exchange& x, const Route* route) : x_(x), endpoint_(route ? route->path : "other"), start_(now_seconds()) {
    ++x_.app.busy;
    const bool usual = x_.request.method == "GET" || x_.request.method == "POST" || x_.request.method == "PUT" ||
                       x_.request.method == "HEAD" || x_.request.method == "OPTIONS";
    x_.app.metrics.http_begin(endpoint_, usual ? x_.request.method : "other");
  }
  ~Account() {
    x_.app.metrics.http_end(endpoint_, x_.status);
    --x_.app.busy;
    const auto level = x_.app.config.log_requests ? spdlog::level::info : spdlog::level::debug;
    spdlog::log(level, "{} {} {} {:.1f} ms", x_.request.method, endpoint_, x_.status, 1e3 * (now_seconds() - start_));
  }
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

 private:
  Exchange& x_;
  const std::string_view endpoint_;
  const double start_;
};

std::string path_of(std::string_view target) {
  if (const size_t scheme = target.find("://"); scheme != target.npos && !target.starts_with('/')) {
    const size_t slash = target.find('/', scheme + 3);
    target = slash == target.npos ? "/" : target.substr(slash);
  }
  return percent_decode(target.substr(0, target.find_first_of("?#")));
}

HttpRequest describe(const Connection::Parser& parser) {
  const auto& message = parser.get();
  HttpRequest r;
  r.method = std::string(message.method_string());
  r.path = path_of({message.target().data(), message.target().size()});
  r.authorization = std::string(message[http::field::authorization]);
  r.content_type = std::string(message[http::field::content_type]);
  return r;
}

bool is_json_type(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  for (char& c : type) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return type == "application/json";
}

HttpResponse preflight() {
  return {.status = 204,
          .headers = {{"Access-Control-Allow-Methods", "GET, POST, PUT, OPTIONS"},
                      {"Access-Control-Allow-Headers", "Authorization, Content-Type"},
                      {"Access-Control-Max-Age", "86400"}}};
}

// What can be refused from the head alone, before any of the body is read.
std::optional<HttpResponse> refuse(const Exchange& x, const Route* route) {
  const App& app = x.app;
  const HttpRequest& r = x.request;
  const bool open = (route && route->open) || r.method == "OPTIONS";
  if (!app.config.api_key.empty() && !open && !authorized(r.authorization, app.config.api_key))
    return error_response(401, "Unauthorized: send the server's API key as \"Authorization: Bearer KEY\".", {},
                          "invalid_api_key");
  if (r.method == "OPTIONS" && !app.config.cors_origin.empty()) return preflight();
  if (!route) return error_response(404, fmt::format("There is nothing at {}.", r.path.substr(0, 256)));
  if (!allows(*route, r.method)) {
    HttpResponse response = error_response(
        405, fmt::format("{} does not take {}; use {}.", route->path, r.method.substr(0, 32), route->methods));
    response.headers.emplace_back("Allow", std::string(route->methods));
    for (char& c : response.headers.back().second)
      if (c == ' ') c = ',';
    return response;
  }
  if (route->takes_json() && !is_json_type(r.content_type))
    return error_response(400, "Unsupported media type: only 'application/json' is allowed.");
  if (app.draining && !route->open) return error_response(503, "The server is shutting down.");
  return std::nullopt;
}

HttpResponse refuse_bytes(const App& app, const error_code& ec) {
  if (ec == http::error::header_limit)
    return error_response(431, fmt::format("The header is larger than {} bytes.", kMaxHeaderBytes));
  if (ec == http::error::body_limit || ec == http::error::buffer_overflow)
    return error_response(
        413, fmt::format("The request body is larger than the limit of {} bytes.", app.config.max_body_bytes));
  return error_response(400, fmt::format("Not an HTTP request: {}.", ec.message()));
}

bool is_http_error(const error_code& ec) {
  return ec.category() == make_error_code(http::error::bad_method).category() && ec != http::error::end_of_stream &&
         ec != http::error::partial_message;
}

// Answers and ends the connection although the client may still be sending.
asio::awaitable<void> reject(Exchange& x, HttpResponse response) {
  x.keep_alive = false;
  co_await respond(x, std::move(response));
  co_await x.connection->linger(kLingerSeconds);
}

class BodyParse : public Errand {
 public:
  BodyParse(std::shared_ptr<Connection> client, std::string text) : Errand(std::move(client)), text_(std::move(text)) {}
  Result<Json> take() { return std::move(body_); }

 protected:
  void work(size_t) override {
    body_ = parse_body(text_);
    text_ = {};
    finish();
  }
  void fail(Error error) override {
    body_ = std::move(error);
    finish();
  }

 private:
  std::string text_;
  Result<Json> body_ = internal_error("The body was not parsed.");
};

// Nothing when the client is gone.
asio::awaitable<std::optional<Result<Json>>> read_json(Exchange& x) {
  std::string text = std::exchange(x.request.body, {});
  if (text.size() < kLargeBodyBytes) co_return parse_body(text);
  const auto parse = std::make_shared<BodyParse>(x.connection, std::move(text));
  const Status ran = co_await run_errand(x, parse, 1);
  if (!ran.ok()) co_return Result<Json>(ran.error());
  if (!parse->done()) co_return std::nullopt;
  co_return parse->take();
}

// The images that a body names. Nothing when the client is gone.
asio::awaitable<std::optional<Result<BodyImages>>> read_images(Exchange& x, const Generation& route,
                                                               std::shared_ptr<const Json> body) {
  std::vector<ImageSource> sources;
  if (route.find_images && x.app.model.images) sources = route.find_images(*body);
  if (sources.empty()) co_return BodyImages();  // of a model that takes none, too: the parser refuses them
  if (Status s = check_images(x.app, sources); !s.ok()) co_return Result<BodyImages>(s.error());
  const auto load = std::make_shared<ImageLoad>(x.app, x.connection, std::move(body), std::move(sources));
  const Status ran = co_await run_errand(x, load, load->pieces());
  if (!ran.ok()) co_return Result<BodyImages>(ran.error());
  if (!load->done()) co_return std::nullopt;
  MemoryLease memory;
  Result<BodyImages> images = load->take(memory);
  x.memory = std::move(memory);
  co_return images;
}

// The job of a body. Nothing when the client is gone.
asio::awaitable<std::optional<Result<TextJob>>> read_job(Exchange& x, const Generation& route, Json json) {
  const auto body = std::make_shared<const Json>(std::move(json));
  const std::optional<Result<BodyImages>> images = co_await read_images(x, route, body);
  if (!images) co_return std::nullopt;
  if (!images->ok()) co_return Result<TextJob>(images->error());
  co_return route.parse(x.app, *body, **images);
}

asio::awaitable<void> dispatch_json(Exchange& x, const Route& route) {
  std::optional<HttpResponse> response;
  std::optional<Result<TextJob>> job;
  {
    const MemoryLease memory = std::move(x.memory);  // of the body, which ends here; x gets that of its images
    std::optional<Result<Json>> body = co_await read_json(x);
    if (body && !body->ok())
      response = error_response(body->error());
    else if (const auto* handler = std::get_if<JsonHandler>(&route.handler); body && handler)
      response = (*handler)(x.app, **body);
    else if (body)
      job = co_await read_job(x, std::get<Generation>(route.handler), **std::move(body));
    if (job && !job->ok()) response = error_response(job->error());
  }
  if (response)
    co_await respond(x, *std::move(response));
  else if (job)
    co_await run_generation(x, **std::move(job));
  else
    x.keep_alive = false;  // the client is gone
}

asio::awaitable<void> dispatch(Exchange& x, const Route& route) {
  if (const auto* plain = std::get_if<PlainHandler>(&route.handler)) {
    HttpResponse response = (*plain)(x.app, x.request);
    co_await respond(x, std::move(response));
  } else if (const auto* waiting = std::get_if<Waiting>(&route.handler)) {
    co_await run_waiting(x, *waiting);
  } else {
    co_await dispatch_json(x, route);
  }
}

// A handler that throws (out of memory, a bug in a library) costs its client a 500 or its stream, nobody else anything.
asio::awaitable<void> dispatch_safely(Exchange& x, const Route& route) {
  std::string failure;
  try {
    co_await dispatch(x, route);
  } catch (const std::exception& e) {
    failure = e.what();
  }
  if (failure.empty()) co_return;
  log::error("{} {} failed: {}", x.request.method, route.path, failure);
  x.keep_alive = false;
  if (x.status != 0) co_return;
  HttpResponse response = error_response(500, "Internal error; the server's log says more.");
  co_await respond(x, std::move(response));
}

// Small ones, and those that will be refused for their size, do not count. False: there is no memory left for it.
bool count_body(Exchange& x, uint64_t bytes) {
  if (bytes < kLargeBodyBytes || bytes > x.app.config.max_body_bytes) return true;
  x.memory = MemoryLease(x.app.memory);
  return x.memory.grow(static_cast<int64_t>(bytes));
}

// Reads the body and answers.
asio::awaitable<void> serve_body(Exchange& x, Connection::Parser& parser, const Route* route) {
  std::optional<HttpResponse> refusal = refuse(x, route);
  const bool has_body = !parser.is_done();
  if (refusal && has_body) co_return co_await reject(x, *std::move(refusal));
  if (refusal) co_return co_await respond(x, *std::move(refusal));
  if (has_body) {
    const auto announced = parser.content_length();
    if (announced && !count_body(x, *announced)) {
      refusal = error_response(503, kNoMemory);
      co_return co_await reject(x, *std::move(refusal));
    }
    const auto expect = parser.get()[http::field::expect];
    if (!expect.empty() && !x.http_1_0)
      co_await x.connection->write("HTTP/1.1 100 Continue\r\n\r\n", x.app.config.write_timeout_seconds);
    const error_code ec = co_await x.connection->read_body(parser, x.app.config.body_timeout_seconds);
    if (ec) {
      x.keep_alive = false;
      if (!is_http_error(ec)) co_return;
      refusal = refuse_bytes(x.app, ec);
      co_return co_await reject(x, *std::move(refusal));
    }
    if (!announced && !count_body(x, parser.get().body().size())) {
      refusal = error_response(503, kNoMemory);
      co_return co_await respond(x, *std::move(refusal));
    }
  }
  x.request.body = std::move(parser.get().body());
  co_await dispatch_safely(x, *route);
}

// One request. False when the connection has ended.
asio::awaitable<bool> serve_request(std::shared_ptr<Connection> connection, App& app) {
  Connection::Parser parser;
  parser.header_limit(kMaxHeaderBytes);
  parser.body_limit(app.config.max_body_bytes);
  const error_code ec = co_await connection->read_header(parser, app.config.header_timeout_seconds);
  if (ec && !is_http_error(ec)) co_return false;
  Exchange x{app, connection, {}};
  if (ec) {
    HttpResponse refusal = refuse_bytes(app, ec);
    Account account(x, nullptr);
    co_await reject(x, std::move(refusal));
    co_return false;
  }
  x.request = describe(parser);
  x.http_1_0 = parser.get().version() < 11;
  x.keep_alive = parser.keep_alive() && !app.draining;
  const Route* route = find_route(x.request.path);
  Account account(x, route);
  co_await serve_body(x, parser, route);
  co_return x.keep_alive;
}

}  // namespace

asio::awaitable<void> serve_connection(std::shared_ptr<Connection> connection, App& app) {
  try {
    while (true) {
      // Until the first byte an idle connection holds no parser and no buffer.
      const error_code ec = co_await connection->wait_readable(app.config.header_timeout_seconds);
      if (ec) co_return;
      if (!co_await serve_request(connection, app)) co_return;
    }
  } catch (const std::exception& e) {
    log::error("a connection failed: {}", e.what());
  }
}

}  // namespace xylem
