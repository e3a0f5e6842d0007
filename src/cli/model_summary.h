// What a checkpoint folder holds, without loading it.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "nn/model.h"
#include "weights/checkpoint.h"

namespace xylem {

struct ModelSummary {
  std::string folder, architecture;
  std::unique_ptr<Model> model;
  std::vector<Param> params;
  CheckpointSummary checkpoint;
  int64_t experts = 0, experts_per_token = 0;

  // Bytes of weights that one step of `tokens` tokens reads: every matrix once, tables not at all, and of the experts as many
  // as that many tokens choose on average.
  double step_bytes(int tokens) const;
  // Multiplications and additions that one token of a prompt needs, weights only: without the head, and without the layers
  // that run only where logits are wanted.
  double prompt_flops_per_token() const;
  // Bytes of keys and values that a sequence of that many tokens holds.
  double cache_bytes(int64_t tokens) const;
};

// kv_element_bytes: 2 for a bfloat16 cache, 4 for float32.
Result<ModelSummary> summarize_model(const std::string& folder, size_t kv_element_bytes);

}  // namespace xylem
