// The steps of a model without computing anything: what it needs of a device, found out at start.
#pragma once
#include <map>
#include <set>
#include <string>

#include "device/device.h"
#include "nn/model.h"
#include "runtime/step.h"

namespace xylem {

// Of what lies in the blocks of a group.
DType cache_type(const CacheLayout& layout, const CacheGroup& group);

struct DryPass {
  size_t arena_bytes = 0;              // temporaries of the largest step
  size_t vision_bytes = 0;             // the vision tower's of the largest image
  size_t scratch_bytes = 0;            // working memory of op calls, as far as the device knows
  std::map<std::string, std::string> refused;  // op -> a call of it that the device has no kernel for
  std::set<std::string> fallback;      // ops that run on the host, or some calls of them

  // An error that names what is refused, if anything is.
  Status check() const;
};

// Asks for every call of the largest step, of decode steps and of prompts of many lengths. With build, the device also builds
// their kernels; an error is that one does not build. The model's weights need no memory yet, but their shapes and types, and
// data that is not null where there is a weight.
Result<DryPass> dry_pass(Device& device, const Model& model, const StepLimits& limits, bool round_x, bool build);

// The matrix products of the largest step and of the largest image. The model's weights are there.
std::vector<MatMul> products_of(Device& device, const Model& model, const StepLimits& limits, bool round_x);

}  // namespace xylem
