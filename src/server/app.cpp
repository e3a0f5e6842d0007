#include "server/app.h"

#include <fmt/format.h>

#include <algorithm>
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

namespace {

constexpr size_t kMaxWaitingJobs = 1024;  // of the worker pool

// A body may hold an image of the greatest size as base64, and a text beside it.
ServerConfig with_room_for_images(ServerConfig c, bool images) {
  const auto largest = static_cast<size_t>(c.media.max_file_bytes) / 3 * 4 + (size_t{8} << 20);
  if (images) c.max_body_bytes = std::max(c.max_body_bytes, largest);
  return c;
}

}  // namespace

App::App(ServerConfig c, ModelContext m, Engine& e)
    : config(with_room_for_images(std::move(c), m.images != nullptr)),
      model(std::move(m)),
      engine(e),
      model_name(config.served_model_name.empty() ? model.model_path : config.served_model_name),
      started_unix(unix_seconds()),
      hash_seed(random_u64()),
      metrics(model_name),
      mailboxes(std::make_unique<Mailboxes>()),
      memory(config.max_request_memory_bytes),
      workers(config.mm_processor_workers, kMaxWaitingJobs) {}
App::~App() = default;

}  // namespace xylem
