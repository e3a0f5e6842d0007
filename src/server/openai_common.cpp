#include "server/openai_common.h"

#include "server/app.h"
#include "server/fields.h"

namespace xylem {
namespace {

void read_stream_options(Fields& fields, WireContext& context, bool stream) {
  const Json* options = fields.get("stream_options");
  if (!options) return;
  if (!stream) return fields.fail("stream_options", "is only allowed when stream is true.");
  Fields inner(*options, "stream_options");
  inner.boolean("include_usage", context.include_usage);
  inner.boolean("continuous_usage_stats", context.continuous_usage);
  inner.ignore({"include_obfuscation"});
  if (auto s = inner.status(); !s.ok()) fields.fail(s.error());
}

void read_response_format(Fields& fields) {
  const Json* format = fields.get("response_format");
  if (!format) return;
  Fields inner(*format, "response_format");
  std::string type;
  if (!inner.string("type", type))
    inner.fail("type", "is missing.");
  else if (type != "text")
    inner.fail("type", "only \"text\" is supported yet.");
  if (auto s = inner.status(); !s.ok()) fields.fail(s.error());
}

}  // namespace

OpenAiCommon read_openai_common(const App& app, Fields& fields, TextJob& job, std::string_view id_prefix) {
  OpenAiCommon common;
  std::string model;  // one model is served, under whatever name the client knows it
  fields.string("model", model);
  fields.boolean("stream", job.stream);
  read_stream_options(fields, common.context, job.stream);
  if (!fields.string("rid", common.rid)) common.rid = std::string(id_prefix) + random_id();
  if (common.rid.empty() || common.rid.size() > 256) fields.fail("rid", "must have 1 to 256 bytes.");
  read_scheduling(fields, job, app.hash_seed);
  read_response_format(fields);
  refuse_unbuilt(fields);
  fields.refuse("image_data", "belongs to /generate; /v1/chat/completions takes images as parts of messages.");
  fields.refuse({"return_token_ids", "return_prompt_token_ids", "return_meta_info"},
                "is not supported; /generate returns ids and meta_info.");
  fields.ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                 "prompt_cache_retention", "return_cached_tokens_details", "return_spec_tokens_details"});
  common.context.id = common.rid;
  common.context.created = unix_seconds();
  common.context.model = app.model_name;
  common.context.tokenizer = app.model.tokenizer;
  common.context.cache_report = app.config.enable_cache_report;
  return common;
}

}  // namespace xylem
