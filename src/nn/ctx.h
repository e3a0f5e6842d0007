// One forward pass: what a layer may use. Passed by reference, never stored.
#pragma once
#include <map>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "cache/layout.h"
#include "device/fallback.h"
#include "device/op.h"
#include "ops/gated_matmul/gated_matmul.h"
#include "ops/matmul/matmul.h"

namespace xylem {

// The tokens of a step, row after row, as device tensors at addresses that stay for the life of the runner.
struct Batch {
  Tensor tokens;      // [T] i32
  Tensor positions;   // [T] i32
  Tensor cu_q;        // [B + 1] i32: row b holds tokens [cu_q[b], cu_q[b+1])
  Tensor kv_len;      // [B] i32: tokens of row b in the cache after this step
  Tensor logit_rows;  // [R] i32: indices into [0, T) whose logits are wanted
  Tensor rope_positions;  // [axes, T] i32 of models with Model::rope_axes() > 1, else empty: positions are meant
  // Only in steps with tokens that stand for images:
  Tensor images;      // [R, H] f32: rows of the vision tower
  Tensor image_rows;  // [T] i32: the row of images that replaces a token's embedding, or -1
  Tensor limits;      // [T] i32, of models with Model::whole_images(): the end of the image that a token belongs to, else position + 1
  struct Group {
    Tensor slots;     // [T] i32: where each token's K and V go; -1: nowhere
    Tensor table;     // [B, max_blocks] i32: block ids, -1 for holes
    // Of state groups, [B] i32: the block whose state row b continues from, -1: a new sequence, all zeros. The state after
    // the row's last token goes to table[b][(end - 1) / block_tokens], where end = kv_len[b]. Besides, wherever table[b][i]
    // is a block and (i + 1) * block_tokens lies strictly inside (begin, end), the state after that many tokens goes there.
    // state_in may be the row's last block (in place); any other one is read by several rows perhaps, and never written.
    // Blocks may hold anything at first. slots are unused, and so is logits_only: layers with states come before.
    Tensor state_in;
  };
  std::vector<Group> groups;          // of the cache layout
  const Batch* logits_only = nullptr; // the same step seen as R rows of one token each: what layers after the last cache write need
};

// Memory of one forward: handed out upwards, taken back by scopes. A dry one only measures; its addresses are for nobody to read.
class Arena {
 public:
  Arena() = default;
  Arena(void* base, size_t bytes) : base_(static_cast<std::byte*>(base)), bytes_(bytes) {}
  void* take(size_t bytes) {
    const size_t at = used_;
    used_ += (bytes + 255) / 256 * 256;
    peak_ = used_ > peak_ ? used_ : peak_;
    if (!base_) return reinterpret_cast<void*>(kDryBase + at);
    CHECK(used_ <= bytes_, used_, bytes_);
    return base_ + at;
  }
  size_t used() const { return used_; }
  size_t peak() const { return peak_; }
  void reset(size_t used) { used_ = used; }

 private:
  static constexpr uintptr_t kDryBase = 4096;
  std::byte* base_ = nullptr;
  size_t bytes_ = 0, used_ = 0, peak_ = 0;
};

// Receives hidden states for tests and dumps: the residual stream before layer 0, after each layer, and after the last norm.
class HiddenTap {
 public:
  virtual ~HiddenTap() = default;
  virtual void on_hidden(int index, const Tensor& x) = 0;  // x: [T, H] f32, valid during the call
};

// What a dry pass learns of the calls it meets.
struct DryNotes {
  bool call = false;                           // the device is dry, and wants to be called: Device::begin_dry
  std::map<std::string, std::string> refused;  // op -> its first call that the device has no kernel for
  std::set<std::string> fallback;              // ops of which some call runs on the host
  std::vector<MatMul>* products = nullptr;     // if wanted: every matrix product
  template <class A>
  void see(const A& a, Device& d) {
    const Kernel<A>* k = find_kernel(a, d);
    if (!k) refused.try_emplace(A::kName, refusal(a, d));
    else if (k->name == std::string_view(kHostKernel)) fallback.insert(A::kName);
    else if (call) k->run(a, d);
    if constexpr (std::is_same_v<A, MatMul>)
      if (products) products->push_back(a);
    if constexpr (std::is_same_v<A, GatedMatMul>)
      if (products) products->push_back({a.up, a.w, a.bias, a.y, a.round_x});
  }
};

struct Ctx {
  Stream& stream;
  const Batch& batch;
  std::span<const Tensor> pools;  // per cache group: [blocks, elements of a block]
  Arena& arena;
  int block_tokens = 0;
  bool round_x = false;           // the model runs in bfloat16: inputs of matrix products are rounded
  bool dry = false;               // shapes only: nothing runs, the arena measures
  HiddenTap* tap = nullptr;
  DryNotes* notes = nullptr;      // of a dry pass

  Tensor temp(std::initializer_list<int64_t> dims, DType t = DType::kF32) {
    Tensor x = shape(dims, t);
    x.data = arena.take(x.bytes());
    return x;
  }
  template <class A>
  void run(const A& a) {
    if (!dry) stream.run(a);
    else if (notes) notes->see(a, stream.device());
  }
  void hidden(int index, const Tensor& x) {
    if (!tap || dry) return;
    if (stream.device().host_memory()) return tap->on_hidden(index, x);
    CHECK(x.contiguous(), index);
    std::vector<float> host(size_t(x.numel()));
    stream.device().copy_out(host.data(), x.data, x.bytes());
    Tensor y = x;
    y.data = host.data();
    tap->on_hidden(index, y);
  }
  // The rest of this forward for the wanted logits alone.
  Ctx logits_only() const {
    CHECK(batch.logits_only != nullptr);
    return {stream, *batch.logits_only, pools, arena, block_tokens, round_x, dry, tap, notes};
  }
};

// Temporaries made in its life are taken back at its end.
class ArenaScope {
 public:
  explicit ArenaScope(Ctx& c) : arena_(c.arena), used_(c.arena.used()) {}
  ~ArenaScope() { arena_.reset(used_); }
  ArenaScope(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  size_t used_;
};

}  // namespace xylem
