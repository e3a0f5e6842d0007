#include "cli/options.h"

#include <cctype>
#include <charconv>
#include <cmath>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xylem {
namespace {

CLI::Option* bytes_option(CLI::App& app, const std::string& name, int64_t& target, const std::string& text) {
  return app
      .add_option_function<std::string>(
          name,
          [&target, name](const std::string& value) {
            auto bytes = parse_bytes(value);
            if (!bytes) throw CLI::ValidationError(name, bytes.error().text);
            target = *bytes;
          },
          text)
      ->type_name("BYTES");
}

CLI::Option* count_option(CLI::App& app, const std::string& name, int& target, int max, const std::string& text) {
  return app.add_option(name, target, text)->type_name("N")->check(CLI::Range(1, max));
}

// What goes with the engine, so with every command that loads a model.
void add_image_options(CLI::App& app, EngineConfig& e) {
  const char* group = "Images";
  app.add_option("--mm-max-soft-tokens", e.images.max_soft_tokens,
                 "Tokens of an image at most, for models with such budgets (Gemma 4): 70, 140, 280, 560 or 1120 (default: the checkpoint's)")
      ->type_name("N")->check(CLI::IsMember({70, 140, 280, 560, 1120}))->group(group);
  app.add_option("--mm-min-pixels-per-image", e.images.min_pixels,
                 "Smaller images are enlarged to so many pixels, for models with such bounds (Qwen; default: the checkpoint's)")
      ->type_name("N")->check(CLI::Range(int64_t{1}, int64_t{1} << 40))->group(group);
  app.add_option("--mm-max-pixels-per-image", e.images.max_pixels,
                 "Larger images are reduced to so many pixels, for models with such bounds (Qwen; default: the checkpoint's)")
      ->type_name("N")->check(CLI::Range(int64_t{1}, int64_t{1} << 40))->group(group);
  app.add_option("--mm-max-pixels", e.images.max_decoded_pixels,
                 "Image files of more pixels (width x height) are refused before they are decoded (default: 67108864)")
      ->type_name("N")->check(CLI::Range(int64_t{1}, int64_t{1} << 40))->group(group);
  app.add_option_function<int64_t>("--mm-cache-size",
                                   [&e](int64_t mib) { e.mm_cache_bytes = mib == 0 ? -1 : mib << 20; },
                                   "MiB for what the vision tower made of images, so that an image sent again is not computed again; 0: none is kept "
                                   "(default: by the model)")
      ->type_name("MIB")->check(CLI::Range(int64_t{0}, int64_t{1} << 24))->group(group);
  app.add_flag("--language-model-only", e.language_model_only, "Leave the vision tower out: no memory for it, and no images")->group(group);
}

void add_media_options(CLI::App& app, ServerConfig& c) {
  const char* group = "Images";
  app.add_option("--allowed-local-media-path", c.media.local_path,
                 "Folder below which requests may name image files, by file:// or as paths of /generate (default: none)")
      ->type_name("DIR")->check(CLI::ExistingDirectory)->group(group);
  app.add_option("--allowed-media-domains", c.media.domains,
                 "Hosts that images may be fetched from by http(s)://, separated by commas; may be given several times (default: none)")
      ->type_name("HOSTS")->delimiter(',')->take_all()->allow_extra_args(false)->group(group);
  app.add_option_function<int>("--media-url-max-file-size-mb", [&c](int mb) { c.media.max_file_bytes = int64_t{mb} << 20; },
                               "Largest image file, whichever way it comes, in MiB (default: 64)")
      ->type_name("MB")->check(CLI::Range(1, 1024))->group(group);
  app.add_option("--media-timeout", c.media.timeout_seconds, "Seconds that fetching an image may take in all (default: 10)")
      ->type_name("SECONDS")->check(CLI::Range(0.1, 3600.0))->group(group);
  count_option(app, "--mm-processor-worker-num", c.mm_processor_workers, 256,
               "Threads that fetch, decode and prepare images (default: by the machine)")->group(group);
  app.add_option_function<std::string>("--limit-mm-data-per-request",
                                       [&c](const std::string& text) {
                                         auto limit = parse_image_limit(text);
                                         if (!limit) throw CLI::ValidationError("--limit-mm-data-per-request", limit.error().text);
                                         c.max_images_per_request = *limit;
                                       },
                                       "Images that a request may have (default: as many as fit)")
      ->type_name("N")->group(group);
}

}  // namespace

Result<int> parse_image_limit(std::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const nlohmann::json limit = json.is_object() && json.contains("image") ? json["image"] : json;
  if (limit.is_number_integer() && limit >= 0 && limit <= 1 << 20) return limit.get<int>();
  return invalid(fmt::format("'{}' is not a limit; write a number, or {{\"image\": 4}}", text));
}

Result<int64_t> parse_bytes(std::string_view text) {
  const Error bad = invalid(fmt::format("'{}' is not a size; write bytes, or a number with K, M, G or T, such as 512M or 2G", text));
  double number = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (ec != std::errc() || !(number >= 0)) return bad;
  std::string unit;
  for (const char* p = end; p != text.data() + text.size(); p++) unit += char(std::toupper(static_cast<unsigned char>(*p)));
  if (unit.size() > 1 && unit.ends_with("IB")) unit.resize(unit.size() - 2);
  if (unit.size() > 1 && unit.ends_with("B")) unit.pop_back();
  const size_t power = unit.empty() || unit == "B" ? 0 : std::string_view("KMGT").find(unit) + 1;
  if (unit.size() > 1 || power > 4 || (power == 0 && !unit.empty() && unit != "B")) return bad;
  const double bytes = number * std::pow(1024.0, double(power));
  if (bytes >= 9e18) return bad;
  return int64_t(bytes);
}

std::string format_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t u = 0;
  for (; u < 4 && bytes >= 1024; u++) bytes /= 1024;
  return u == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.2f} {}", bytes, kUnits[u]);
}

void add_engine_options(CLI::App& app, ModelOptionsCli& o) {
  EngineConfig& e = o.engine;
  const char* model = "Model";
  app.add_option("-m,--model,--model-path", e.model,
                 "Checkpoint folder as Hugging Face saves it: config.json, *.safetensors, tokenizer.json (default: the demo model)")
      ->type_name("DIR")->group(model);
  app.add_option("--load-format", e.load_format,
                 "auto: safetensors. dummy: random weights of config.json's shapes, to measure a size without its weights")
      ->type_name("FORMAT")->check(CLI::IsMember({"auto", "safetensors", "dummy"}))->group(model);
  app.add_option("--dtype", e.dtype,
                 "Type of the activations. auto: bfloat16. float32: everything but the weights in float32, the exact and slower mode")
      ->type_name("TYPE")->check(CLI::IsMember({"auto", "bfloat16", "float32", "float16"}))->group(model);
  count_option(app, "--context-length", e.context_length, 1 << 24,
               "Longest prompt and answer together, in tokens (default: the model's)")->group(model);
  app.add_option("--chat-template", o.chat_template_file, "Jinja file used in place of the checkpoint's chat template")
      ->type_name("FILE")->check(CLI::ExistingFile)->group(model);
  app.add_option("--reasoning-parser", o.reasoning_parser,
                 "How answers mark their reasoning, which chats return apart from the answer. auto: found from the model. none: it stays in "
                 "the answer. Or a name, such as qwen3, deepseek-r1, gemma4, gpt-oss")
      ->type_name("NAME")->group(model);

  const char* machine = "Machine";
  app.add_option("--device", e.device, "What computes: cpu, xpu (the first Intel GPU), opencl:N as `xylem devices` lists them, or auto (default: cpu)")
      ->type_name("NAME")->group(machine);
  count_option(app, "--threads", e.threads, 1024, "Compute threads (default: one for each core)")->group(machine);
  app.add_option("--isa", e.isa,
                 "Instruction set of the CPU kernels: auto (the best this machine has), scalar, avx2, avx512 or avx512_bf16")
      ->type_name("NAME")->check(CLI::IsMember({"auto", "scalar", "avx2", "avx512", "avx512_bf16"}))->group(machine);
  app.add_flag("--tune", e.tune, "Before the start, measure the model's matrix products in every form that the GPU runs; the fastest ones are kept for this and later starts")->group(machine);
  app.add_flag("--disable-graph", e.disable_graph, "Make every launch of every step anew, instead of replaying those of a step of the same shape (GPUs)")->group(machine);
  app.add_option("--graph-max-batch", e.graph_max_batch, "Replay steps of at most this many requests [default: 256]")->check(CLI::Range(1, 65536))->group(machine);
  app.add_flag("--allow-fallback", e.allow_fallback, "Run operations that the device has no kernel for on the CPU, through copies: right, but slow. Without it they are an error at start")->group(machine);
  app.add_flag("--explain", e.explain, "Log which kernels the first prompt and the first decode step ran; XYLEM_KERNEL=matmul:ref forces one")->group(machine);
  app.add_option("--log-level", o.log_level, "debug, info, warning or error")
      ->type_name("LEVEL")->check(CLI::IsMember({"debug", "info", "warning", "error"}))->group(machine);

  const char* cache = "Cache and scheduler";
  bytes_option(app, "--kv-memory", e.kv_memory_bytes,
               "Memory for the keys and values of all requests, such as 2G or 512M (default: from free memory and the model)")->group(cache);
  app.add_option("--page-size", e.page_size, "Tokens in a block of the cache: 16, 32, 64 or 128 (default: by the model)")
      ->type_name("N")->check(CLI::IsMember({16, 32, 64, 128}))->group(cache);
  count_option(app, "--chunked-prefill-size", e.chunked_prefill_size, 1 << 20,
               "Most tokens computed in one step; longer prompts go in chunks between the tokens of running requests")->group(cache);
  count_option(app, "--max-running-requests", e.max_running_requests, 1 << 16, "Requests that generate at the same time")->group(cache);
  count_option(app, "--max-queued-requests", e.max_queued_requests, 1 << 24,
               "Requests that wait; when the queue is full, more are refused with status 503")->group(cache);
  app.add_option("--schedule-policy", e.schedule_policy,
                 "Which waiting request starts next. fcfs: the oldest. lpm: the one with the longest cached prefix. "
                 "priority: the highest priority, then the oldest")
      ->type_name("POLICY")->check(CLI::IsMember({"fcfs", "lpm", "priority"}))->group(cache);
  app.add_flag("--disable-radix-cache", e.disable_radix_cache, "Compute every prompt anew, do not keep prefixes")->group(cache);
  count_option(app, "--state-snapshot-interval", e.state_snapshot_interval, 1 << 24,
               "Tokens between the recurrent states kept for prefixes, a multiple of the page size; only for models with such states "
               "(default: 256)")->group(cache);
  app.add_option("--pipeline-depth", e.pipeline_depth,
                 "1: plan a step after the one before has ended. 2: plan it while the one before runs; the tokens are the same "
                 "(default: 1 on the CPU, 2 on OpenCL devices)")
      ->type_name("N")->check(CLI::IsMember({1, 2}))->group(cache);

  add_image_options(app, e);
}

void add_server_options(CLI::App& app, ServerConfig& c) {
  const char* http = "HTTP";
  app.add_option("--host", c.host, "Address to listen on; 0.0.0.0 is every interface (default: 127.0.0.1)")->type_name("ADDRESS")->group(http);
  app.add_option("--port", c.port, "Port to listen on; 0 takes any free one (default: 30000)")
      ->type_name("PORT")->check(CLI::Range(0, 65535))->group(http);
  app.add_option("--api-key", c.api_key, "Clients must send it as 'Authorization: Bearer KEY'")->type_name("KEY")->group(http);
  app.add_option("--served-model-name", c.served_model_name, "Name of the model in answers and /v1/models (default: its path)")
      ->type_name("NAME")->group(http);
  app.add_option("--sampling-defaults", c.sampling_defaults,
                 "What a request leaves unset. model: from the checkpoint's generation_config.json. openai: constants")
      ->type_name("KIND")->check(CLI::IsMember({"model", "openai"}))->group(http);
  app.add_option("--cors-origin", c.cors_origin, "Let web pages of this origin use the server; * is every page")->type_name("ORIGIN")->group(http);
  count_option(app, "--http-threads", c.http_threads, 256, "Threads that read requests and write answers (default: by the machine)")->group(http);
  app.add_flag("!--disable-metrics", c.enable_metrics, "Do not serve /metrics")->group(http);
  app.add_flag("--incremental-streaming-output", c.incremental_streaming_output,
               "/generate streams the text since the last chunk instead of all text so far")->group(http);
  app.add_flag("--log-requests", c.log_requests, "Log one line for each request")->group(http);
  app.add_option("--drain-timeout", c.drain_timeout_seconds,
                 "Seconds that running requests get to end when the server is told to stop (default: 30)")
      ->type_name("SECONDS")->check(CLI::Range(0.0, 86400.0))->group(http);

  add_media_options(app, c);
}

void add_sampling_options(CLI::App& app, SamplingFlags& s) {
  const char* group = "Sampling";
  app.add_option("-n,--max-tokens", s.max_tokens, "Longest answer, in tokens (default: as many as fit)")->type_name("N")->group(group);
  app.add_option("-t,--temperature", s.temperature, "0: always the likeliest token. Higher: more varied (default: the model's)")
      ->type_name("X")->group(group);
  app.add_option("--top-k", s.top_k, "Sample among the K likeliest tokens")->type_name("K")->group(group);
  app.add_option("--top-p", s.top_p, "Sample among the likeliest tokens that hold this share of the probability")->type_name("P")->group(group);
  app.add_option("--min-p", s.min_p, "Leave out tokens less likely than this share of the likeliest one's probability")->type_name("P")->group(group);
  app.add_option("--frequency-penalty", s.frequency_penalty, "Taken off a token's logit for each time it was generated")->type_name("X")->group(group);
  app.add_option("--presence-penalty", s.presence_penalty, "Taken off a token's logit once it was generated")->type_name("X")->group(group);
  app.add_option("--repetition-penalty", s.repetition_penalty, "Divides the logit of generated tokens; 1 changes nothing")->type_name("X")->group(group);
  app.add_option("--seed", s.seed, "The same seed gives the same answer (default: a random one)")->type_name("N")->group(group);
  app.add_option("--stop", s.stop, "End the answer before this text; may be given several times")
      ->type_name("TEXT")->take_all()->allow_extra_args(false)->group(group);
  app.add_option("--min-tokens", s.min_tokens, "Shortest answer, in tokens")->type_name("N")->group(group);
  app.add_flag("--ignore-eos", s.ignore_eos, "Do not end at the model's end-of-text tokens")->group(group);
}

}  // namespace xylem
