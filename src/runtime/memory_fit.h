// Everything that xylem wants of a device's memory, before any of it is taken.
#pragma once
#include <string>
#include <vector>

#include "runtime/choose_device.h"
#include "runtime/dry_pass.h"
#include "runtime/memory_plan.h"
#include "weights/plan.h"

namespace xylem {

struct MemoryTable {
  struct Line {
    std::string what;
    int64_t bytes = 0;
    std::string options;           // that change it
  };
  std::string device;
  std::vector<Line> lines;
  int64_t memory_bytes = 0;        // that the device has; 0: unknown
  int64_t usable_bytes = 0;        // of those, by this program
  int64_t sum() const;
  std::string text() const;        // lines, the sum, what there is, and what to do
};

struct MemoryFit {
  MemoryPlan plan;
  MemoryTable table;
};

struct FitRequest {
  const EngineConfig& config;
  const Model& model;              // its tensors have types and shapes: WeightLoader::open
  const WeightPlan& weights;
  const ChosenDevice& chosen;
  Device& device;                  // that computes
  int64_t prompt_parameters = 0;   // prompt_matrix_parameters()
  int threads = 1;
  bool round_x = true;
  int max_image_tokens = 0;        // of one image
};
// Sizes that fit together. kNoCapacity shows the table. kUnsupported: the device lacks kernels, see DryPass::check.
Result<MemoryFit> fit_memory(const FitRequest& r);

}  // namespace xylem
