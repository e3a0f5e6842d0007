// Pieces of the wire formats that several routes share.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/choice.h"
#include "server/json_body.h"
#include "text/tokenizer.h"

namespace xylem {

// What a response says of itself and needs of the request.
struct WireContext {
  std::string id;
  int64_t created = 0;  // unix seconds
  std::string model;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<int> prompt_tokens;  // of each prompt
  int n = 1;                       // choices of each prompt
  bool cache_report = true;
  bool include_usage = false;     // streaming: a last chunk with usage
  bool continuous_usage = false;  // streaming: usage in every chunk
};

std::string sse_event(const Json& data);  // one server-sent event
Json sse_error(const Error& error);       // data of the event that reports a failure inside a stream

int http_status(const Error& error);
std::string_view error_type(int status);
// The error envelope: SGLang's flat fields, and the same nested under "error", where clients of OpenAI look for them.
Json error_json(int status, std::string_view message, std::string_view param = {}, std::string_view code = {});

Json finish_reason(const Ending& ending);  // "stop", "length", "abort"; null while running
Json matched_stop(const Ending& ending);   // the token id or the string; null

// Of the whole response.
Json usage(const WireContext& context, const std::vector<Choice>& choices);
// Of one choice, for continuous usage statistics.
Json usage(const WireContext& context, size_t choice_index, const Choice& choice);

// JSON has no infinity: -9999 stands for "never".
double finite_logprob(float logprob);
// The text of one token on its own, and its exact bytes even where they are only part of a character.
std::string token_text(const Tokenizer& tokenizer, TokenId id);
std::string token_bytes(const Tokenizer& tokenizer, TokenId id);

size_t count_characters(std::string_view utf8);

}  // namespace xylem
