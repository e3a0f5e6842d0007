#include "server/plain_routes.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/version.h"
#include "server/app.h"
#include "server/fields.h"

namespace xylem {
namespace {

Json model_card(const App& app) {
  return {{"id", app.model_name},
          {"object", "model"},
          {"created", app.started_unix},
          {"owned_by", "xylem"},
          {"root", app.model.model_path},
          {"parent", nullptr},
          {"max_model_len", app.engine.info().context_length}};
}

Json load_json(const EngineInfo& info, const EngineStats& s) {
  return {
      {"dp_rank", 0},
      {"num_running_reqs", s.running},
      {"num_waiting_reqs", s.queued},
      {"num_used_tokens", s.used_tokens},
      {"max_total_num_tokens", info.max_total_tokens},
      {"token_usage", info.max_total_tokens > 0
                          ? static_cast<double>(s.used_tokens) / static_cast<double>(info.max_total_tokens)
                          : 0.0},
      {"gen_throughput", s.gen_throughput},
      {"cache_hit_rate",
       s.prompt_tokens > 0 ? static_cast<double>(s.cached_prompt_tokens) / static_cast<double>(s.prompt_tokens) : 0.0}};
}

Json internal_state(const EngineInfo& info, const EngineStats& s) {
  Json state = load_json(info, s);
  state["last_gen_throughput"] = s.gen_throughput;
  state["memory_usage"] = {{"weight", static_cast<double>(info.weight_bytes) / (1 << 30)},
                           {"kvcache", static_cast<double>(info.kv_bytes) / (1 << 30)},
                           {"token_capacity", info.max_total_tokens}};
  state["steps"] = s.steps;
  state["preemptions"] = s.preemptions;
  state["failed_steps"] = s.failed_steps;
  state["prompt_tokens"] = s.prompt_tokens;
  state["cached_prompt_tokens"] = s.cached_prompt_tokens;
  state["generated_tokens"] = s.generated_tokens;
  state["finished"] = s.finished;
  state["aborted"] = s.aborted;
  state["schedule_seconds"] = s.schedule_seconds;
  state["decode_graphs"] = {{"replayed_steps", s.replayed_steps}, {"replayed_host_seconds", s.replayed_host_seconds}, {"replayed_launches", s.replayed_launches},
                            {"eager_steps", s.eager_steps}, {"eager_host_seconds", s.eager_host_seconds}};
  state["forward_seconds"] = s.forward_seconds;
  state["images"] = {{"encoded", s.images_encoded}, {"cached", s.images_cached}, {"vision_seconds", s.vision_seconds}};
  return state;
}

// Null for a model that takes none.
Json image_settings(const App& app) {
  if (!app.model.images) return nullptr;
  const ServerConfig& c = app.config;
  return {{"image_token_id", app.model.images->placeholder()},
          {"max_tokens_per_image", app.engine.info().max_image_tokens},
          {"limit_mm_data_per_request", c.max_images_per_request < 0 ? Json() : Json(c.max_images_per_request)},
          {"allowed_local_media_path", c.media.local_path.empty() ? Json() : Json(c.media.local_path)},
          {"allowed_media_domains", c.media.domains},
          {"media_url_max_file_size_mb", c.media.max_file_bytes >> 20},
          {"media_timeout", c.media.timeout_seconds},
          {"mm_processor_worker_num", app.workers.threads()}};
}

}  // namespace

HttpResponse list_models(App& app, const HttpRequest&) {
  return json_response({{"object", "list"}, {"data", Json::array({model_card(app)})}});
}

HttpResponse show_model(App& app, const HttpRequest& request) {
  const std::string name = request.path.substr(std::string_view("/v1/models/").size());
  if (name == app.model_name) return json_response(model_card(app));
  return error_response(
      404, fmt::format("The model '{}' does not exist; this server has '{}'.", name.substr(0, 256), app.model_name),
      "model", "model_not_found");
}

HttpResponse show_metrics(App& app, const HttpRequest&) {
  if (!app.config.enable_metrics) return error_response(404, "Metrics are off on this server.");
  return {.body = app.metrics.render(app.engine.info(), app.engine.stats()),
          .content_type = "text/plain; version=0.0.4; charset=utf-8"};
}

HttpResponse server_info(App& app, const HttpRequest&) {
  const EngineInfo& i = app.engine.info();
  const ServerConfig& c = app.config;
  Json json = {{"model_path", app.model.model_path},
               {"served_model_name", app.model_name},
               {"host", c.host},
               {"port", c.port},
               {"sampling_defaults", c.sampling_defaults},
               {"reasoning_parser", app.model.reasoning ? Json(app.model.reasoning->name) : Json()},
               {"enable_metrics", c.enable_metrics},
               {"enable_cache_report", c.enable_cache_report},
               {"incremental_streaming_output", c.incremental_streaming_output},
               {"device", i.device},
               {"isa", i.isa},
               {"fallback_ops", i.fallback_ops},
               {"dtype", i.dtype},
               {"threads", i.threads},
               {"context_length", i.context_length},
               {"page_size", i.page_size},
               {"chunked_prefill_size", i.chunked_prefill_size},
               {"max_running_requests", i.max_running_requests},
               {"max_queued_requests", i.max_queued_requests},
               {"schedule_policy", i.schedule_policy},
               {"disable_radix_cache", !i.radix_cache},
               {"pipeline_depth", i.pipeline_depth},
               {"vocab_size", i.vocab_size},
               {"parameters", i.parameters},
               {"weight_bytes", i.weight_bytes},
               {"kv_bytes", i.kv_bytes},
               {"load_seconds", i.load_seconds},
               {"max_total_num_tokens", i.max_total_tokens},
               {"max_req_input_len", std::min(i.context_length, i.max_total_tokens) - 1},
               {"images", image_settings(app)},
               {"internal_states", Json::array({internal_state(i, app.engine.stats())})},
               {"version", kVersion}};
  return json_response(json);
}

HttpResponse model_info(App& app, const HttpRequest&) {
  const EngineInfo& i = app.engine.info();
  return json_response({{"model_path", app.model.model_path},
                        {"tokenizer_path", app.model.model_path},
                        {"is_generation", true},
                        {"preferred_sampling_params", nullptr},
                        {"weight_version", "default"},
                        {"has_image_understanding", app.model.images != nullptr},
                        {"has_audio_understanding", false},
                        {"model_type", i.model_type},
                        {"architectures", Json::array({i.architecture})}});
}

HttpResponse show_loads(App& app, const HttpRequest&) {
  return json_response({{"timestamp", unix_seconds()},
                        {"version", kVersion},
                        {"accelerator", app.engine.info().device},
                        {"num_accelerators", 1},
                        {"loads", Json::array({load_json(app.engine.info(), app.engine.stats())})}});
}

HttpResponse ping(App& app, const HttpRequest&) {
  if (const EngineHealth h = app.engine.health(); !h.ok) return error_response(503, h.text);
  return app.draining ? error_response(503, "The server is shutting down.") : text_response("");
}

HttpResponse greeting(App& app, const HttpRequest&) {
  return text_response(fmt::format("xylem serves {}. OpenAI-compatible routes are under /v1.\n", app.model_name));
}

HttpResponse abort_request(App& app, const Json& body) {
  Fields fields(body, "");
  std::string rid;
  bool all = false;
  fields.string("rid", rid);
  fields.boolean("abort_all", all);
  if (auto s = fields.status(); !s.ok()) return error_response(s.error());
  if (rid.empty() && !all) return error_response(400, "Give the rid of the request to abort, or abort_all.");
  for (const RequestId id : app.active.with_prefix(all ? "" : rid)) app.engine.cancel(id);
  return text_response("");
}

}  // namespace xylem
