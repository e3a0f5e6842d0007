// What all connections share.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "runtime/engine.h"
#include "server/active_requests.h"
#include "server/memory_budget.h"
#include "server/metrics.h"
#include "server/model_context.h"
#include "server/server.h"
#include "server/worker_pool.h"

namespace xylem {

// config, model, engine, model_name and the times are fixed before the first connection; the rest locks itself.
class Mailboxes;

struct App {
  App(ServerConfig config, ModelContext model, Engine& engine);
  ~App();

  const ServerConfig config;
  const ModelContext model;
  Engine& engine;
  const std::string model_name;  // as clients know it
  const int64_t started_unix;    // seconds
  const uint64_t hash_seed;      // random: cache keys of salts cannot be guessed or collided
  ActiveRequests active;
  Metrics metrics;
  const std::unique_ptr<Mailboxes> mailboxes;
  std::atomic<bool> draining{false};
  std::atomic<int> busy{0};  // HTTP requests being handled
  std::atomic<bool> flushing{false};
  MemoryBudget memory;  // large bodies and images of the requests being handled
  WorkerPool workers;
};

uint64_t random_u64();    // any thread; not reproducible
std::string random_id();  // 32 hex digits
int64_t unix_seconds();

}  // namespace xylem
