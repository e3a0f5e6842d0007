#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace xylem {
namespace {

using prometheus::Histogram;

const Histogram::BucketBoundaries kFirstToken = {0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1,   2,  4,
                                                 6,    8,     10,   20,  40,  60,  80,  100, 200, 400};
const Histogram::BucketBoundaries kInterToken = {0.002, 0.004, 0.006, 0.008, 0.010, 0.015, 0.020, 0.025,
                                                 0.030, 0.035, 0.040, 0.060, 0.080, 0.1,   0.2,   0.4,
                                                 0.6,   0.8,   1,     2,     4,     8};
const Histogram::BucketBoundaries kEndToEnd = {0.1, 0.2, 0.4, 0.6, 0.8, 1,   2,   4,   6,    8,    10,
                                               20,  40,  60,  80,  100, 200, 400, 600, 1200, 1800, 2400};
const Histogram::BucketBoundaries kTokens = {1,    8,    32,    128,   256,   512,    1024,  2048,
                                             4096, 8192, 16384, 32768, 65536, 131072, 262144};

}  // namespace

struct Metrics::Impl {
  explicit Impl(const std::string& model_name) : labels{{"model_name", model_name}} {}

  prometheus::Counter& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
  }
  prometheus::Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
  }
  Histogram& histogram(const char* name, const char* help, const Histogram::BucketBoundaries& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels, buckets);
  }
  prometheus::Family<prometheus::Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Labels(labels).Register(registry);
  }

  const std::map<std::string, std::string> labels;
  prometheus::Registry registry;

  prometheus::Family<prometheus::Counter>& http_requests =
      counters("xylem:http_requests_total", "HTTP requests by endpoint and method.");
  prometheus::Family<prometheus::Counter>& http_responses =
      counters("xylem:http_responses_total", "HTTP responses by endpoint and status.");
  prometheus::Gauge& http_active = gauge("xylem:http_requests_active", "HTTP requests being handled.");

  Histogram& ttft = histogram("xylem:time_to_first_token_seconds", "Time to the first token.", kFirstToken);
  Histogram& itl = histogram("xylem:inter_token_latency_seconds", "Time between two tokens of a request.", kInterToken);
  Histogram& e2e = histogram("xylem:e2e_request_latency_seconds", "Time to the last token.", kEndToEnd);
  Histogram& prompt_histogram = histogram("xylem:prompt_tokens_histogram", "Prompt tokens of a request.", kTokens);
  Histogram& generation_histogram =
      histogram("xylem:generation_tokens_histogram", "Generated tokens of a request.", kTokens);
  prometheus::Counter& prompt_tokens = counter("xylem:prompt_tokens_total", "Prompt tokens.");
  prometheus::Counter& generation_tokens = counter("xylem:generation_tokens_total", "Generated tokens.");
  prometheus::Counter& cached_tokens =
      counter("xylem:cached_tokens_total", "Prompt tokens taken from the prefix cache.");
  prometheus::Counter& requests = counter("xylem:num_requests_total", "Generation requests finished.");
  prometheus::Counter& aborted = counter("xylem:num_aborted_requests_total", "Generation requests aborted.");

  prometheus::Gauge& running = gauge("xylem:num_running_reqs", "Requests running.");
  prometheus::Gauge& queued = gauge("xylem:num_queue_reqs", "Requests waiting.");
  prometheus::Gauge& used_tokens = gauge("xylem:num_used_tokens", "Tokens held in the KV cache by running requests.");
  prometheus::Gauge& evictable =
      gauge("xylem:kv_evictable_tokens", "Tokens kept in the KV cache for later prefix hits.");
  prometheus::Gauge& max_tokens = gauge("xylem:max_total_num_tokens", "Capacity of the KV cache in tokens.");
  prometheus::Gauge& token_usage = gauge("xylem:token_usage", "Used part of the KV cache, 0 to 1.");
  prometheus::Gauge& throughput = gauge("xylem:gen_throughput", "Generated tokens per second over the last seconds.");
  prometheus::Gauge& hit_rate =
      gauge("xylem:cache_hit_rate", "Part of all prompt tokens that came from the prefix cache.");
  prometheus::Gauge& context_len = gauge("xylem:context_len", "Context length of the model in tokens.");
  prometheus::Gauge& page_size = gauge("xylem:page_size", "Tokens per page of the KV cache.");
  prometheus::Gauge& retracted = gauge("xylem:num_retracted_requests_total", "Preemptions since the start.");
  prometheus::Gauge& steps = gauge("xylem:forward_passes_total", "Steps of the engine since the start.");
  prometheus::Gauge& failed_steps = gauge("xylem:failed_forward_passes_total", "Steps that the device failed.");
  prometheus::Gauge& forward_seconds = gauge("xylem:forward_execution_seconds_total", "Time spent in forward passes.");

  Histogram& image_processing =
      histogram("xylem:image_processing_seconds", "Time to decode and process an image of a request.", kFirstToken);
  prometheus::Gauge& images_encoded = gauge("xylem:images_encoded_total", "Images that the vision tower computed.");
  prometheus::Gauge& images_cached =
      gauge("xylem:images_cached_total", "Images whose features were found in the cache of the vision tower.");
  prometheus::Gauge& vision_seconds = gauge("xylem:vision_execution_seconds_total", "Time spent in the vision tower.");
};

Metrics::Metrics(const std::string& model_name) : impl_(std::make_unique<Impl>(model_name)) {}
Metrics::~Metrics() = default;

void Metrics::http_begin(std::string_view endpoint, std::string_view method) {
  impl_->http_requests.Add({{"endpoint", std::string(endpoint)}, {"method", std::string(method)}}).Increment();
  impl_->http_active.Increment();
}
void Metrics::http_end(std::string_view endpoint, int status) {
  impl_->http_responses.Add({{"endpoint", std::string(endpoint)}, {"status_code", std::to_string(status)}}).Increment();
  impl_->http_active.Decrement();
}

void Metrics::image_processed(double seconds) { impl_->image_processing.Observe(seconds); }
void Metrics::first_token(double seconds) { impl_->ttft.Observe(seconds); }
void Metrics::next_token(double seconds) { impl_->itl.Observe(seconds); }
void Metrics::finished(double seconds, int prompt_tokens, int cached_tokens, int generated_tokens, bool aborted) {
  impl_->e2e.Observe(seconds);
  impl_->prompt_histogram.Observe(prompt_tokens);
  impl_->generation_histogram.Observe(generated_tokens);
  impl_->prompt_tokens.Increment(prompt_tokens);
  impl_->cached_tokens.Increment(cached_tokens);
  impl_->generation_tokens.Increment(generated_tokens);
  impl_->requests.Increment();
  if (aborted) impl_->aborted.Increment();
}

std::string Metrics::render(const EngineInfo& info, const EngineStats& stats) {
  Impl& m = *impl_;
  m.running.Set(stats.running);
  m.queued.Set(stats.queued);
  m.used_tokens.Set(static_cast<double>(stats.used_tokens));
  m.evictable.Set(static_cast<double>(stats.cached_tokens_evictable));
  m.max_tokens.Set(static_cast<double>(info.max_total_tokens));
  m.token_usage.Set(info.max_total_tokens > 0
                        ? static_cast<double>(stats.used_tokens) / static_cast<double>(info.max_total_tokens)
                        : 0);
  m.throughput.Set(stats.gen_throughput);
  m.hit_rate.Set(stats.prompt_tokens > 0
                     ? static_cast<double>(stats.cached_prompt_tokens) / static_cast<double>(stats.prompt_tokens)
                     : 0);
  m.context_len.Set(static_cast<double>(info.context_length));
  m.page_size.Set(info.page_size);
  m.retracted.Set(static_cast<double>(stats.preemptions));
  m.steps.Set(static_cast<double>(stats.steps));
  m.failed_steps.Set(static_cast<double>(stats.failed_steps));
  m.forward_seconds.Set(stats.forward_seconds);
  m.images_encoded.Set(static_cast<double>(stats.images_encoded));
  m.images_cached.Set(static_cast<double>(stats.images_cached));
  m.vision_seconds.Set(stats.vision_seconds);
  return prometheus::TextSerializer().Serialize(m.registry.Collect());
}

}  // namespace xylem
