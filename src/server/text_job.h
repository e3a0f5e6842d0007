// A request as every route understands it after parsing: prompts, how to sample, what to report. And its way to the
// engine.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/engine.h"
#include "server/choice.h"

namespace xylem {

struct App;
class Fields;

// Sampling of one prompt. Fields mean what SGLang's mean (shared names, ranges and defaults).
struct SamplingOptions {
  SamplingParams sampling;  // seed is set by to_engine
  std::optional<int64_t> seed;
  std::optional<int> max_new_tokens;  // as the client asked
  int default_max_new_tokens = 0;  // when it did not; 0: as many as fit. Shrinks to what fits, unlike an explicit one
  int min_new_tokens = 0;
  int n = 1;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  OutputOptions output;
};

struct LogprobOptions {
  bool output = false;
  int top = 0;
  std::vector<TokenId> ids;
  int prompt_from = -1;  // see GenerateRequest::prompt_logprobs_from
};

struct PromptJob {
  std::vector<TokenId> prompt;  // with the placeholders of all its images
  std::vector<ImageInput> images;
  std::string rid;  // the client's name for it, unique among the running ones or made up
  SamplingOptions options;
  LogprobOptions logprobs;
};

// Turns choices into bytes of one wire format. One thread at a time; choices: in the order of jobs, n for each.
class Formatter {
 public:
  virtual ~Formatter() = default;
  // Appends the server-sent events for what choice i gained since the last call (possibly nothing).
  virtual void stream(size_t i, const Choice& choice, std::string& out) = 0;
  // After every choice ended: usage and the like, without [DONE].
  virtual void stream_end(const std::vector<Choice>& choices, std::string& out) = 0;
  virtual std::string body(const std::vector<Choice>& choices) = 0;
};

struct TextJob {
  std::vector<PromptJob> prompts;
  int priority = 0;
  uint64_t cache_key = 0;
  bool stream = false;
  std::unique_ptr<Formatter> formatter;
};

// What the parsers read of each dialect is theirs; these parts are common.
struct Dialect {
  std::string_view max_tokens, min_tokens, seed;  // field names
  float max_temperature, max_bias;                // upper bounds
  int min_max_tokens;                             // the smallest limit a client may set
};
// temperature ... logit_bias, stop, n; the model's defaults are filled in. Errors are recorded in fields.
SamplingOptions read_sampling(const App& app, Fields& fields, const Dialect& dialect);
// priority, cache_salt, extra_key. hash_seed: App's.
void read_scheduling(Fields& fields, TextJob& job, uint64_t hash_seed);
// Fields of SGLang that would change the answer and are not built here: refused by name.
void refuse_unbuilt(Fields& fields);

// Prompts of one request: bounds what a small body can make the server build.
inline constexpr size_t kMaxPrompts = 8192;
Status check_prompt_count(size_t count, std::string_view path);

// Encodes text of a client; kInvalid names the field.
Result<std::vector<TokenId>> encode_text(const App& app, std::string_view text, bool add_special_tokens,
                                         std::string_view path);

// kInvalid when the prompt is empty or cannot fit the context or the cache.
Status check_fits(const App& app, const PromptJob& prompt);
// The engine's request for choice `index` of a prompt (seed + index); the same errors.
Result<GenerateRequest> to_engine(const App& app, const TextJob& job, const PromptJob& prompt, int index);

}  // namespace xylem
