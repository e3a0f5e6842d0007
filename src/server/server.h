// The HTTP server: OpenAI and native routes over an Engine. Formats and defaults follow SGLang.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "base/result.h"
#include "runtime/engine.h"
#include "server/model_context.h"
#include "vision/media.h"

namespace xylem {

struct ServerConfig {
  std::string host = "127.0.0.1";
  int port = 30000;               // 0: any free port, see Server::port()
  std::string api_key;            // empty: open to all
  std::string served_model_name;  // empty: the model path
  std::string sampling_defaults =
      "model";              // "model": generation_config.json fills what a request leaves unset; "openai": constants
  std::string cors_origin;  // value of Access-Control-Allow-Origin; empty: no CORS headers
  int http_threads = 0;     // 0: a quarter of the cores, 2 to 8
  size_t max_body_bytes = 32u << 20;  // with images as much more as one of media.max_file_bytes needs
  MediaAccess media;                  // what may be named in place of an image
  int max_images_per_request = -1;    // -1: no limit
  int mm_processor_workers = 0;       // threads that load images; 0: a quarter of the cores, 2 to 8
  int64_t max_request_memory_bytes = int64_t{4} << 30;  // large bodies and images of all requests: beyond it 503
  bool enable_metrics = true;                 // GET /metrics
  bool enable_cache_report = true;            // usage.prompt_tokens_details.cached_tokens
  bool incremental_streaming_output = false;  // /generate streams text since the last chunk instead of all text so far
  bool log_requests = false;                  // one line per request at level info instead of debug
  bool handle_signals = true;                 // SIGINT and SIGTERM call stop(); a second one ends the process at once
  double header_timeout_seconds = 30;         // a connection that sends no complete header for so long is closed
  double body_timeout_seconds = 120;
  double write_timeout_seconds = 60;  // a client that takes nothing for so long is dropped and its request cancelled
  double drain_timeout_seconds = 30;  // stop() waits so long for running requests, then cancels them
};

class Server {
 public:
  // Binds and listens (connections queue up until run()). A port in use, a bad host or config is an Error.
  // engine must outlive the server.
  static Result<std::unique_ptr<Server>> listen(ServerConfig config, ModelContext model, Engine& engine);
  ~Server();

  int port() const;  // the one listened on
  // Serves on http_threads threads; returns when stopped and drained. An error: the engine is lost, and the server has stopped
  // by itself, after answering all requests.
  Status run();
  void stop();       // any thread, any time: accept no more, finish what runs, then run() returns

  struct Impl;

 private:
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace xylem
