#include "server/app.h"
#include "server/exchange.h"
#include "server/job_run.h"

namespace xylem {
namespace {

// Sends what has come; the head with the first of it. False when the client is gone.
asio::awaitable<bool> flush(Exchange& x, std::string& events) {
  if (events.empty()) co_return true;
  if (x.status == 0 && !co_await begin_stream(x)) co_return false;
  const bool sent = co_await send_events(x, events);
  events.clear();
  co_return sent;
}

// Until every choice has ended; false when the client is gone or too slow. A failure before the first byte ends it
// early.
asio::awaitable<bool> pump(Exchange& x, JobRun& run) {
  for (std::string events;;) {
    if (x.connection->gone() || run.overflowed()) co_return false;
    run.advance(events);
    if (run.error() && x.status == 0) co_return true;
    if (run.done() && run.streams()) events += "data: [DONE]\n\n";
    if (!co_await flush(x, events)) co_return false;
    if (run.done()) co_return true;
    co_await x.connection->wait();
  }
}

}  // namespace

asio::awaitable<void> run_generation(Exchange& x, TextJob job) {
  JobRun run(x.app, x.connection, std::move(job));
  if (const Status submitted = run.submit(); !submitted.ok()) {
    HttpResponse refusal = error_response(submitted.error());
    co_await respond(x, std::move(refusal));
    co_return;
  }
  x.connection->watch();
  const bool served = co_await pump(x, run);
  co_await x.connection->unwatch();
  if (!served) {
    x.keep_alive = false;
  } else if (run.error() && x.status == 0) {
    HttpResponse failure = error_response(*run.error());
    co_await respond(x, std::move(failure));
  } else if (!run.streams()) {
    HttpResponse answer;
    answer.body = run.body();
    co_await respond(x, std::move(answer));
  } else if (!co_await end_stream(x)) {
    x.keep_alive = false;
  }
}

}  // namespace xylem
