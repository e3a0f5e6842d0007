// Owns everything on the device, and runs steps: token ids in, token ids out.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "nn/model.h"
#include "runtime/image_encoder.h"
#include "runtime/step.h"
#include "weights/loader.h"

namespace xylem {

class Runner {
 public:
  // Allocates the cache (pool_blocks per group), the token pool and the memory of a forward, which a dry pass measures.
  static Result<std::unique_ptr<Runner>> create(std::unique_ptr<Device> device, std::unique_ptr<Model> model, LoadedWeights weights, const StepLimits& limits,
                                                const std::vector<int>& pool_blocks, bool round_x);
  // Runs the step to its end on this thread, after some layers of the vision tower if s.encode has images; s.sample's outputs are then
  // on the host.
  // With plan, every op call is recorded in it as well.
  // An error is the device's: what the step computed is not to be used.
  Status run(StepSlab& s, Plan* plan = nullptr) {
    const Status begun = begin(s, plan);
    return begun.ok() ? end(s) : begun;
  }
  // The same in two: a device that works by itself has the step in its queue after begin(). Steps end in the order in which they
  // began, and others may begin on another thread meanwhile. begin(): one thread at a time.
  Status begin(StepSlab& s, Plan* plan = nullptr);
  Status end(StepSlab& s);  // not after an error of begin()
  // Runs recorded calls again: with unchanged slabs, the same bits in the same places.
  void replay(const Plan& plan) { stream_.replay(plan); }
  // From now on, steps of up to max_rows rows whose shape has been met before run as compiled plans (Device::compile), where
  // the device has such. 0: never.
  void set_graphs(int max_rows) { graph_max_rows_ = max_rows; }

  // The rows that the vision tower makes of an image that fits StepLimits::image_patches, on the host. Between steps.
  Result<std::vector<float>> encode_image(std::shared_ptr<const ImagePatches> image) { return encoder_->encode(std::move(image)); }
  ImageEncoder::Totals image_totals() const { return encoder_ ? encoder_->totals() : ImageEncoder::Totals{}; }  // any thread

  Device& device() { return *device_; }
  const Model& model() const { return *model_; }
  Tensor token_pool() const { return token_pool_; }
  std::span<const Tensor> pools() const { return pools_; }  // per cache group; between steps a test may look and write
  void set_tap(HiddenTap* tap) { tap_ = tap; }
  void set_explain(bool on) { explain_prompt_ = explain_decode_ = on; }  // log the kernels of the next step of each kind

 private:
  Runner(std::unique_ptr<Device> device, std::unique_ptr<Model> model, LoadedWeights weights, const StepLimits& limits, bool round_x)
      : device_(std::move(device)), model_(std::move(model)), weights_(std::move(weights)), limits_(limits), round_x_(round_x), stream_(*device_) {}
  Status allocate(const std::vector<int>& pool_blocks);
  Status allocate_vision(size_t arena_bytes);
  void forward(StepSlab& s);
  void enqueue(StepSlab& s);
  Status run_explained(StepSlab& s, bool& pending, const char* kind);

  std::unique_ptr<Device> device_;
  std::unique_ptr<Model> model_;
  LoadedWeights weights_;
  StepLimits limits_;
  bool round_x_;
  Stream stream_;
  std::vector<Buffer> pool_memory_;
  std::vector<Tensor> pools_;        // per group: [blocks, elements of a block]
  Buffer token_memory_, arena_memory_;
  Tensor token_pool_;                // [rows, context + 1] i32
  std::unique_ptr<ImageEncoder> encoder_;  // null: the model takes no images
  Buffer image_memory_;
  Tensor images_;                    // [tokens, hidden]: Batch::images of the step
  HiddenTap* tap_ = nullptr;
  bool explain_prompt_ = false, explain_decode_ = false;

  // A step's calls and their arguments follow from these numbers: everything else lies in the slab.
  struct StepShape {
    const void* slab;                // the device's memory of it
    int64_t tokens, rows, logit_rows, adjustments, chosen;
    bool images;
    auto operator<=>(const StepShape&) const = default;
  };
  struct Graph {
    std::unique_ptr<CompiledPlan> plan;  // null: met once
    uint64_t used = 0;                   // step number
  };
  static StepShape shape_of(const StepSlab& s);
  Graph* graph_for(const StepSlab& s);   // null: this step runs eagerly
  static constexpr size_t kMaxGraphs = 256;
  std::map<StepShape, Graph> graphs_;
  int graph_max_rows_ = 0;
  uint64_t steps_ = 0;
  std::atomic<bool> failed_{false};  // since the last begin(): what the device holds is not to be relied on
};

}  // namespace xylem
