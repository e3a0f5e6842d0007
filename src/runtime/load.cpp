#include "runtime/load.h"

#include <fmt/format.h>

#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "runtime/choose_device.h"
#include "runtime/memory_plan.h"
#include "weights/checkpoint.h"
#include "weights/memory.h"

namespace xylem {
namespace {

Result<bool> parse_round_x(const std::string& dtype, const Model& model) {  // true: bfloat16
  if (dtype == "auto" || dtype == "bfloat16") return true;
  if (dtype == "float32") return false;
  if (dtype != "float16") return invalid("unknown --dtype '" + dtype + "': use auto, bfloat16 or float32");
  const std::string why = model.float16_problem();
  return unsupported("--dtype float16 is not supported" + (why.empty() ? "" : " for this model, since " + why) + ": use auto, bfloat16 or float32");
}

void log_info(const EngineInfo& i, const MemoryPlan& p) {
  log::info("model {} ({}), {:.1f} M parameters, weights {:.1f} MiB, loaded in {:.2f} s", i.model, i.architecture, double(i.parameters) / 1e6, double(i.weight_bytes) / (1 << 20), i.load_seconds);
  log::info("device {}, {} threads, {} kernels, dtype {}, pipeline depth {}", i.device, i.threads, i.isa, i.dtype, i.pipeline_depth);
  log::info("KV cache {:.1f} MiB: {} tokens in pages of {}; context {}, chunked prefill {}, at most {} running and {} queued, {} {} prefix cache", double(i.kv_bytes) / (1 << 20),
            i.max_total_tokens, p.page_size, i.context_length, p.chunk_tokens, p.max_running, p.max_queued, i.schedule_policy, i.radix_cache ? "with" : "without");
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
  TRY(std::unique_ptr<Model> model, make_model(model_config, {config.dtype == "float32" ? DType::kF32 : DType::kBF16}));
  TRY(const bool round_x, parse_round_x(config.dtype, *model));
  const int threads = config.threads ? config.threads : int(std::max(1u, std::thread::hardware_concurrency()));
  TRY(ChosenDevice chosen, choose_device(config.device));
  auto host = std::make_unique<CpuDevice>(threads, isa);  // packs weights, whatever computes
  const double t0 = now_seconds();
  LoadOptions load;
  load.dummy = config.load_format == "dummy";
  load.dummy_type = quantised_type(model_config);
  load.progress = config.progress;
  load.available_bytes = int64_t(chosen.memory_bytes / 10 * 9);
  TRY(LoadedWeights weights, load_weights(config.model, *model, *host, load, chosen.device.get()));
  // The cache takes half of what is available by default; a group's pool must be one piece of the device's memory.
  const int64_t available = chosen.device ? std::min<int64_t>(load.available_bytes - weights.bytes, int64_t(chosen.max_alloc_bytes)) : available_memory_bytes();

  LoadedEngine out;
  const std::vector<Param> params = model->params();
  TRY(MemoryPlan plan, plan_memory(config, *model, prompt_matrix_parameters(params), threads, available));
  if (config.state_snapshot_interval && plan.snapshot_interval == 0) log::warn("--state-snapshot-interval is ignored: this model keeps no recurrent states");
  // A request cannot outgrow the pool it would have to itself.
  plan.context = int(std::min<int64_t>(plan.context, plan.max_total_tokens));
  out.limits = plan.limits();
  EngineInfo& i = out.info;
  i.model = config.model;
  i.architecture = architecture_of(model_config);
  i.model_type = model_config.text_or("model_type", "");
  i.dtype = round_x ? "bfloat16" : "float32", i.device = chosen.name, i.isa = chosen.device ? "opencl" : isa_name(isa);
  i.vocab_size = model->vocab_size(), i.context_length = plan.context, i.parameters = count_parameters(params);
  i.weight_bytes = weights.bytes + weights.mapped_bytes, i.kv_bytes = plan.kv_bytes, i.max_total_tokens = plan.max_total_tokens;
  i.page_size = plan.page_size, i.chunked_prefill_size = plan.chunk_tokens, i.max_running_requests = plan.max_running, i.max_queued_requests = plan.max_queued;
  i.threads = threads, i.pipeline_depth = config.pipeline_depth ? config.pipeline_depth : 1;
  i.schedule_policy = config.schedule_policy, i.radix_cache = !config.disable_radix_cache;
  const std::vector<CacheGroup> groups = model->caches().groups();
  std::unique_ptr<Device> device = chosen.device ? std::move(chosen.device) : std::move(host);
  TRY(out.runner, Runner::create(std::move(device), std::move(model), std::move(weights), out.limits, plan.pool_blocks, round_x));
  out.runner->set_explain(config.explain);
  out.sched = std::make_unique<Scheduler>(SchedulerConfig{groups, plan.pool_blocks, plan.page_size, plan.chunk_tokens, plan.pack_tokens, plan.max_running, plan.max_logit_rows,
                                                          plan.context, *policy, i.radix_cache, plan.snapshot_interval});
  i.load_seconds = now_seconds() - t0;
  log_info(i, plan);
  return out;
}

}  // namespace xylem
