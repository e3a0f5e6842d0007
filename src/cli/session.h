// A model loaded in this process, asked as a client asks the server: the same bodies, defaults, limits and errors, no HTTP.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/options.h"
#include "server/json_body.h"

namespace xylem {

struct Answer {
  std::string text, finish;  // finish: "stop", "length" or "abort"
  int prompt_tokens = 0, cached_tokens = 0, tokens = 0;
  double first_token_seconds = 0, seconds = 0;  // since the request
};

class Session {
 public:
  static Result<std::unique_ptr<Session>> open(ModelOptionsCli& o, const std::string& log_level);
  ~Session();

  using OnText = std::function<void(std::string_view piece, bool reasoning)>;
  // body: as of /v1/chat/completions, or of /v1/completions when it has "prompt"; one choice. Blocks; any thread, many at once.
  // on_text gets the answer, and the reasoning before it, as they grow; Answer has only the answer. A stop flag that turns true ends the answer early ("abort").
  Result<Answer> ask(const Json& body, const OnText& on_text, const std::atomic<bool>* stop = nullptr);

  Engine& engine();

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The fields of a body that the flags set.
Json sampling_body(const SamplingFlags& s);
// "12 prompt tokens (8 cached), 30 tokens, first after 0.05 s, 88.1 tokens/s".
std::string describe(const Answer& a);

}  // namespace xylem
