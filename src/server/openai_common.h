// What /v1/chat/completions and /v1/completions share.
#pragma once
#include <string>

#include "server/text_job.h"
#include "server/wire.h"

namespace xylem {

struct OpenAiCommon {
  std::string rid;      // also the id of the response
  WireContext context;  // without n and prompt_tokens
};

// model, stream, stream_options, rid, scheduling, response_format; refuses what is not built. Errors are recorded in
// fields.
OpenAiCommon read_openai_common(const App& app, Fields& fields, TextJob& job, std::string_view id_prefix);

}  // namespace xylem
