// The engine as servers and command lines see it: submit requests, get events. The loop itself is in engine.cpp.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "sched/request.h"
#include "vision/processor.h"

namespace xylem {

// Order and meaning: shared/sglang.md 2.7. Ranges are checked by whoever parses them (server/schema); the engine trusts them.
struct SamplingParams {
  float temperature = 1.0f;          // < 1e-6: greedy, exact argmax, ties to the lower id
  int top_k = -1;                    // <= 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  float frequency_penalty = 0.0f;    // penalties count generated tokens only
  float presence_penalty = 0.0f;
  float repetition_penalty = 1.0f;
  std::vector<std::pair<TokenId, float>> logit_bias;
  uint64_t seed = 0;                 // always set: random for requests that gave none
};

// An image of a prompt: patches->tokens() placeholders (EngineInfo::image_token) from first_token on.
struct ImageInput {
  int first_token = 0;
  std::shared_ptr<const ImagePatches> patches;
};

struct GenerateRequest {
  RequestId id = 0;                  // from Engine::next_id()
  std::vector<TokenId> prompt;
  SamplingParams sampling;
  int max_new_tokens = 128;
  int min_new_tokens = 0;
  std::vector<TokenId> stop_ids;     // EOS of the model included; empty under ignore_eos
  int priority = 0;
  uint64_t cache_key = 0;
  bool logprobs = false;             // log-probability of every generated token
  int top_logprobs = 0;              // and of the k best
  std::vector<TokenId> logprob_ids;  // and of these
  int prompt_logprobs_from = -1;     // >= 0: also of prompt tokens at positions > this
  std::vector<ImageInput> images;    // in the order of the prompt; if there are any, it holds no other placeholders
};

struct TokenLogprob {
  TokenId token = -1;
  float logprob = 0;
  std::vector<std::pair<TokenId, float>> top;      // best first
  std::vector<std::pair<TokenId, float>> chosen;   // of logprob_ids, in their order
};

struct EngineEvent {
  RequestId id = 0;
  TokenId token = -1;                 // -1: no token in this event
  Finish finish = Finish::kNone;      // the last event of a request has another value
  Error error;                        // for kError
  int cached_tokens = 0;
  std::optional<TokenLogprob> logprob;
  std::vector<TokenLogprob> prompt_logprobs;   // with the first event, if asked for: positions from + 1 .. end
};

// Receives a request's events in order. Called on the engine thread: must only hand over, never block or throw.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(EngineEvent event) = 0;
};

// Everything a user may set; unset (0, -1 or empty) means: derived from the machine and the model, and printed at start.
struct EngineConfig {
  std::string model;                  // checkpoint folder
  std::string device = "cpu";
  std::string dtype = "auto";         // auto = bfloat16; float32: all activations float32
  std::string load_format = "auto";   // auto = safetensors; dummy: random weights of the config's shapes
  int threads = 0;                    // compute threads
  std::string isa = "auto";           // of CPU kernels: auto, scalar, avx2, avx512, avx512_bf16
  int64_t kv_memory_bytes = 0;
  int page_size = 0;                  // tokens: 16, 32, 64 or 128
  int context_length = 0;
  int chunked_prefill_size = 0;
  int max_running_requests = 0;
  int max_queued_requests = 0;
  std::string schedule_policy = "fcfs";  // fcfs | lpm | priority
  bool disable_radix_cache = false;
  int state_snapshot_interval = 0;    // tokens, a multiple of the page size: how often recurrent states are kept for prefixes
  int pipeline_depth = 0;             // 1, or 2: plan the next step while one runs
  bool progress = true;               // loading bar on a terminal
  bool allow_fallback = false;        // ops without a kernel on the device run on the CPU, through copies
  bool tune = false;                  // measure matrix products on the device before the start, and keep the fastest forms for later ones
  bool disable_graph = false;         // every step makes its launches anew
  int graph_max_batch = 256;          // running requests of a step up to which its launches are kept and replayed
  bool language_model_only = false;   // without the checkpoint's vision tower: no memory for it, no images
  ImageOptions images;                // what images become; a server's processor must have the same
  int64_t mm_cache_bytes = 0;         // for what the vision tower made of images; -1: none is kept for a later request
  bool explain = false;               // log which kernels the first prompt step and the first decode step ran
};

struct EngineInfo {                   // fixed after start
  std::string model, architecture, model_type, dtype, device, isa;
  int64_t vocab_size = 0, context_length = 0, parameters = 0;
  int64_t weight_bytes = 0, kv_bytes = 0, max_total_tokens = 0;  // max_total_tokens: KV capacity of the full-attention group
  int page_size = 0, chunked_prefill_size = 0, max_running_requests = 0, max_queued_requests = 0, threads = 0, pipeline_depth = 1;
  std::string schedule_policy;
  bool radix_cache = true;
  std::vector<std::string> fallback_ops;  // that run on the CPU, since the device has no kernel for them
  double load_seconds = 0;
  bool images = false;                // the model takes them
  TokenId image_token = -1;           // their placeholder
  int max_image_tokens = 0;           // of one image
};

struct EngineStats {                  // a snapshot, any time
  int running = 0, queued = 0;
  int64_t used_tokens = 0, cached_tokens_evictable = 0;    // of the full-attention group
  uint64_t steps = 0, prompt_tokens = 0, cached_prompt_tokens = 0, generated_tokens = 0, finished = 0, aborted = 0, preemptions = 0;
  uint64_t failed_steps = 0;
  double gen_throughput = 0;          // tokens per second over the last seconds
  double schedule_seconds = 0, forward_seconds = 0;        // totals
  // Decode steps whose launches were replayed or made anew, what that took of the host, and the launches of the last replayed one.
  uint64_t replayed_steps = 0, eager_steps = 0;
  double replayed_host_seconds = 0, eager_host_seconds = 0;
  int replayed_launches = 0;
  uint64_t images_encoded = 0, images_cached = 0;          // by the vision tower; found in its cache
  double vision_seconds = 0;
};

// A step that the device failed makes the engine unhealthy until the next one succeeds.
struct EngineHealth {
  bool ok = true;
  bool lost = false;                  // for good: the device does not answer, every request fails
  std::string text;                   // what went wrong
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> create(const EngineConfig& config);
  virtual ~Engine() = default;        // stops the loop; running requests get kAbort

  virtual RequestId next_id() = 0;                                                           // any thread
  // Any thread. kUnavailable when the queue is full (HTTP 503) or the engine is stopping. Events may come before it returns.
  virtual Status submit(GenerateRequest request, std::shared_ptr<EventSink> sink) = 0;
  virtual void cancel(RequestId id) = 0;   // any thread; the request ends with kAbort within a step; unknown ids are ignored
  virtual bool flush_cache() = 0;          // any thread; waits for the loop. False when requests are running or queued
  virtual void drain() = 0;                // refuse new requests, return when all running ones have ended
  virtual const EngineInfo& info() const = 0;
  virtual EngineStats stats() const = 0;   // any thread
  virtual EngineHealth health() const { return {}; }  // any thread
};

}  // namespace xylem
