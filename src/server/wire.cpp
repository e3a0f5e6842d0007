#include "server/wire.h"

#include <algorithm>
#include <array>

namespace xylem {
namespace {

Json usage_json(const WireContext& context, int64_t prompt, int64_t completion, int64_t cached, int64_t reasoning) {
  Json u = {{"prompt_tokens", prompt}, {"total_tokens", prompt + completion}, {"completion_tokens", completion}};
  u["prompt_tokens_details"] = context.cache_report ? Json{{"cached_tokens", cached}} : Json();
  u["reasoning_tokens"] = reasoning;
  return u;
}

// The byte a character of the GPT-2 byte alphabet stands for; -1 if it is not of it.
int byte_of_character(char32_t c) {
  static const std::array<int, 512> kTable = [] {
    std::array<int, 512> table;
    table.fill(-1);
    int next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      table[printable ? b : next++] = b;
    }
    return table;
  }();
  return c < kTable.size() ? kTable[c] : -1;
}

// Bytes of a vocabulary spelling in the byte alphabet (characters below U+0200, so one or two bytes each); empty if it
// is not.
std::string bytes_of_alphabet(std::string_view spelling) {
  std::string bytes;
  for (size_t i = 0; i < spelling.size();) {
    const auto lead = static_cast<unsigned char>(spelling[i]);
    const size_t length = lead < 0x80 ? 1 : 2;
    if (lead >= 0xe0 || i + length > spelling.size()) return "";
    const char32_t c =
        length == 1 ? lead : ((lead & 0x1fu) << 6) | (static_cast<unsigned char>(spelling[i + 1]) & 0x3fu);
    const int byte = byte_of_character(c);
    if (byte < 0) return "";
    bytes.push_back(static_cast<char>(byte));
    i += length;
  }
  return bytes;
}

}  // namespace

std::string sse_event(const Json& data) { return "data: " + dump(data) + "\n\n"; }

int http_status(const Error& error) {
  switch (error.code) {
    case Code::kInvalid:
    case Code::kUnsupported:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kNoCapacity:
    case Code::kUnavailable:
      return 503;
    case Code::kInternal:
      return 500;
  }
  return 500;
}

std::string_view error_type(int status) {
  switch (status) {
    case 401:
      return "AuthenticationError";
    case 404:
      return "NotFoundError";
    case 405:
      return "MethodNotAllowedError";
    case 408:
      return "RequestTimeoutError";
    case 413:
      return "RequestTooLargeError";
    case 431:
      return "HeaderTooLargeError";
    case 500:
      return "InternalServerError";
    case 503:
      return "ServiceUnavailableError";
    default:
      return "BadRequestError";
  }
}

Json error_json(int status, std::string_view message, std::string_view param, std::string_view code) {
  Json fields = {{"message", message}, {"type", error_type(status)}};
  fields["param"] = param.empty() ? Json() : Json(param);
  fields["code"] = code.empty() ? Json(status) : Json(code);
  Json envelope = {{"object", "error"}};
  envelope.update(fields);
  envelope["error"] = std::move(fields);
  return envelope;
}

Json sse_error(const Error& error) {
  const int status = http_status(error);
  return {{"error",
           {{"object", "error"},
            {"message", error.text},
            {"type", error_type(status)},
            {"param", nullptr},
            {"code", status},
            {"retryable", status == 503}}}};
}

Json finish_reason(const Ending& ending) {
  switch (ending.reason) {
    case Finish::kNone:
      return nullptr;
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kAbort:
    case Finish::kError:
      return "abort";
  }
  return nullptr;
}

Json matched_stop(const Ending& ending) {
  if (ending.stop) return *ending.stop;
  if (ending.token) return *ending.token;
  return nullptr;
}

Json usage(const WireContext& context, const std::vector<Choice>& choices) {
  int64_t prompt = 0, completion = 0, cached = 0, reasoning = 0;
  for (const int tokens : context.prompt_tokens) prompt += tokens;
  for (const Choice& c : choices) {
    completion += static_cast<int64_t>(c.tokens().size());
    reasoning += c.reasoning_tokens();
  }
  for (size_t i = 0; i < choices.size(); i += context.n) cached += choices[i].cached_tokens();  // a prompt counts once
  return usage_json(context, prompt, completion, cached, reasoning);
}

Json usage(const WireContext& context, size_t choice_index, const Choice& choice) {
  return usage_json(context, context.prompt_tokens[choice_index / context.n],
                    static_cast<int64_t>(choice.tokens().size()), choice.cached_tokens(), choice.reasoning_tokens());
}

double finite_logprob(float logprob) { return logprob >= -9999.0f ? logprob : -9999.0; }

std::string token_text(const Tokenizer& tokenizer, TokenId id) {
  return tokenizer.decode({&id, 1}, /*skip_special_tokens=*/false);
}

std::string token_bytes(const Tokenizer& tokenizer, TokenId id) {
  std::string text = token_text(tokenizer, id);
  if (text.find("\xef\xbf\xbd") == std::string::npos) return text;
  const std::string spelling = tokenizer.token(id);
  if (spelling.size() == 6 && spelling.starts_with("<0x") && spelling.back() == '>')  // byte fallback
    return std::string(1, static_cast<char>(std::strtol(spelling.substr(3, 2).c_str(), nullptr, 16)));
  std::string bytes = bytes_of_alphabet(spelling);
  return bytes.empty() ? text : bytes;
}

size_t count_characters(std::string_view utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace xylem
