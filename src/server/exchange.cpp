#include "server/exchange.h"

#include <fmt/format.h>

#include "server/app.h"

namespace xylem {
namespace {

std::string head(const Exchange& x, int status, std::string_view content_type) {
  std::string text = fmt::format("HTTP/1.1 {} {}\r\nServer: xylem\r\nConnection: {}\r\n", status, reason_phrase(status),
                                 x.keep_alive ? "keep-alive" : "close");
  if (!content_type.empty()) text += fmt::format("Content-Type: {}\r\n", content_type);
  if (const std::string& origin = x.app.config.cors_origin; !origin.empty())
    text += fmt::format("Access-Control-Allow-Origin: {}\r\nVary: Origin\r\n", origin);
  return text;
}

}  // namespace

asio::awaitable<void> respond(Exchange& x, HttpResponse response) {
  x.status = response.status;
  std::string text = head(x, response.status, response.status == 204 ? "" : response.content_type);
  for (const auto& [name, value] : response.headers) text += fmt::format("{}: {}\r\n", name, value);
  if (response.status != 204) text += fmt::format("Content-Length: {}\r\n", response.body.size());
  text += "\r\n";
  if (x.request.method != "HEAD") text += response.body;
  if (!co_await x.connection->write(text, x.app.config.write_timeout_seconds)) x.keep_alive = false;
}

asio::awaitable<bool> begin_stream(Exchange& x) {
  x.status = 200;
  if (x.http_1_0) x.keep_alive = false;  // no chunks: the end of the stream is the end of the connection
  std::string text = head(x, 200, "text/event-stream; charset=utf-8") + "Cache-Control: no-cache\r\n";
  text += x.http_1_0 ? "\r\n" : "Transfer-Encoding: chunked\r\n\r\n";
  co_return co_await x.connection->write(text, x.app.config.write_timeout_seconds);
}

asio::awaitable<bool> send_events(Exchange& x, std::string_view events) {
  if (x.http_1_0) co_return co_await x.connection->write(events, x.app.config.write_timeout_seconds);
  const std::string chunk = fmt::format("{:x}\r\n{}\r\n", events.size(), events);
  co_return co_await x.connection->write(chunk, x.app.config.write_timeout_seconds);
}

asio::awaitable<bool> end_stream(Exchange& x) {
  if (x.http_1_0) co_return true;
  co_return co_await x.connection->write("0\r\n\r\n", x.app.config.write_timeout_seconds);
}

}  // namespace xylem
