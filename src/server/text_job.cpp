#include "server/text_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "server/app.h"
#include "server/fields.h"

namespace xylem {
namespace {

constexpr size_t kMaxStops = 64;
constexpr size_t kMaxStopBytes = 4096;
constexpr size_t kMaxBytesPerToken = 512;  // no vocabulary has longer tokens: bounds the work before tokenising

SamplingOptions defaults_for(const App& app) {
  SamplingOptions o;
  if (app.config.sampling_defaults != "model") return o;
  const GenerationDefaults& d = app.model.defaults;
  o.sampling.temperature = d.temperature.value_or(o.sampling.temperature);
  o.sampling.top_k = d.top_k.value_or(o.sampling.top_k);
  o.sampling.top_p = d.top_p.value_or(o.sampling.top_p);
  o.sampling.min_p = d.min_p.value_or(o.sampling.min_p);
  o.sampling.repetition_penalty = d.repetition_penalty.value_or(o.sampling.repetition_penalty);
  return o;
}

void read_logit_bias(Fields& fields, SamplingOptions& o, int64_t vocab_size, float max_bias) {
  const Json* bias = fields.get("logit_bias");
  if (!bias) return;
  if (!bias->is_object())
    return fields.fail("logit_bias", fmt::format("must be an object of token id to number, not {}.", kind_name(*bias)));
  for (const auto& [key, value] : bias->items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= vocab_size)
      return fields.fail("logit_bias", fmt::format("\"{}\" is not a token id of the vocabulary of {} tokens.",
                                                   key.substr(0, 32), vocab_size));
    const double v = value.is_number() ? value.get<double>() : std::numeric_limits<double>::infinity();
    if (!(v >= -max_bias && v <= max_bias))
      return fields.fail("logit_bias",
                         fmt::format("the bias of token {} must be a number from {} to {}.", id, -max_bias, max_bias));
    o.sampling.logit_bias.emplace_back(static_cast<TokenId>(id), static_cast<float>(v));
  }
}

void read_stops(Fields& fields, SamplingOptions& o, int64_t vocab_size) {
  if (fields.strings("stop", o.output.stop, kMaxStops))
    for (const std::string& s : o.output.stop)
      if (s.empty() || s.size() > kMaxStopBytes)
        return fields.fail("stop", fmt::format("every stop string must have 1 to {} bytes.", kMaxStopBytes));
  fields.ids("stop_token_ids", o.stop_token_ids, vocab_size, 1024);
}

uint64_t mix(uint64_t h, std::string_view s) {
  for (const unsigned char c : s) h = (h ^ c) * 0x100000001b3;
  h = (h ^ s.size()) * 0xff51afd7ed558ccd;
  return h ^ (h >> 32);
}

Error too_long(int64_t context, int64_t prompt, int64_t completion) {
  if (completion == 0)
    return invalid(fmt::format(
        "This model's maximum context length is {} tokens. However, your prompt has {} tokens, which leaves no "
        "room for an answer. Please reduce the length of the prompt.",
        context, prompt));
  return invalid(fmt::format(
      "This model's maximum context length is {} tokens. However, you requested {} tokens ({} in the prompt, {} "
      "in the completion). Please reduce the length of the prompt or of the completion.",
      context, prompt + completion, prompt, completion));
}

// Tokens to generate: what was asked for if it fits, else an error; a default shrinks to what fits.
Result<int> resolve_max_new(const EngineInfo& info, int64_t prompt, const SamplingOptions& o) {
  if (prompt == 0) return invalid("The prompt has no tokens. Send at least one.");
  if (prompt >= info.context_length) return too_long(info.context_length, prompt, o.max_new_tokens.value_or(0));
  const int64_t context_room = info.context_length - prompt;
  if (o.max_new_tokens) {
    if (*o.max_new_tokens > context_room) return too_long(info.context_length, prompt, *o.max_new_tokens);
    if (prompt + *o.max_new_tokens > info.max_total_tokens)
      return invalid(fmt::format(
          "The request needs {} tokens of KV cache ({} in the prompt, {} in the completion), but the server has "
          "{}. Reduce them, or start the server with a larger --kv-memory.",
          prompt + *o.max_new_tokens, prompt, *o.max_new_tokens, info.max_total_tokens));
    return std::max(*o.max_new_tokens, 1);
  }
  const int64_t page = std::max(info.page_size, 1);
  const int64_t pool_room = info.max_total_tokens - (prompt + page - 1) / page * page - page;
  if (prompt + 1 > info.max_total_tokens)
    return invalid(fmt::format(
        "The prompt has {} tokens, but the server's KV cache holds only {}. Reduce the prompt, or start the "
        "server with a larger --kv-memory.",
        prompt, info.max_total_tokens));
  const int64_t wanted = o.default_max_new_tokens > 0 ? o.default_max_new_tokens : context_room;
  return static_cast<int>(std::min({wanted, context_room, std::max<int64_t>(pool_room, 1)}));
}

}  // namespace

SamplingOptions read_sampling(const App& app, Fields& fields, const Dialect& dialect) {
  const int64_t vocab_size = app.engine.info().vocab_size;
  SamplingOptions o = defaults_for(app);
  SamplingParams& s = o.sampling;
  fields.number("temperature", s.temperature, {0, dialect.max_temperature});
  fields.number("top_p", s.top_p, {0, 1, true});
  fields.number("min_p", s.min_p, {0, 1});
  if (fields.integer("top_k", s.top_k, -1, std::numeric_limits<int>::max()) && s.top_k == 0)
    fields.fail("top_k", "must be -1 (no limit) or at least 1.");
  fields.number("frequency_penalty", s.frequency_penalty, {-2, 2});
  fields.number("presence_penalty", s.presence_penalty, {-2, 2});
  fields.number("repetition_penalty", s.repetition_penalty, {0, 2, true});
  int max_new = 0;
  if (fields.integer(dialect.max_tokens, max_new, dialect.min_max_tokens, std::numeric_limits<int>::max()))
    o.max_new_tokens = max_new;
  fields.integer(dialect.min_tokens, o.min_new_tokens, 0, std::numeric_limits<int>::max());
  if (o.max_new_tokens && o.min_new_tokens > *o.max_new_tokens)
    fields.fail(dialect.min_tokens,
                fmt::format("must not be larger than {} ({}).", dialect.max_tokens, *o.max_new_tokens));
  int64_t seed = 0;
  if (fields.integer(dialect.seed, seed, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()))
    o.seed = seed;
  fields.integer("n", o.n, 1, 128);
  read_stops(fields, o, vocab_size);
  read_logit_bias(fields, o, vocab_size, dialect.max_bias);
  fields.boolean("ignore_eos", o.ignore_eos);
  fields.boolean("skip_special_tokens", o.output.skip_special_tokens);
  fields.boolean("no_stop_trim", o.output.no_stop_trim);
  o.output.discard = o.max_new_tokens == 0;
  return o;
}

void read_scheduling(Fields& fields, TextJob& job, uint64_t hash_seed) {
  fields.integer("priority", job.priority, std::numeric_limits<int>::min(), std::numeric_limits<int>::max());
  std::string salt, key;
  fields.string("cache_salt", salt);
  fields.string("extra_key", key);
  if (!salt.empty() || !key.empty()) job.cache_key = std::max<uint64_t>(mix(mix(hash_seed, salt), key), 1);
}

void refuse_unbuilt(Fields& fields) {
  fields.refuse({"regex", "ebnf", "json_schema", "structural_tag", "stop_regex"},
                "constrained or pattern-driven output is not supported yet.");
  fields.refuse(
      {"lora_path", "session_params", "session_id", "custom_logit_processor", "custom_params", "logits_processors",
       "return_hidden_states", "return_routed_experts", "return_sampling_mask", "input_embeds"},
      "is not supported.");
  fields.refuse({"video_data", "audio_data", "use_audio_in_video"}, "video and audio are not supported.");
  fields.refuse({"mm_hashes", "images_config", "max_dynamic_patch", "min_dynamic_patch"}, "is not supported.");
  fields.ignore({"spaces_between_special_tokens", "bootstrap_host", "bootstrap_port", "bootstrap_room",
                 "routed_dp_rank", "routing_key", "log_metrics", "stream_interval", "data_parallel_rank", "no_logs"});
}

Status check_prompt_count(size_t count, std::string_view path) {
  if (count <= kMaxPrompts) return {};
  return invalid(fmt::format("{}: has {} prompts; at most {} are allowed in one request.", path, count, kMaxPrompts));
}

Result<std::vector<TokenId>> encode_text(const App& app, std::string_view text, bool add_special_tokens,
                                         std::string_view path) {
  const int64_t context = app.engine.info().context_length;
  if (text.size() / kMaxBytesPerToken > static_cast<size_t>(context))
    return invalid(fmt::format(
        "{}: This model's maximum context length is {} tokens. However, the text has {} bytes, at least {} tokens.",
        path, context, text.size(), text.size() / kMaxBytesPerToken));
  auto ids = app.model.tokenizer->encode(text, add_special_tokens);
  if (!ids.ok()) return Error{ids.error().code, fmt::format("{}: {}", path, ids.error().text)};
  return ids;
}

Status check_fits(const App& app, const PromptJob& p) {
  const auto resolved = resolve_max_new(app.engine.info(), static_cast<int64_t>(p.prompt.size()), p.options);
  return resolved.ok() ? Status() : Status(resolved.error());
}

Result<GenerateRequest> to_engine(const App& app, const TextJob& job, const PromptJob& p, int index) {
  const SamplingOptions& o = p.options;
  GenerateRequest r;
  TRY(r.max_new_tokens, resolve_max_new(app.engine.info(), static_cast<int64_t>(p.prompt.size()), o));
  r.id = app.engine.next_id();
  r.prompt = p.prompt;
  r.images = p.images;
  r.sampling = o.sampling;
  r.sampling.seed = o.seed ? static_cast<uint64_t>(*o.seed) + static_cast<uint64_t>(index) : random_u64();
  for (const TokenId id : app.model.suppress_ids)
    if (std::none_of(o.sampling.logit_bias.begin(), o.sampling.logit_bias.end(),
                     [&](auto& b) { return b.first == id; }))
      r.sampling.logit_bias.emplace_back(id, -std::numeric_limits<float>::infinity());
  r.min_new_tokens = std::min(o.min_new_tokens, r.max_new_tokens);
  if (!o.ignore_eos) {
    r.stop_ids = app.model.eos_ids;
    r.stop_ids.insert(r.stop_ids.end(), o.stop_token_ids.begin(), o.stop_token_ids.end());
  }
  r.priority = job.priority;
  r.cache_key = job.cache_key;
  r.logprobs = p.logprobs.output;
  r.top_logprobs = p.logprobs.top;
  r.logprob_ids = p.logprobs.ids;
  r.prompt_logprobs_from = p.logprobs.prompt_from;
  return r;
}

}  // namespace xylem
