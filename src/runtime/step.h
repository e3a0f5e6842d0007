// One step as the device sees it: the plan of the scheduler turned into slabs at fixed addresses.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "nn/ctx.h"
#include "ops/sample/sample.h"
#include "runtime/engine.h"
#include "sched/scheduler.h"

namespace xylem {

inline constexpr int kMaxAdjustments = 1024;  // logit_bias entries and stop ids of a request; Engine::submit checks
inline constexpr int kMaxChosen = 64;         // logprob_ids of a request

// Upper bounds that the slabs are sized for.
struct StepLimits {
  int tokens = 0;          // of a step: chunk + one per running request
  int rows = 0;            // running requests
  int logit_rows = 0;      // rows + prompt logit rows
  int context = 0;         // tokens of a request
  int block_tokens = 0;
  int image_patches = 0;   // of one call of the vision tower; 0: the model takes no images
  int image_rows = 0;      // of it that are kept for later steps
  bool whole_images = false;  // Model::whole_images()
  int rope_axes = 1;       // Model::rope_axes()
  int64_t max_blocks() const { return (context + block_tokens - 1) / block_tokens + 1; }
};

// A row of logits, and what it is for.
struct LogitRow {
  int row = 0;             // index in the plan
  int position = 0;        // of the token whose logits these are
  bool sample = false;     // else: the log-probability of the prompt token at position + 1
};

using ImageList = std::vector<std::shared_ptr<const ImagePatches>>;

// What the vision tower is to go on with; no images: nothing.
struct EncodeWork {
  ImageList images;
  RequestId request{};  // that waits for them
  bool done = false;    // the rows of all of them are there
};

// What an image contributes to a step: rows [first, first + count) of those that the vision tower makes of it become the embeddings
// of tokens, from row `row` of Batch::images on.
struct StepImage {
  std::shared_ptr<const ImagePatches> patches;
  int first = 0, count = 0, row = 0;
};

// What a device with memory of its own has of the steps' slabs. All of them share it: their steps run one after another.
struct DeviceSlab {
  Buffer memory;
  std::vector<std::byte> sent;  // what lies there, but for outputs; empty: unknown
};

// Inputs and outputs of one step. Two exist at pipeline depth 2: one is filled while the device works on the other.
// Everything the device reads lies at addresses that never change. A device with memory of its own has a copy of the slab, which
// batch, take and sample refer to; to_device() and to_host() have it brought up to date.
class StepSlab {
 public:
  // other: of the same device and limits; both then share what the device has.
  StepSlab(Device& device, const StepLimits& limits, const CacheLayout& layout, const StepSlab* other = nullptr);
  StepSlab(const StepSlab&) = delete;
  void to_device();        // inputs, as far as this step uses them and the device does not have them
  void to_host();          // outputs, which are there when the device has come so far
  void distrust() { memory_->sent.clear(); }  // after an error: copies may not have arrived

  StepPlan plan;
  Batch batch;             // views of this step's size
  Batch tail;              // batch.logits_only, unless the batch itself is that
  TakeTokens take;         // fills batch.tokens from the token pool
  Sample sample;           // logits are set after the forward
  Sample result;           // the same, but for the logits, as the host reads it
  std::vector<LogitRow> logit_rows;
  std::vector<StepImage> images;
  EncodeWork encode;       // before the step, which may be empty
  std::unique_ptr<Fence> done;  // while the device may work on it
  Status status;           // of the run
  struct Host {            // what enqueuing the step took
    enum Form { kOther, kReplayed, kEager } form = kOther;
    double seconds = 0;
    int launches = 0;      // of a replayed one
  } host;

 private:
  friend class BatchBuilder;
  // The first part of a full-size tensor, on the device.
  Tensor view(const Tensor& whole, std::initializer_list<int64_t> dims) const { return make_tensor(on_device(whole.data), whole.dtype, dims); }
  void* on_device(void* host) const { return static_cast<std::byte*>(memory_->memory.data()) + (static_cast<std::byte*>(host) - host_); }
  std::byte* on_host(void* device) const {
    const size_t at = size_t(static_cast<std::byte*>(device) - static_cast<std::byte*>(memory_->memory.data()));
    return at < outputs_ ? host_ + at : results_ + (at - outputs_);
  }
  void send(const Tensor& t, int64_t first, int64_t count);  // elements, on the device
  void send_tables(const Batch& b, const Tensor& kv_len);
  Device& device_;
  int block_tokens_;
  std::shared_ptr<DeviceSlab> memory_;
  std::vector<std::byte> mirror_;  // the host's copy, if the device's memory is not the host's
  std::byte* host_ = nullptr;
  size_t outputs_ = 0;             // where they begin in the slab
  std::shared_ptr<std::byte[]> mirrored_results_;
  std::byte* results_ = nullptr;   // outputs on the host
  struct Whole {           // full-size tensors, on the host
    Tensor tokens, token_slots, positions, rope_positions, image_rows, limits, cu_q, kv_len, logit_rows, tail_positions, tail_cu_q, tail_kv_len;
    Tensor sample_rows, adjust_ids, adjust_add, chosen_ids, out_tokens, out_logprobs, out_top_ids, out_top_logprobs, out_chosen;
    std::vector<Tensor> slots, table, tail_table, state_in;
  } whole_;
};

// Fills slabs. Engine thread.
class BatchBuilder {
 public:
  BatchBuilder(const StepLimits& limits, const CacheLayout& layout, Tensor token_pool)
      : limits_(limits), groups_(layout.groups()), token_pool_(token_pool), slot_owner_(size_t(limits.rows)) {}
  // request(id): the parameters the client sent; lives at least until the step is committed.
  void build(const StepPlan& plan, const Scheduler& sched, const std::function<const GenerateRequest&(RequestId)>& request, StepSlab& s);

 private:
  void fill_row(const Row& row, const Request& r, int b, int first_token, StepSlab& s);
  void fill_images(const Row& row, const std::vector<ImageInput>& images, int first_token, StepSlab& s);
  void fill_rope_positions(const Row& row, const std::vector<ImageInput>& images, int first_token, int tokens, StepSlab& s);
  void fill_tail(const Scheduler& sched, StepSlab& s);
  void fill_sampling(const Scheduler& sched, const std::function<const GenerateRequest&(RequestId)>& request, StepSlab& s);
  void fill_state(const Row& row, const Request& r, size_t group, int b, StepSlab& s);
  void copy_table(const Request& r, size_t group, int begin, int end, int32_t* out) const;

  StepLimits limits_;
  std::vector<CacheGroup> groups_;
  Tensor token_pool_;                   // [rows, context + 1] i32: tokens of the request in each slot
  std::vector<RequestId> slot_owner_;   // whose tokens lie in a slot; 0: nobody's
};

}  // namespace xylem
