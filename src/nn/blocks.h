// The blocks that models are written with: weights, and the op calls that use them. Shapes: T tokens of a step.
#pragma once
#include <cmath>

#include "nn/ctx.h"
#include "nn/model.h"
#include "ops/act_mul/act_mul.h"
#include "ops/add/add.h"
#include "ops/attention/attention.h"
#include "ops/gather/gather.h"
#include "ops/matmul/matmul.h"
#include "ops/moe/moe.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/router/router.h"
#include "ops/softcap/softcap.h"

namespace xylem {

struct Linear {
  Tensor w;     // [N, K] packed
  Tensor bias;  // [N] or empty
  Tensor operator()(Ctx& c, Tensor x) const {  // [T, K] -> [T, N]
    Tensor y = c.temp({x.rows(), w.dim[0]});
    c.run(MatMul{x, w, bias, y, c.round_x});
    return y;
  }
};

struct Norm {
  Tensor w;               // [n] or empty
  float eps = 1e-6f;
  float w_offset = 0.0f;  // 1 for checkpoints that store weights around zero
  Tensor operator()(Ctx& c, Tensor x) const {  // any leading dimensions; the result is contiguous
    Tensor y = x.rank == 3 ? c.temp({x.dim[0], x.dim[1], x.dim[2]}) : c.temp({x.rows(), x.cols()});
    c.run(RmsNorm{x, w, {}, {}, y, eps, w_offset});
    return y;
  }
  // residual = (norm(x) + residual) * scale[0], in place
  void add_to(Ctx& c, Tensor residual, Tensor x, Tensor scale = {}) const { c.run(RmsNorm{x, w, residual, scale, residual, eps, w_offset}); }
};

struct Embedding {
  Tensor w;             // [V, H]
  float scale = 1.0f;   // rounded to bfloat16 when the model runs in it, as it was trained
  Tensor operator()(Ctx& c, Tensor ids) const {  // [T] -> [T, H]
    Tensor y = c.temp({ids.numel(), w.dim[1]});
    c.run(Gather{w, ids, y, c.round_x ? bf16_to_f32(f32_to_bf16(scale)) : scale});
    return y;
  }
};

inline Tensor gather_rows(Ctx& c, Tensor x, Tensor rows) {  // [T, n], [R] -> [R, n]
  Tensor y = c.temp({rows.numel(), x.cols()});
  c.run(Gather{x, rows, y, 1.0f});
  return y;
}
inline void add_to(Ctx& c, Tensor residual, Tensor x) { c.run(Add{residual, x, residual, 1.0f}); }
inline Tensor act_mul(Ctx& c, Tensor gate, Tensor up, Act act) {
  Tensor y = c.temp({gate.rows(), gate.cols()});
  c.run(ActMul{gate, up, y, act});
  return y;
}
// Columns [from, from + n) of a matrix, as a view.
inline Tensor columns(Tensor x, int64_t from, int64_t n) {
  CHECK(x.rank == 2 && from + n <= x.dim[1], from, n, x.dim[1]);
  x.data = x.data ? x.as() + from : nullptr;
  x.dim[1] = n;
  return x;
}
// n heads of dim, from column `from` on, as a view [T, n, dim].
inline Tensor heads(Tensor x, int64_t from, int64_t n, int64_t dim) {
  Tensor y = columns(x, from, n * dim);
  y.rank = 3;
  y.dim = {x.dim[0], n, dim, 1};
  y.stride = {x.stride[0], dim, 1, 1};
  return y;
}
inline Tensor flat_heads(Tensor x) {  // contiguous [T, n, dim] -> [T, n * dim]
  CHECK(x.rank == 3 && x.contiguous());
  return make_tensor(x.data, x.dtype, {x.dim[0], x.dim[1] * x.dim[2]});
}

// gate and up in one product, down after their product.
struct GatedMlp {
  Linear gate_up, down;
  Act act = Act::kSilu;
  Tensor operator()(Ctx& c, Tensor x) const {
    Tensor gu = gate_up(c, x);
    const int64_t n = gu.cols() / 2;
    return down(c, act_mul(c, columns(gu, 0, n), columns(gu, n, n), act));
  }
  void params(ParamList& p, const std::string& prefix, int64_t hidden, int64_t ffn) {
    p.fused(prefix + "gate_up_proj.weight", gate_up.w, hidden, {{prefix + "gate_proj.weight", ffn}, {prefix + "up_proj.weight", ffn}});
    p.matrix(prefix + "down_proj.weight", down.w, hidden, ffn);
  }
};

// Rotary positions of one kind of layer. table() once a step, rope() in each layer.
struct RopeKind {
  Tensor inv_freq;            // [R] f32
  std::vector<float> values;  // of inv_freq
  float gain = 1.0f;
  Tensor table(Ctx& c) const {
    Tensor y = c.temp({c.batch.positions.numel(), 2, inv_freq.numel()});
    c.run(RopeTable{c.batch.positions, inv_freq, y, gain});
    return y;
  }
};
// inv_freq of config.json's rope_parameters (or rope_theta and rope_scaling) for a head of `dim`: rope types default, linear,
// proportional and llama3 (specs/common.md 5.2). config: the object that holds rope_theta; top: where old files keep the rest.
RopeKind make_rope(const Config& rope, int64_t dim, double default_theta);
inline void rope(Ctx& c, Tensor x, Tensor table) { c.run(Rope{x, table, x}); }  // in place

// Attention over whatever its layer declared.
struct PagedAttention {
  int heads = 0, kv_heads = 0, dim = 0, window = 0;  // window in tokens, 0: full
  float scale = 1.0f;
  CacheRef cache;

  void declare(CacheLayout& layout) {
    const int padded = int(round_up(dim, KvCache::kLane));
    cache = window > 0 ? layout.window_kv(kv_heads, padded, window) : layout.kv(kv_heads, padded);
  }
  void store(Ctx& c, Tensor k, Tensor v) const {  // [T, kv_heads, dim]
    c.run(KvStore{k, v, c.batch.groups[size_t(cache.group)].slots, kv(c)});
  }
  Tensor operator()(Ctx& c, Tensor q) const {     // [T, heads, dim] -> [T, heads * dim]; reads what store() wrote, here or in the layer it shares with
    Tensor y = c.temp({q.dim[0], heads, dim});
    c.run(Attention{q, kv(c), c.batch.groups[size_t(cache.group)].table, c.batch.cu_q, c.batch.kv_len, y, scale, window});
    return flat_heads(y);
  }

 private:
  KvCache kv(Ctx& c) const {
    KvCache k{c.pools[size_t(cache.group)], 0, kv_heads, dim, c.block_tokens};
    k.offset = cache.layer * kv_heads * k.head_elements();
    return k;
  }
};

// Routed experts. The router's logits come from the model, since families differ in what it reads.
struct Moe {
  Tensor gate_up;       // [E, 2I, H] packed
  Tensor down;          // [E, H, I] packed
  Tensor expert_scale;  // [E] or empty
  int top_k = 1;
  bool renormalise = true;
  Act act = Act::kSilu;
  Tensor operator()(Ctx& c, Tensor x, Tensor logits) const {
    const int64_t T = x.rows();
    Tensor ids = c.temp({T, top_k}, DType::kI32), weights = c.temp({T, top_k}), y = c.temp({T, x.cols()});
    c.run(Router{logits, expert_scale, ids, weights, renormalise});
    c.run(MoeExperts{x, ids, weights, gate_up, down, y, act, c.round_x});
    return y;
  }
};

}  // namespace xylem
