// A checkpoint folder before its weights are loaded: its config, and what it holds and will need.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "nn/config.h"
#include "nn/model.h"

namespace xylem {

// Reads FOLDER/config.json. Errors: the folder is absent or no checkpoint (says what is missing), the JSON is malformed (says
// where), the weights are quantised in a way that is not supported (names it).
Result<Config> load_config(const std::string& folder);

// What the config says about the stored weights: kMxfp4, kF8E4M3, or kBF16 if it says nothing. Files are read by their own types.
DType quantised_type(const Config& config);

struct CheckpointSummary {
  struct Count { int64_t tensors = 0, bytes = 0; };
  bool has_weights = false;                 // else the files are absent, and figures are those of random weights
  int64_t tensors = 0;                      // in the files
  std::map<std::string, Count> dtypes;      // "BF16" -> ...
  std::map<std::string, Count> groups;      // "model", the labels of Model::unused(), "unused"
  int64_t parameters = 0;                   // that the model uses
  int64_t weight_bytes = 0;                 // resident once loaded
  int64_t mapped_bytes = 0;                 // stay in the files, read when needed
  int64_t step_bytes = 0;                   // of what every step reads: all but tables, second copies and experts
  int64_t expert_bytes = 0;                 // of all experts

  struct Cache {
    CacheGroup group;
    int64_t bytes_per_token = 0;            // all layers; 0 for states
    int64_t bytes_per_sequence = 0;         // at context_tokens: a window holds no more than itself, a state one state
  };
  int64_t context_tokens = 0;
  std::vector<Cache> caches;
  int64_t cache_bytes_per_token = 0;        // sums
  int64_t cache_bytes_per_sequence = 0;
};
// Reads headers only. context_tokens <= 0: the model's longest.
Result<CheckpointSummary> summarize_checkpoint(const std::string& folder, Model& model, int64_t context_tokens);

}  // namespace xylem
