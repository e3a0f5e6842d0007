// What the scheduler knows of a request, what it plans, and what comes of it. Host only: no text, no device, no model.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/token.h"
#include "cache/media_span.h"

namespace xylem {


struct NewRequest {
  RequestId id = 0;
  std::vector<TokenId> prompt;        // at least one
  int max_new_tokens = 1;             // at least one
  int min_new_tokens = 0;             // stop_ids end the request only from here on
  std::vector<TokenId> stop_ids;      // empty when EOS is ignored
  int priority = 0;                   // larger runs first when the policy is by priority
  uint64_t cache_key = 0;             // seeds the prefix key: tenant, salt, adapter; 0 = shared by all
  int logits_from = -1;               // >= 0: logits of prompt positions >= this are wanted too; no prefix hit reaches past
                                      // it. Then at or behind the last token of every whole span of media
  std::vector<MediaSpan> media;       // within the prompt; a whole one has at most SchedulerConfig::max_whole_tokens
};

enum class Finish : uint8_t { kNone, kStop, kLength, kAbort, kError };

// Tokens [begin, begin + count) of a request, computed in one step. Prefill, chunk, decode: the same row with other numbers.
struct Row {
  RequestId id = 0;
  int slot = -1;            // dense index in [0, max_running), held while the request runs: device-side state is kept by it
  int begin = 0, count = 0;
  bool sample = false;      // the row ends at the last known token: a new token is sampled
  int logits_from = -1;     // first position of this row whose logits are wanted; begin + count - 1 when only sampling; -1 none
  bool operator==(const Row&) const = default;
};

struct StepPlan {
  std::vector<Row> rows;
  bool operator==(const StepPlan&) const = default;
};

// What happened to a request in a step.
struct Event {
  RequestId id = 0;
  int row = -1;             // index in the committed plan, -1 when it did not come of one
  TokenId token = -1;       // -1: none
  Finish finish = Finish::kNone;
  int cached_tokens = 0;    // prompt tokens taken from the prefix cache (of the first admission)
  std::string error;        // for kError: a sentence for the client
  bool operator==(const Event&) const = default;
};

}  // namespace xylem
