// Work of the worker pool that a connection waits for.
#pragma once
#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <memory>
#include <optional>

#include "server/connection.h"
#include "server/worker_pool.h"

namespace xylem {

struct Exchange;

class Errand : public PoolJob {
 public:
  explicit Errand(std::shared_ptr<Connection> client) : client_(std::move(client)) {}

  void run(size_t piece) noexcept final;
  bool done() const { return done_; }  // any thread; true: nothing will be written any more that the client reads
  void cancel() { cancelled_ = true; }

 protected:
  virtual void work(size_t piece) = 0;  // may throw
  virtual void fail(Error error) = 0;   // what it threw
  bool cancelled() const { return cancelled_; }
  void finish();  // any thread, once the outcome can be read; wakes the client

 private:
  const std::shared_ptr<Connection> client_;
  std::atomic<bool> done_{false}, cancelled_{false};
};

// On the connection's strand. kUnavailable when the pool is full. Ok with errand->done() false: the client is gone, and
// what had not begun was dropped.
asio::awaitable<Status> run_errand(Exchange& x, std::shared_ptr<Errand> errand, size_t pieces);

}  // namespace xylem
