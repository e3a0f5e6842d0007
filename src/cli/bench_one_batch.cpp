#include <condition_variable>
#include <mutex>
#include <random>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/model_summary.h"
#include "cli/setup.h"
#include "cli/stats.h"
#include "device/cpu/roof.h"
#include "server/json_body.h"

namespace xylem {
namespace {

// When each token of each request of the batch came.
class Times : public EventSink {
 public:
  Times(RequestId first, int batch) : first_(first), of_(size_t(batch)), running_(batch) {}
  void on_event(EngineEvent event) override {
    const double now = now_seconds();
    std::lock_guard lock(mu_);
    if (event.token >= 0) of_[size_t(event.id - first_)].push_back(now);
    if (event.finish == Finish::kNone) return;
    if (event.finish != Finish::kLength) error_ = event.finish == Finish::kError ? event.error : internal_error("a request was aborted");
    running_--;
    done_.notify_one();
  }
  Result<std::vector<std::vector<double>>> wait() {
    std::unique_lock lock(mu_);
    done_.wait(lock, [&] { return running_ == 0; });
    if (!error_.text.empty()) return error_;
    return std::move(of_);
  }

 private:
  const RequestId first_;
  std::mutex mu_;
  std::condition_variable done_;
  std::vector<std::vector<double>> of_;
  int running_;
  Error error_;
};

struct Measured {
  double total = 0;            // seconds from the first submit to the last token
  double prefill = 0;          // ... to the last request's first token
  std::vector<double> steps;   // seconds of the steps in which the whole batch decodes
};

Result<Measured> run_batch(Engine& engine, const BenchBatchOptions& o, std::mt19937_64& rng) {
  std::uniform_int_distribution<TokenId> id(0, TokenId(engine.info().vocab_size - 1));
  std::vector<GenerateRequest> requests(static_cast<size_t>(o.batch_size));
  for (GenerateRequest& r : requests) {
    r.prompt.resize(size_t(o.input_len));
    for (TokenId& t : r.prompt) t = id(rng);
    r.sampling.temperature = 0;
    r.max_new_tokens = o.output_len;
    r.id = engine.next_id();
    if (r.id != requests.front().id + RequestId(&r - requests.data())) return internal_error("request ids are not consecutive");
  }
  auto times = std::make_shared<Times>(requests.front().id, o.batch_size);
  const double begin = now_seconds();
  for (GenerateRequest& r : requests) TRY_VOID(engine.submit(std::move(r), times));
  TRY(const auto of, times->wait());
  double all_started = 0, first_ended = 1e300, end = 0;
  for (const auto& t : of) all_started = std::max(all_started, t.front()), first_ended = std::min(first_ended, t.back()), end = std::max(end, t.back());
  Measured m{end - begin, all_started - begin, {}};
  const auto& t = of.back();
  for (size_t i = 1; i < t.size(); i++)
    if (t[i - 1] >= all_started && t[i] <= first_ended) m.steps.push_back(t[i] - t[i - 1]);
  return m;
}

std::string line(const char* name, const Summary& s, const char* unit) {
  return fmt::format("{:<26}{:>12.2f}{:>12.2f}{:>12.2f}  {}\n", name, s.min, s.median, s.max, unit);
}
Json to_json(const Summary& s) { return {{"min", s.min}, {"median", s.median}, {"max", s.max}}; }

struct Figures {
  std::vector<double> total_ms, prefill_ms, step_ms, read_gbs, bf16_gflops, f32_gflops;
};

// Host time of a decode step on devices that launches are made for.
std::string host_time(const EngineStats& s) {
  std::string text;
  if (s.replayed_steps) text += fmt::format("host: {:.1f} us to enqueue a replayed decode step of {} launches\n", s.replayed_host_seconds / double(s.replayed_steps) * 1e6, s.replayed_launches);
  if (s.eager_steps) text += fmt::format("host: {:.1f} us to enqueue a decode step anew\n", s.eager_host_seconds / double(s.eager_steps) * 1e6);
  return text;
}

void report(const BenchBatchOptions& o, const EngineInfo& info, const EngineStats& stats, const ModelSummary& model, const Figures& f) {
  const Summary total = summarize(f.total_ms), prefill = summarize(f.prefill_ms), step = summarize(f.step_ms), read = summarize(f.read_gbs), peak = summarize(f.bf16_gflops), f32 = summarize(f.f32_gflops);
  const double tokens = double(o.batch_size) * o.input_len;
  const double weights = model.step_bytes(o.batch_size), cache = o.batch_size * model.cache_bytes(o.input_len + o.output_len / 2);
  const double gbs = (weights + cache) / step.median / 1e6, gflops = tokens * model.prompt_flops_per_token() / prefill.median / 1e6;
  const Json json = {{"model", info.model}, {"dtype", info.dtype}, {"isa", info.isa}, {"threads", info.threads},
                     {"batch_size", o.batch_size}, {"input_len", o.input_len}, {"output_len", o.output_len},
                     {"total_ms", to_json(total)}, {"output_throughput", o.batch_size * o.output_len / total.median * 1e3},
                     {"prefill_ms", to_json(prefill)}, {"prefill_throughput", tokens / prefill.median * 1e3},
                     {"prefill_gflops", gflops}, {"prefill_share_of_peak", gflops / peak.median},
                     {"decode_step_ms", to_json(step)}, {"decode_throughput", o.batch_size / step.median * 1e3},
                     {"step_weight_bytes", weights}, {"step_cache_bytes", cache},
                     {"decode_gbs", gbs}, {"decode_share_of_bandwidth", gbs / read.median},
                     {"read_gbs", to_json(read)}, {"bf16_gflops", to_json(peak)}, {"f32_gflops", to_json(f32)}};
  if (o.json) {
    fmt::print("{}\n", json.dump());
    return;
  }
  fmt::print("{} requests of {} + {} tokens, {} repeats; {} on {} threads, {}\n", o.batch_size, o.input_len, o.output_len, o.repeats, info.isa,
             info.threads, info.dtype);
  fmt::print("{:<26}{:>12}{:>12}{:>12}\n", "", "min", "median", "max");
  fmt::print("{}{}{}{}{}", line("machine: reading memory", read, "GB/s"), line("machine: bf16 products", peak, "GFLOP/s"), line("machine: f32 products", f32, "GFLOP/s"),
             line("prefill", prefill, "ms"), line("decode step", step, "ms"));
  fmt::print("{}output: {:.2f} tokens/s over the whole batch\n", line("all", total, "ms"), o.batch_size * o.output_len / total.median * 1e3);
  fmt::print("prefill: {:.1f} tokens/s, {:.0f} GFLOP/s = {:.1f} % of the machine's bf16 peak\n", tokens / prefill.median * 1e3, gflops,
             100 * gflops / peak.median);
  fmt::print("decode: {:.2f} tokens/s; a step reads {} of weights and {} of cache, {:.2f} GB/s = {:.1f} % of the machine's bandwidth\n",
             o.batch_size / step.median * 1e3, format_bytes(weights), format_bytes(cache), gbs, 100 * gbs / read.median);
  if (info.device != "cpu") fmt::print("{}", host_time(stats));
}

}  // namespace

Status bench_one_batch(BenchBatchOptions o) {
  TRY_VOID(prepare(o.model, "warning"));
  EngineConfig& e = o.model.engine;
  if (e.max_running_requests == 0) e.max_running_requests = std::max(o.batch_size, 16);
  TRY(const ModelSummary model, summarize_model(e.model, e.dtype == "float32" ? 4 : 2));
  TRY(const std::unique_ptr<Engine> engine, Engine::create(e));
  const EngineInfo& info = engine->info();
  if (o.input_len + o.output_len > info.context_length)
    return invalid(fmt::format("--input-len {} and --output-len {} do not fit the context of {} tokens", o.input_len, o.output_len, info.context_length));
  TRY(const Isa isa, parse_isa(e.isa));
  CpuDevice device(info.threads, isa);
  Roof roof(device);
  if (!roof) return no_capacity("no memory to probe the bandwidth with (1 GiB); set --kv-memory lower");

  std::mt19937_64 rng(1);
  TRY_VOID(run_batch(*engine, o, rng));  // warms up
  Figures f;
  for (int i = 0; i < o.repeats; i++) {
    f.read_gbs.push_back(roof.read_gbs());
    f.bf16_gflops.push_back(roof.bf16_gflops());
    f.f32_gflops.push_back(roof.f32_gflops());
    TRY(const Measured m, run_batch(*engine, o, rng));
    f.total_ms.push_back(m.total * 1e3);
    f.prefill_ms.push_back(m.prefill * 1e3);
    for (double s : m.steps) f.step_ms.push_back(s * 1e3);
    f.read_gbs.push_back(roof.read_gbs());
  }
  if (f.step_ms.empty()) return invalid("no step decoded the whole batch: the first answers ended before the last prompts were computed; raise --output-len");
  report(o, info, engine->stats(), model, f);
  return {};
}

}  // namespace xylem
