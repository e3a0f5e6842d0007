#include "cli/http_client.h"

#include <chrono>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

namespace xylem {
namespace {
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::use_awaitable;
}  // namespace

struct HttpClient::Impl {
  asio::io_context io{1};
  Url url;
  std::string api_key;
  std::chrono::steady_clock::duration timeout;

  asio::awaitable<HttpReply> exchange(std::string target, std::string body, const OnData& on_data);
  asio::awaitable<void> send(std::string target, std::string body, OnData on_data, OnDone on_done);
};

// Throws what Asio throws.
asio::awaitable<HttpReply> HttpClient::Impl::exchange(std::string target, std::string body, const OnData& on_data) {
  asio::ip::tcp::resolver resolver(io);
  const auto addresses = co_await resolver.async_resolve(url.host, url.port, use_awaitable);
  beast::tcp_stream stream(io);
  stream.expires_after(timeout);
  co_await stream.async_connect(addresses, use_awaitable);
  stream.socket().set_option(asio::ip::tcp::no_delay(true));

  http::request<http::string_body> request(body.empty() ? http::verb::get : http::verb::post, url.path + target, 11);
  request.set(http::field::host, url.host + ":" + url.port);
  request.set(http::field::connection, "close");
  if (!body.empty()) request.set(http::field::content_type, "application/json");
  if (!api_key.empty()) request.set(http::field::authorization, "Bearer " + api_key);
  request.body() = std::move(body);
  request.prepare_payload();
  co_await http::async_write(stream, request, use_awaitable);

  beast::flat_buffer buffer;
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  stream.expires_after(timeout);
  co_await http::async_read_header(stream, buffer, parser, use_awaitable);
  HttpReply reply{int(parser.get().result_int()), {}, {}};
  char piece[16384];
  while (!parser.is_done()) {
    parser.get().body().data = piece;
    parser.get().body().size = sizeof piece;
    stream.expires_after(timeout);
    boost::system::error_code ec;
    co_await http::async_read_some(stream, buffer, parser, asio::redirect_error(use_awaitable, ec));
    if (ec && ec != http::error::need_buffer) throw boost::system::system_error(ec);
    const std::string_view got(piece, sizeof piece - parser.get().body().size);
    if (got.empty()) continue;
    if (on_data && reply.status == 200) on_data(got);
    else reply.body += got;
  }
  co_return reply;
}

asio::awaitable<void> HttpClient::Impl::send(std::string target, std::string body, OnData on_data, OnDone on_done) {
  HttpReply reply;
  try {
    reply = co_await exchange(std::move(target), std::move(body), on_data);
  } catch (const boost::system::system_error& e) {
    reply.status = 0;
    reply.error = "http://" + url.host + ":" + url.port + ": " + e.code().message();
  }
  on_done(std::move(reply));
}

HttpClient::HttpClient(Url url, std::string api_key, double timeout_seconds) : impl_(std::make_unique<Impl>()) {
  impl_->url = std::move(url);
  impl_->api_key = std::move(api_key);
  impl_->timeout = std::chrono::milliseconds(int64_t(timeout_seconds * 1000));
}
HttpClient::~HttpClient() = default;

void HttpClient::send(std::string target, std::string body, OnData on_data, OnDone on_done) {
  asio::co_spawn(impl_->io, impl_->send(std::move(target), std::move(body), std::move(on_data), std::move(on_done)), asio::detached);
}

void HttpClient::after(double seconds, std::function<void()> f) {
  auto timer = std::make_shared<asio::steady_timer>(impl_->io, std::chrono::microseconds(int64_t(seconds * 1e6)));
  timer->async_wait([timer, f = std::move(f)](boost::system::error_code ec) { if (!ec) f(); });
}

void HttpClient::run() {
  impl_->io.run();
  impl_->io.restart();
}

HttpReply http_request(const Url& url, const std::string& api_key, std::string target, std::string body, double timeout_seconds) {
  HttpReply out;
  HttpClient client(url, api_key, timeout_seconds);
  client.send(std::move(target), std::move(body), {}, [&](HttpReply reply) { out = std::move(reply); });
  client.run();
  return out;
}

Result<Url> parse_url(std::string_view text) {
  const std::string all(text);
  if (text.starts_with("https://")) return unsupported("--url " + all + ": TLS is not supported, use http://");
  if (text.starts_with("http://")) text.remove_prefix(7);
  Url url{{}, "80", {}};
  const size_t slash = text.find('/');
  if (slash != text.npos) url.path = text.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  text = text.substr(0, slash);
  const size_t bracket = text.rfind(']'), colon = text.rfind(':');
  if (colon != text.npos && (bracket == text.npos || colon > bracket)) {
    url.port = text.substr(colon + 1);
    text = text.substr(0, colon);
  }
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  url.host = text;
  if (url.host.empty() || url.port.empty() || url.port.find_first_not_of("0123456789") != url.port.npos || url.port.size() > 5)
    return invalid("--url " + all + ": write http://HOST:PORT");
  return url;
}

void SseLines::push(std::string_view piece, const std::function<void(std::string_view data)>& f) {
  while (true) {
    const size_t end = piece.find('\n');
    partial_ += piece.substr(0, end);
    if (end == piece.npos) return;
    piece.remove_prefix(end + 1);
    std::string_view line = partial_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("data: ")) f(line.substr(6));
    partial_.clear();
  }
}

}  // namespace xylem
