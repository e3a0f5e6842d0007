#include "server/connection.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>

namespace xylem {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kWatchReadBytes = 2048;
constexpr size_t kMaxPipelinedBytes = 64 << 10;  // beyond it the client is no longer watched, only written to

asio::steady_timer::duration to_duration(double seconds) {
  return std::chrono::duration_cast<asio::steady_timer::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

void Connection::arm(double seconds) {
  const uint64_t epoch = ++deadline_epoch_;
  deadline_.expires_after(to_duration(seconds));
  deadline_.async_wait([self = shared_from_this(), epoch](error_code ec) {
    if (ec || epoch != self->deadline_epoch_) return;
    error_code ignored;
    self->socket_.close(ignored);
    self->gone_ = true;
  });
}

void Connection::disarm() {
  ++deadline_epoch_;
  deadline_.cancel();
}

asio::awaitable<error_code> Connection::wait_readable(double timeout_seconds) {
  if (buffer_.size() > 0) co_return error_code();
  buffer_.shrink_to_fit();
  arm(timeout_seconds);
  auto [ec] = co_await socket_.async_wait(asio::ip::tcp::socket::wait_read, kTuple);
  disarm();
  co_return ec;
}

asio::awaitable<error_code> Connection::read_header(Parser& parser, double timeout_seconds) {
  arm(timeout_seconds);
  auto [ec, bytes] = co_await http::async_read_header(socket_, buffer_, parser, kTuple);
  disarm();
  co_return ec;
}

asio::awaitable<error_code> Connection::read_body(Parser& parser, double timeout_seconds) {
  arm(timeout_seconds);
  auto [ec, bytes] = co_await http::async_read(socket_, buffer_, parser, kTuple);
  disarm();
  co_return ec;
}

asio::awaitable<bool> Connection::write(std::string_view bytes, double timeout_seconds) {
  // Mostly the socket takes everything at once; then neither a timer nor the reactor is needed.
  error_code ec;
  socket_.non_blocking(true, ec);
  while (!bytes.empty() && !gone_) {
    const size_t written = ec ? 0 : socket_.write_some(asio::buffer(bytes), ec);
    bytes.remove_prefix(written);
    if (bytes.empty() || !ec) continue;
    if (ec != asio::error::would_block && ec != asio::error::try_again) break;
    arm(timeout_seconds);
    auto [waited] = co_await socket_.async_wait(asio::ip::tcp::socket::wait_write, kTuple);
    disarm();
    ec = waited;
    if (ec) break;
  }
  if (!bytes.empty()) gone_ = true;
  co_return bytes.empty();
}

void Connection::watch() {
  watching_ = true;
  start_watch_read();
}

void Connection::start_watch_read() {
  if (watch_pending_ || gone_ || buffer_.size() >= kMaxPipelinedBytes) return;
  watch_pending_ = true;
  auto handler = [self = shared_from_this()](error_code ec, size_t bytes) {
    self->watch_pending_ = false;
    if (!ec)
      self->buffer_.commit(bytes);
    else if (self->watching_)
      self->gone_ = true;
    if (ec || !self->watching_)
      self->wake();
    else
      self->start_watch_read();
  };
  socket_.async_read_some(buffer_.prepare(kWatchReadBytes),
                          asio::bind_cancellation_slot(cancel_watch_.slot(), std::move(handler)));
}

asio::awaitable<void> Connection::unwatch() {
  watching_ = false;
  if (watch_pending_) cancel_watch_.emit(asio::cancellation_type::total);
  while (watch_pending_) co_await wait();
  woken_ = false;
}

asio::awaitable<void> Connection::wait() {
  while (!woken_) {
    wake_.expires_at(asio::steady_timer::time_point::max());
    co_await wake_.async_wait(kTuple);
  }
  woken_ = false;
}

void Connection::wake() {
  woken_ = true;
  wake_.cancel();
}

asio::awaitable<void> Connection::linger(double timeout_seconds) {
  error_code ec;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ec);
  arm(timeout_seconds);
  while (!ec) {
    buffer_.clear();
    auto [read_ec, bytes] = co_await socket_.async_read_some(buffer_.prepare(16 << 10), kTuple);
    ec = read_ec;
  }
  disarm();
}

}  // namespace xylem
