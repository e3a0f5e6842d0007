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
  int image_tokens = 0;             // of one image, at most; 0: the model takes none
  int whole_tokens = 0;             // that one step computes at least, if the tokens of an image cannot be parted
  int64_t image_rows = 0;           // of images, that are kept
  int image_patches = 0, rope_axes = 1;
  bool pool_bound = false;          // it would be more, but for CacheRoom::max_pool_bytes
  int step_tokens() const { return chunk_tokens > whole_tokens ? chunk_tokens : whole_tokens; }  // of prompts
  StepLimits limits() const {
    return {step_tokens() + max_running, max_running, max_running + max_logit_rows, context, page_size, image_patches, int(image_rows), whole_tokens > 0, rope_axes};
  }
};

// Where the cache goes.
struct CacheRoom {
  int64_t bytes = 0;           // that it takes if --kv-memory does not say otherwise; none: a small cache, for the table of what does not fit
  int64_t max_pool_bytes = 0;  // of one group: it is one piece of memory; 0: no bound
};
// prompt_parameters: prompt_matrix_parameters() of the model. max_image_tokens: of one image. Errors say which flag to change and to what.
Result<MemoryPlan> plan_memory(const EngineConfig& config, const Model& model, int64_t prompt_parameters, int threads, const CacheRoom& room, int max_image_tokens = 0);

}  // namespace xylem
