#include "server/errand.h"

#include <boost/asio/post.hpp>
#include <exception>

#include "server/app.h"
#include "server/exchange.h"

namespace xylem {
namespace {

// However the wait ends: nobody needs the rest.
struct Dropped {
  WorkerPool& pool;
  Errand& errand;
  ~Dropped() {
    errand.cancel();
    pool.drop(errand);
  }
};

}  // namespace

void Errand::run(size_t piece) noexcept {
  if (cancelled_ || done_) return;
  try {
    work(piece);
  } catch (const std::exception& e) {
    fail(internal_error(std::string("Out of memory or worse: ") + e.what()));
  }
}

void Errand::finish() {
  if (done_.exchange(true) || cancelled_) return;
  asio::post(client_->executor(), [client = client_] { client->wake(); });
}

asio::awaitable<Status> run_errand(Exchange& x, std::shared_ptr<Errand> errand, size_t pieces) {
  if (Status submitted = x.app.workers.submit(errand, pieces); !submitted.ok()) co_return submitted;
  const Dropped dropped{x.app.workers, *errand};
  x.connection->watch();
  while (!errand->done() && !x.connection->gone()) co_await x.connection->wait();
  co_await x.connection->unwatch();
  co_return Status();
}

}  // namespace xylem
