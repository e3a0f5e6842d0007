// How large everything becomes: what the user set, and sensible values from the machine and the model for the rest.
#pragma once
#include <vector>

#include "nn/model.h"
#include "runtime/engine.h"
#include "runtime/step.h"

namespace xylem {

struct MemoryPlan {
  int page_size = 0, context = 0, chunk_tokens = 0, pack_tokens = 0, max_running = 0, max_queued = 0, max_logit_rows = 0;
  int snapshot_interval = 0;        // tokens; 0: the model keeps no states
  int64_t state_bytes = 0;          // of one state in all its layers
  std::vector<int> pool_blocks;     // per cache group
  int64_t kv_bytes = 0;
  int64_t max_total_tokens = 0;     // that the group with the longest memory holds
  bool pool_bound = false;          // it would be more, but for CacheRoom::max_pool_bytes
  StepLimits limits() const { return {chunk_tokens + max_running, max_running, max_running + max_logit_rows, context, page_size}; }
};

// Where the cache goes.
struct CacheRoom {
  int64_t bytes = 0;           // that it takes if --kv-memory does not say otherwise; none: a small cache, for the table of what does not fit
  int64_t max_pool_bytes = 0;  // of one group: it is one piece of memory; 0: no bound
};
// prompt_parameters: prompt_matrix_parameters() of the model. Errors say which flag to change and to what.
Result<MemoryPlan> plan_memory(const EngineConfig& config, const Model& model, int64_t prompt_parameters, int threads, const CacheRoom& room);

}  // namespace xylem
