// The events of one HTTP request's generations, on their way from the engine thread to the connection's strand.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "runtime/engine.h"
#include "server/connection.h"

namespace xylem {

// The engine may hold it longer than the connection, the server or its io_context live: close() cuts the tie.
class Mailbox : public EventSink {
 public:
  struct Item {
    EngineEvent event;
    double seconds = 0;  // when the engine handed it over, now_seconds()
  };

  // Events wake owner, which drains. max_items: beyond it overflowed() becomes true and events are dropped.
  Mailbox(std::shared_ptr<Connection> owner, size_t max_items);

  void on_event(EngineEvent event) override;  // engine thread: one lock, and a post when the owner may be asleep
  void drain(std::vector<Item>& out);         // strand; out is cleared first
  bool overflowed() const;
  void close();  // strand, or after the io_context has stopped running

 private:
  mutable std::mutex mu_;
  std::shared_ptr<Connection> owner_;  // null once closed
  std::optional<asio::any_io_executor> executor_;
  std::vector<Item> items_;
  const size_t max_items_;
  bool notified_ = false, overflowed_ = false;
};

// The open mailboxes of a server: closed together before its io_context goes. Any thread.
class Mailboxes {
 public:
  std::shared_ptr<Mailbox> open(std::shared_ptr<Connection> owner, size_t max_items);
  void close(const std::shared_ptr<Mailbox>& mailbox);
  void close_all();

 private:
  std::mutex mu_;
  std::set<std::shared_ptr<Mailbox>> open_;
};

}  // namespace xylem
