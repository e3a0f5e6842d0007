#include <algorithm>
#include <cstdio>
#include <fstream>
#include <random>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/http_client.h"
#include "cli/stats.h"
#include "server/json_body.h"

namespace xylem {
namespace {

struct Load {
  std::string body;
  double start_after = 0;  // seconds since the run began; requests limited by concurrency may start later
};

struct Sample {
  bool ok = false;
  std::string error;
  int input = 0, output = 0;
  double ttft = 0, e2e = 0;     // seconds
  std::vector<double> gaps;     // between tokens
};

// Random ids of random lengths in [ratio * n, n]; arrivals at random, request_rate a second on average.
std::vector<Load> make_load(const BenchServingOptions& o, int vocab_size, std::vector<Sample>& samples) {
  std::mt19937_64 rng(o.seed);
  auto length = [&](int n) { return std::uniform_int_distribution<int>(std::max(1, int(o.range_ratio * n)), n)(rng); };
  std::exponential_distribution<double> gap(o.request_rate > 0 ? o.request_rate : 1);
  std::uniform_int_distribution<int> id(0, vocab_size - 1);
  std::vector<Load> loads;
  std::vector<int> ids;
  double at = 0;
  for (int i = 0; i < o.num_prompts; i++) {
    Sample s;
    s.input = length(o.input_len);
    const int max_new = length(o.output_len);
    if (!o.same_prompt || ids.empty()) {
      ids.resize(size_t(s.input));
      for (int& t : ids) t = id(rng);
    }
    s.input = int(ids.size());
    const Json body = {{"input_ids", ids},
                       {"stream", true},
                       {"sampling_params", {{"max_new_tokens", max_new}, {"ignore_eos", true}, {"temperature", 0}}}};
    loads.push_back({body.dump(), at});
    samples.push_back(s);
    if (o.request_rate > 0) at += gap(rng);
  }
  return loads;
}

// Sends the load; one request more starts whenever its time has come and the concurrency allows it.
class Run {
 public:
  Run(HttpClient& client, const BenchServingOptions& o, std::vector<Load> loads, std::vector<Sample>& samples)
      : client_(client), limit_(o.max_concurrency > 0 ? o.max_concurrency : o.num_prompts), loads_(std::move(loads)), samples_(samples) {}

  double go() {  // seconds from the first request to the last answer
    begin_ = now_seconds();
    start_due();
    client_.run();
    return now_seconds() - begin_;
  }

 private:
  void start_due() {
    while (next_ < loads_.size() && running_ < limit_) {
      const double wait = begin_ + loads_[next_].start_after - now_seconds();
      if (wait > 0) {
        if (!std::exchange(waiting_, true)) client_.after(wait, [this] { waiting_ = false, start_due(); });
        return;
      }
      start(next_++);
    }
  }

  void start(size_t i) {
    struct State {
      SseLines lines;
      double begin, last;
      int tokens = 0;
    };
    auto state = std::make_shared<State>();
    state->begin = state->last = now_seconds();
    running_++;
    auto on_line = [this, state, i](std::string_view data) {
      Sample& s = samples_[i];
      if (data == "[DONE]") return void(s.ok = s.error.empty() && s.output > 0);
      const Json chunk = Json::parse(data, nullptr, /*allow_exceptions=*/false);
      if (!chunk.is_object() || !chunk.contains("meta_info")) return void(s.error = std::string(data.substr(0, 200)));
      const int tokens = chunk["meta_info"].value("completion_tokens", 0);
      const double now = now_seconds();
      if (tokens <= s.output) return;
      if (s.output == 0) s.ttft = now - state->begin;
      else s.gaps.insert(s.gaps.end(), size_t(tokens - s.output), (now - state->last) / (tokens - s.output));
      s.output = tokens;
      state->last = now;
      s.e2e = now - state->begin;
    };
    client_.send(
        "/generate", std::move(loads_[i].body), [state, on_line](std::string_view piece) { state->lines.push(piece, on_line); },
        [this, i](HttpReply reply) {
          if (reply.status != 200)
            samples_[i].error = reply.status ? fmt::format("HTTP {}: {}", reply.status, reply.body.substr(0, 200)) : reply.error;
          else if (!samples_[i].ok && samples_[i].error.empty())
            samples_[i].error = "the stream ended early: " + reply.error;
          running_--;
          start_due();
        });
  }

  HttpClient& client_;
  const int limit_;
  std::vector<Load> loads_;
  std::vector<Sample>& samples_;
  double begin_ = 0;
  size_t next_ = 0;
  int running_ = 0;
  bool waiting_ = false;
};

void print_times(const char* name, const std::vector<double>& seconds, Json& json, const std::string& key) {
  const Summary s = summarize(seconds);
  fmt::print("{:<28}{:>10.2f} {:>10.2f} {:>10.2f} {:>10.2f}\n", name, s.mean * 1e3, s.median * 1e3, s.p90 * 1e3, s.p99 * 1e3);
  json["mean_" + key + "_ms"] = s.mean * 1e3;
  json["median_" + key + "_ms"] = s.median * 1e3;
  json["p99_" + key + "_ms"] = s.p99 * 1e3;
}

Json report(const std::vector<Sample>& samples, double seconds) {
  std::vector<double> ttft, tpot, itl, e2e;
  int64_t input = 0, output = 0;
  int completed = 0;
  for (const Sample& s : samples) {
    if (!s.ok) continue;
    completed++;
    input += s.input, output += s.output;
    ttft.push_back(s.ttft), e2e.push_back(s.e2e);
    if (s.output > 1) tpot.push_back((s.e2e - s.ttft) / (s.output - 1));
    itl.insert(itl.end(), s.gaps.begin(), s.gaps.end());
  }
  Json json = {{"completed", completed}, {"failed", samples.size() - size_t(completed)}, {"duration", seconds},
               {"total_input_tokens", input}, {"total_output_tokens", output}};
  fmt::print("requests                    {} completed, {} failed, in {:.2f} s\n", completed, samples.size() - size_t(completed), seconds);
  fmt::print("tokens                      {} in, {} out\n", input, output);
  auto rate = [&](const char* name, const char* key, double n, const char* unit) {
    fmt::print("{:<28}{:.2f} {}\n", name, n / seconds, unit);
    json[key] = n / seconds;
  };
  rate("request throughput", "request_throughput", completed, "requests/s");
  rate("input token throughput", "input_throughput", double(input), "tokens/s");
  rate("output token throughput", "output_throughput", double(output), "tokens/s");
  rate("total token throughput", "total_throughput", double(input + output), "tokens/s");
  fmt::print("{:<28}{:>10} {:>10} {:>10} {:>10}\n", "milliseconds", "mean", "median", "p90", "p99");
  print_times("time to first token", ttft, json, "ttft");
  print_times("time per output token", tpot, json, "tpot");
  print_times("inter-token latency", itl, json, "itl");
  print_times("end to end", e2e, json, "e2e_latency");
  return json;
}

}  // namespace

Status bench_serving(BenchServingOptions o) {
  TRY(const Url url, parse_url(o.url));
  const HttpReply info = http_request(url, o.api_key, "/server_info", "", 10);
  if (info.status == 0) return unavailable(info.error + "; is the server running? Start it with `xylem serve`, or name another with --url");
  if (info.status != 200) return unavailable(fmt::format("{}/server_info: HTTP {} {}", o.url, info.status, info.body.substr(0, 200)));
  const Json server = Json::parse(info.body, nullptr, false);
  const int vocab_size = server.is_object() ? server.value("vocab_size", 1000) : 1000;  // most vocabularies have 1000 ids

  HttpClient client(url, o.api_key, 600);
  if (o.warmup > 0) {
    BenchServingOptions w = o;
    w.num_prompts = o.warmup, w.request_rate = 0, w.seed = ~o.seed;
    std::vector<Sample> samples;
    auto loads = make_load(w, vocab_size, samples);
    Run(client, w, std::move(loads), samples).go();
    if (!samples[0].ok) return unavailable(samples[0].error);
  }
  std::vector<Sample> samples;
  auto loads = make_load(o, vocab_size, samples);
  const double seconds = Run(client, o, std::move(loads), samples).go();
  const Json json = report(samples, seconds);
  if (!o.output_file.empty()) {
    std::ofstream out(o.output_file, std::ios::app);
    out << json.dump() << "\n";
    if (!out.flush()) return invalid("cannot write " + o.output_file);
  }
  for (const Sample& s : samples)
    if (!s.ok) return unavailable(fmt::format("{} of {} requests failed; the first: {}", json["failed"].get<int>(), samples.size(), s.error));
  return {};
}

}  // namespace xylem
