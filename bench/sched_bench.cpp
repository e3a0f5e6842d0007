// The host's share of a step: plan + commit with 64 running requests, and a prefix match of 32k tokens.
// sched_bench [--block N]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "base/clock.h"
#include "sched/scheduler.h"

namespace xylem {
namespace {

constexpr int kHeads = 1, kDim = 64;

std::vector<CacheGroup> full_and_window() {
  CacheLayout layout(2);
  layout.kv(kHeads, kDim);
  layout.window_kv(kHeads, kDim, 512);
  return layout.groups();
}

std::vector<TokenId> random_tokens(int n, std::mt19937& rng) {
  std::vector<TokenId> tokens(static_cast<size_t>(n));
  for (TokenId& t : tokens) t = TokenId(rng() % 262144);
  return tokens;
}

void print(const char* what, std::vector<double>& seconds) {
  std::sort(seconds.begin(), seconds.end());
  double sum = 0;
  for (double s : seconds) sum += s;
  std::printf("%-44s mean %7.2f us  p50 %7.2f us  p99 %7.2f us  (n = %zu)\n", what, 1e6 * sum / double(seconds.size()),
              1e6 * seconds[seconds.size() / 2], 1e6 * seconds[seconds.size() * 99 / 100], seconds.size());
}

// Decode steps of `running` requests that start with 2k tokens each, `waiting` more in the queue; one step in flight at
// depth 2.
void bench_steps(int block_tokens, int depth, int waiting) {
  constexpr int kRunning = 64, kPrompt = 2048, kSteps = 4000;
  SchedulerConfig config;
  config.groups = full_and_window();
  config.block_tokens = block_tokens;
  const int per_request = (kPrompt + kSteps) / block_tokens + 8;
  config.pool_blocks = {per_request * kRunning, per_request * kRunning};
  config.max_running = kRunning;
  config.pack_tokens = config.chunk_tokens;
  Scheduler scheduler(config);
  std::mt19937 rng(1);
  for (int i = 0; i < kRunning + waiting; i++)
    scheduler.submit({.id = RequestId(i + 1), .prompt = random_tokens(kPrompt, rng), .max_new_tokens = 1 << 20});

  std::vector<Event> events;
  std::vector<TokenId> sampled;
  std::vector<StepPlan> flying;
  std::vector<double> seconds;
  while (int(seconds.size()) < kSteps - 200) {
    const bool all_decode = scheduler.running() == kRunning;
    events.clear();
    const double t0 = now_seconds();
    flying.push_back(scheduler.plan(&events));
    const double t1 = now_seconds();
    double t2 = t1, t3 = t1;
    if (int(flying.size()) == depth) {
      sampled.clear();
      for (const Row& row : flying.front().rows)
        if (row.sample) sampled.push_back(TokenId(rng() % 262144));
      t2 = now_seconds();
      scheduler.commit(flying.front(), sampled, &events);
      t3 = now_seconds();
      flying.erase(flying.begin());
    }
    if (all_decode) seconds.push_back(t1 - t0 + t3 - t2);
  }
  char what[100];
  std::snprintf(what, sizeof what, "plan + commit, 64 running, %d waiting, depth %d", waiting, depth);
  print(what, seconds);
}

void bench_match(int block_tokens) {
  constexpr int kTokens = 32 * 1024, kOthers = 15;
  const int blocks = kTokens / block_tokens;
  std::vector<BlockPool> pools(2, BlockPool(blocks * (kOthers + 1)));
  const std::vector<CacheGroup> groups = full_and_window();
  PrefixIndex index(groups, block_tokens, pools);
  std::mt19937 rng(2);
  std::vector<TokenId> tokens;
  for (int i = 0; i <= kOthers; i++) {
    tokens = random_tokens(kTokens, rng);
    std::vector<BlockTable> tables;
    for (BlockPool& pool : pools) {
      tables.emplace_back(&pool);
      for (int b = 0; b < blocks; b++) tables.back().append(pool.take());
    }
    PrefixPath path;
    index.start(path, 0, {}, tokens);
    index.advance(path, tokens, tables);
    for (BlockTable& t : tables) t.clear();
    index.leave(path);
  }
  std::vector<double> match, attach;
  for (int i = 0; i < 2000; i++) {
    std::vector<BlockTable> tables;
    for (BlockPool& pool : pools) tables.emplace_back(&pool);
    const double t0 = now_seconds();
    const PrefixHit hit = index.match(0, tokens);
    const double t1 = now_seconds();
    index.attach(hit, tables);
    const double t2 = now_seconds();
    CHECK(hit.blocks == blocks, hit.blocks);
    match.push_back(t1 - t0);
    attach.push_back(t2 - t0);
  }
  print("match of 32k tokens", match);
  print("match of 32k tokens + taking the blocks", attach);
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  const int block_tokens = argc == 3 && std::strcmp(argv[1], "--block") == 0 ? std::atoi(argv[2]) : 16;
  if (block_tokens <= 0 || (argc != 1 && argc != 3)) {
    std::fprintf(stderr, "usage: sched_bench [--block TOKENS]\n");
    return 1;
  }
  std::printf("blocks of %d tokens\n", block_tokens);
  for (int depth : {1, 2}) xylem::bench_steps(block_tokens, depth, 0);
  xylem::bench_steps(block_tokens, 2, 1000);
  xylem::bench_match(block_tokens);
}
