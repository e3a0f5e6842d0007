#include "runtime/load.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "ops/matmul/tune.h"
#include "runtime/choose_device.h"
#include "runtime/memory_fit.h"
#include "weights/checkpoint.h"

namespace xylem {
namespace {

Result<bool> parse_round_x(const std::string& dtype, const Model& model) {  // true: bfloat16
  if (dtype == "auto" || dtype == "bfloat16") return true;
  if (dtype == "float32") return false;
  if (dtype != "float16") return invalid("unknown --dtype '" + dtype + "': use auto, bfloat16 or float32");
  const std::string why = model.float16_problem();
  return unsupported("--dtype float16 is not supported" + (why.empty() ? "" : " for this model, since " + why) + ": use auto, bfloat16 or float32");
}

Status tune(Device& device, const Model& model, const StepLimits& limits, bool round_x) {
  if (device.kind() != Dev::kOpenCl) {
    log::warn("--tune is ignored: the CPU's kernels have nothing to choose");
    return {};
  }
  log::info("measuring matrix products; the first time on a device this takes a while");
  TRY(const TuneReport report, tune_products(products_of(device, model, limits, round_x), device));
  log::info("measured {} kinds of products in {:.1f} s: for {} of them another form than the rules' is kept", report.measured, report.seconds, report.changed);
  return {};
}

void log_info(const EngineInfo& i, const MemoryFit& fit) {
  const MemoryPlan& p = fit.plan;
  log::info("model {} ({}), {:.1f} M parameters, weights {:.1f} MiB, loaded in {:.2f} s", i.model, i.architecture, double(i.parameters) / 1e6, double(i.weight_bytes) / (1 << 20), i.load_seconds);
  log::info("device {}, {} threads, {} kernels, dtype {}, pipeline depth {}", i.device, i.threads, i.isa, i.dtype, i.pipeline_depth);
  log::info("KV cache {:.1f} MiB: {} tokens in pages of {}; context {}, chunked prefill {}, at most {} running and {} queued, {} {} prefix cache", double(i.kv_bytes) / (1 << 20),
            i.max_total_tokens, p.page_size, i.context_length, p.chunk_tokens, p.max_running, p.max_queued, i.schedule_policy, i.radix_cache ? "with" : "without");
  if (i.images) log::info("images of at most {} tokens, {} of the vision tower's rows kept{}", i.max_image_tokens, p.image_rows,
                          p.whole_tokens > p.chunk_tokens ? fmt::format("; one is computed whole, in steps of up to {} tokens", p.whole_tokens) : "");
  if (fit.table.memory_bytes > 0)
    log::info("{:.1f} MiB of the device's memory are planned for, {:.1f} can be used, it has {:.1f}", double(fit.table.sum()) / (1 << 20), double(fit.table.usable_bytes) / (1 << 20),
              double(fit.table.memory_bytes) / (1 << 20));
  if (p.state_bytes > 0)
    log::info("a recurrent state takes {:.2f} MiB; each running request has one, prefixes one every {} tokens", double(p.state_bytes) / (1 << 20), p.snapshot_interval);
}

}  // namespace

Result<LoadedEngine> load_engine(const EngineConfig& config) {
  const std::optional<Policy> policy = policy_named(config.schedule_policy);
  if (!policy) return invalid("unknown --schedule-policy '" + config.schedule_policy + "': use fcfs, lpm or priority");
  TRY(const Isa isa, parse_isa(config.isa));
  if (config.pipeline_depth < 0 || config.pipeline_depth > 2) return invalid("--pipeline-depth must be 1 or 2");
  if (config.load_format != "auto" && config.load_format != "safetensors" && config.load_format != "dummy")
    return invalid("unknown --load-format '" + config.load_format + "': use auto, safetensors or dummy");
  if (config.threads < 0 || config.threads > 1024) return invalid("--threads must be from 1 to 1024");

  TRY(const Config model_config, load_config(config.model));
  ModelOptions options{config.dtype == "float32" ? DType::kF32 : DType::kBF16, !config.language_model_only};
  TRY(std::unique_ptr<Model> model, make_model(model_config, options));
  std::shared_ptr<const ImageProcessor> images;
  if (model->vision()) {
    auto processor = ImageProcessor::load(config.model, config.images);
    if (!processor.ok() && processor.error().code != Code::kNotFound) return processor.error();
    if (processor.ok()) images = *processor;
    else log::warn("no images will be taken: {}", processor.error().text);
  }
  if (!images && model->vision()) {
    options.vision = false;
    TRY(model, make_model(model_config, options));
  }
  TRY(const bool round_x, parse_round_x(config.dtype, *model));
  const int threads = config.threads ? config.threads : int(std::max(1u, std::thread::hardware_concurrency()));
  TRY(ChosenDevice chosen, choose_device(config.device));
  auto host = std::make_unique<CpuDevice>(threads, isa);  // packs weights, whatever computes
  const double t0 = now_seconds();
  if (chosen.device && config.allow_fallback) chosen.device->set_fallback(std::make_unique<CpuDevice>(threads, isa));
  Device& computes = chosen.device ? *chosen.device : *host;
  LoadOptions load;
  load.dummy = config.load_format == "dummy";
  load.dummy_type = quantised_type(model_config);
  load.progress = config.progress;
  load.max_piece_bytes = chosen.max_piece_bytes;
  load.available_bytes = std::numeric_limits<int64_t>::max();  // fit_memory looks at that
  const std::vector<Param> params = model->params();
  // Everything that can be refused is, before weights are read.
  TRY(WeightLoader loader, WeightLoader::open(config.model, *model, load, chosen.device.get()));
  TRY(const MemoryFit fit, fit_memory({config, *model, loader.plan(), chosen, computes, prompt_matrix_parameters(params), threads, round_x, images ? images->max_tokens() : 0}));
  const MemoryPlan& plan = fit.plan;
  TRY(const DryPass dry, dry_pass(computes, *model, plan.limits(), round_x, /*build=*/true));
  if (!dry.fallback.empty()) log::warn("the device has no kernels for {} of this model: they run on the CPU, slowly (--allow-fallback)", fmt::join(dry.fallback, ", "));
  if (plan.pool_bound)
    log::warn("the KV cache of one kind of layers must be one piece of memory, of at most {:.1f} MiB on this device: it holds {} tokens", double(chosen.max_piece_bytes) / (1 << 20), plan.max_total_tokens);
  TRY(LoadedWeights weights, loader.load(*host, chosen.device.get()));

  if (config.tune) TRY_VOID(tune(computes, *model, plan.limits(), round_x));

  LoadedEngine out;
  if (config.state_snapshot_interval && plan.snapshot_interval == 0) log::warn("--state-snapshot-interval is ignored: this model keeps no recurrent states");
  out.limits = plan.limits();
  EngineInfo& i = out.info;
  i.model = config.model;
  i.architecture = architecture_of(model_config);
  i.model_type = model_config.text_or("model_type", "");
  i.dtype = round_x ? "bfloat16" : "float32", i.device = chosen.name, i.isa = chosen.device ? "opencl" : isa_name(isa);
  i.vocab_size = model->vocab_size(), i.context_length = plan.context, i.parameters = count_parameters(params);
  i.weight_bytes = weights.bytes + weights.mapped_bytes, i.kv_bytes = plan.kv_bytes, i.max_total_tokens = plan.max_total_tokens;
  i.page_size = plan.page_size, i.chunked_prefill_size = plan.chunk_tokens, i.max_running_requests = plan.max_running, i.max_queued_requests = plan.max_queued;
  i.threads = threads, i.pipeline_depth = config.pipeline_depth ? config.pipeline_depth : computes.host_memory() ? 1 : 2;
  i.schedule_policy = config.schedule_policy, i.radix_cache = !config.disable_radix_cache;
  i.fallback_ops.assign(dry.fallback.begin(), dry.fallback.end());
  i.images = plan.image_tokens > 0, i.image_token = i.images ? images->placeholder() : -1, i.max_image_tokens = plan.image_tokens;
  const std::vector<CacheGroup> groups = model->caches().groups();
  std::unique_ptr<Device> device = chosen.device ? std::move(chosen.device) : std::move(host);
  TRY(out.runner, Runner::create(std::move(device), std::move(model), std::move(weights), out.limits, plan.pool_blocks, round_x));
  out.runner->set_explain(config.explain);
  out.runner->set_graphs(config.disable_graph ? 0 : config.graph_max_batch);
  out.sched = std::make_unique<Scheduler>(SchedulerConfig{groups, plan.pool_blocks, plan.page_size, plan.chunk_tokens, plan.whole_tokens, plan.pack_tokens, plan.max_running, plan.max_logit_rows,
                                                          plan.context, *policy, i.radix_cache, plan.snapshot_interval});
  i.load_seconds = now_seconds() - t0;
  log_info(i, fit);
  return out;
}

}  // namespace xylem
