// Fills a model's parameters from a checkpoint folder, or with random numbers.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/cpu/cpu_device.h"
#include "nn/model.h"
#include "weights/mapped_file.h"
#include "weights/plan.h"

namespace xylem {

struct LoadOptions {
  bool dummy = false;           // random weights of the config's shapes; the folder is not read
  DType dummy_type = DType::kBF16;  // of those that a checkpoint of this type quantises; of all others bfloat16
  uint64_t seed = 0;            // of the random weights
  bool progress = true;         // a bar on stderr if that is a terminal
  int64_t available_bytes = 0;  // what the weights may take; 0: what the system has
  int64_t max_piece_bytes = 0;  // of memory; 0: no bound
};

// Owns the memory behind the model's tensors: must outlive the model's use, and the device must outlive it.
struct LoadedWeights {
  std::vector<Buffer> slab;  // in pieces
  std::vector<std::unique_ptr<MappedFile>> files;  // tables that stay in the file
  int64_t bytes = 0;         // resident
  int64_t mapped_bytes = 0;  // read from the files when needed
  int64_t parameters = 0;
  double seconds = 0;
  std::string dtype_stored;  // "bfloat16": the type of most weights' bytes
};

// Loading in two parts: between them it is known what the weights need, and nothing of them is read. Errors: kNotFound and
// kInvalid name file and tensor; kNoCapacity says how much memory is needed and available. After one the model's tensors are
// unusable.
class WeightLoader {
 public:
  // Sets every *param.tensor of model.params(): types and shapes as they will be, and data that nobody may read yet. model must
  // outlive the loader. target: where the weights will go, a device or the host's memory (null).
  static Result<WeightLoader> open(const std::string& folder, Model& model, const LoadOptions& options, const Device* target);
  const WeightPlan& plan() const { return plan_; }
  // Fills them on the threads of `device`. target: as given to open; null: that same device. Once.
  Result<LoadedWeights> load(CpuDevice& device, Device* target);

 private:
  std::unique_ptr<std::vector<Param>> params_;  // the plan points to them and to the files
  std::unique_ptr<TensorFiles> files_;          // null: random weights
  WeightPlan plan_;
  LoadOptions options_;
  std::map<std::string, std::string> labels_;   // Model::unused()
  double start_ = 0;
};

// Both at once.
Result<LoadedWeights> load_weights(const std::string& folder, Model& model, CpuDevice& device, const LoadOptions& options, Device* target = nullptr);

}  // namespace xylem
