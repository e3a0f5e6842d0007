// Prometheus metrics. Names are SGLang's with the prefix xylem: in place of sglang:, where they mean the same.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "runtime/engine.h"

namespace xylem {

// Any thread.
class Metrics {
 public:
  explicit Metrics(const std::string& model_name);
  ~Metrics();

  // HTTP. endpoint: a route's path, never what the client sent (its number must stay bounded).
  void http_begin(std::string_view endpoint, std::string_view method);
  void http_end(std::string_view endpoint, int status);

  // Generation, per engine request; seconds since it was submitted, or since its previous token.
  void first_token(double seconds);
  void next_token(double seconds);
  void finished(double seconds, int prompt_tokens, int cached_tokens, int generated_tokens, bool aborted);

  void image_processed(double seconds);  // decoded, resized, cut into patches

  // The text of GET /metrics.
  std::string render(const EngineInfo& info, const EngineStats& stats);

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace xylem
