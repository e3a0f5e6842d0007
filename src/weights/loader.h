// Fills a model's parameters from a checkpoint folder, or with random numbers.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/cpu/cpu_device.h"
#include "nn/model.h"
#include "weights/mapped_file.h"

namespace xylem {

struct LoadOptions {
  bool dummy = false;           // random weights of the config's shapes; the folder is not read
  DType dummy_type = DType::kBF16;  // of those that a checkpoint of this type quantises; of all others bfloat16
  uint64_t seed = 0;            // of the random weights
  bool progress = true;         // a bar on stderr if that is a terminal
  int64_t available_bytes = 0;  // what the weights may take; 0: what the system has
};

// Owns the memory behind the model's tensors: must outlive the model's use, and the device must outlive it.
struct LoadedWeights {
  Buffer slab;
  std::vector<std::unique_ptr<MappedFile>> files;  // tables that stay in the file
  int64_t bytes = 0;         // resident
  int64_t mapped_bytes = 0;  // read from the files when needed
  int64_t parameters = 0;
  double seconds = 0;
  std::string dtype_stored;  // "bfloat16": the type of most weights' bytes
};

// Sets every *param.tensor of model.params(). Runs on the threads of `device`. Errors: kNotFound and kInvalid name file and
// tensor; kNoCapacity says how much memory is needed and available. After an error the model's tensors are unusable.
// target: where the weights go; by default the memory of that same device.
Result<LoadedWeights> load_weights(const std::string& folder, Model& model, CpuDevice& device, const LoadOptions& options, Device* target = nullptr);

}  // namespace xylem
