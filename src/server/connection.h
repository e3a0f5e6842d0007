// One client connection: reading requests, writing responses, noticing that the client has gone.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace xylem {

namespace asio = boost::asio;

// Lives on its socket's strand: every member is called there. Kept alive by the coroutine that serves it and by
// handlers.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  explicit Connection(asio::ip::tcp::socket socket)
      : socket_(std::move(socket)), deadline_(socket_.get_executor()), wake_(socket_.get_executor()) {}

  asio::any_io_executor executor() { return socket_.get_executor(); }

  // Each returns the error; on a timeout the socket is closed and the error is asio::error::operation_aborted.
  asio::awaitable<boost::system::error_code> wait_readable(double timeout_seconds);
  asio::awaitable<boost::system::error_code> read_header(Parser& parser, double timeout_seconds);
  asio::awaitable<boost::system::error_code> read_body(Parser& parser, double timeout_seconds);
  // False when the client is gone or took nothing for timeout_seconds.
  asio::awaitable<bool> write(std::string_view bytes, double timeout_seconds);

  // Between watch() and unwatch(), a pending read notices at once that the client closed; gone() then is true and
  // wait() returns. Bytes of a pipelined request are kept for the next read_header.
  void watch();
  asio::awaitable<void> unwatch();
  bool gone() const { return gone_; }

  // Suspends until wake() was called since the last wait().
  asio::awaitable<void> wait();
  void wake();

  // Ends the connection so that the last response still arrives: no more writes; what the client still sends is
  // dropped.
  asio::awaitable<void> linger(double timeout_seconds);

 private:
  void arm(double seconds);
  void disarm();
  void start_watch_read();

  asio::ip::tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
  asio::steady_timer deadline_, wake_;
  asio::cancellation_signal cancel_watch_;
  uint64_t deadline_epoch_ = 0;
  bool woken_ = false, gone_ = false, watching_ = false, watch_pending_ = false;
};

}  // namespace xylem
