#include "server/app.h"

#include <fmt/format.h>

#include <chrono>
#include <random>

#include "server/mailbox.h"

namespace xylem {

uint64_t random_u64() {
  thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return generator();
}

std::string random_id() { return fmt::format("{:016x}{:016x}", random_u64(), random_u64()); }

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

App::App(ServerConfig c, ModelContext m, Engine& e)
    : config(std::move(c)),
      model(std::move(m)),
      engine(e),
      model_name(config.served_model_name.empty() ? model.model_path : config.served_model_name),
      started_unix(unix_seconds()),
      hash_seed(random_u64()),
      metrics(model_name),
      mailboxes(std::make_unique<Mailboxes>()) {}
App::~App() = default;

}  // namespace xylem
