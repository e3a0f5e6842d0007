// Health probes and cache flushes: routes that wait for the engine.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

#include "base/clock.h"
#include "server/app.h"
#include "server/exchange.h"
#include "server/mailbox.h"

namespace xylem {
namespace {

constexpr double kProbeSeconds = 20;
constexpr auto kPoll = std::chrono::milliseconds(10);

// A request of one token whose event proves that the loop turns.
class Probe {
 public:
  Probe(App& app, std::shared_ptr<Connection> connection)
      : app_(app), mailbox_(app.mailboxes->open(std::move(connection), 4)) {
    GenerateRequest r;
    r.id = id_ = app.engine.next_id();
    r.prompt = {app.model.eos_ids.empty() ? 0 : app.model.eos_ids.front()};
    r.sampling.temperature = 0;
    r.max_new_tokens = 1;
    (void)app.engine.submit(std::move(r),
                            mailbox_);  // when the queue is full, the steps it causes are the sign of life
  }
  Probe(const Probe&) = delete;
  ~Probe() {
    app_.mailboxes->close(mailbox_);
    app_.engine.cancel(id_);
  }
  bool answered() {
    std::vector<Mailbox::Item> items;
    mailbox_->drain(items);
    return !items.empty() && items[0].event.finish != Finish::kError;
  }

 private:
  App& app_;
  std::shared_ptr<Mailbox> mailbox_;
  RequestId id_ = 0;
};

// A request of one token for nobody: after a failed step, the next one shows whether the engine is well again.
void try_step(App& app) {
  struct Nobody : EventSink {
    void on_event(EngineEvent) override {}
  };
  const EngineStats s = app.engine.stats();
  if (s.running + s.queued > 0) return;
  GenerateRequest r;
  r.id = app.engine.next_id();
  r.prompt = {app.model.eos_ids.empty() ? 0 : app.model.eos_ids.front()};
  r.max_new_tokens = 1;
  (void)app.engine.submit(std::move(r), std::make_shared<Nobody>());
}

HttpResponse healthy() { return text_response(""); }

asio::awaitable<void> pause(Exchange& x) {
  asio::steady_timer timer(x.connection->executor(), kPoll);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

// 200 once the engine makes progress. An idle engine is taken for healthy, unless generate is set: then it must prove
// it.
asio::awaitable<HttpResponse> health(Exchange& x, bool generate) {
  const EngineHealth engine = x.app.engine.health();
  if (engine.lost) co_return error_response(503, engine.text);
  if (x.app.draining) co_return error_response(503, "The server is shutting down.");
  if (!engine.ok && !generate) {
    try_step(x.app);
    co_return error_response(503, engine.text);
  }
  const EngineStats before = x.app.engine.stats();
  if (!generate && before.running + before.queued == 0) co_return healthy();
  std::optional<Probe> probe;
  if (generate) probe.emplace(x.app, x.connection);
  for (const double end = now_seconds() + kProbeSeconds; now_seconds() < end;) {
    if (probe && probe->answered()) co_return healthy();
    const EngineStats now = x.app.engine.stats();
    if (now.steps != before.steps || (!generate && now.running + now.queued == 0)) co_return healthy();
    co_await pause(x);
  }
  co_return error_response(503, "The engine made no progress for 20 seconds.");
}

// The engine answers between steps, so a thread waits for it, not this one; at most one at a time.
asio::awaitable<HttpResponse> flush_cache(Exchange& x) {
  if (x.app.flushing.exchange(true)) co_return error_response(503, "A flush is already running.");
  bool flushed = false, done = false;
  {
    std::jthread thread([&x, &flushed, &done, connection = x.connection] {
      const bool ok = x.app.engine.flush_cache();
      asio::post(connection->executor(), [&flushed, &done, ok, connection] {
        flushed = ok;
        done = true;
        connection->wake();
      });
    });
    while (!done) co_await x.connection->wait();
  }
  x.app.flushing = false;
  if (flushed) co_return text_response("Cache flushed.\n");
  co_return error_response(400, "The cache was not flushed: requests are running or queued.");
}

}  // namespace

asio::awaitable<void> run_waiting(Exchange& x, Waiting what) {
  HttpResponse response;
  if (what == Waiting::kFlushCache)
    response = co_await flush_cache(x);
  else
    response = co_await health(x, what == Waiting::kHealthGenerate);
  co_await respond(x, std::move(response));
}

}  // namespace xylem
