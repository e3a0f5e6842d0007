// DeltaStep (delta_step.h): a work-group is COLS columns of the state of one head of one row. Every group computes the
// convolution of the keys and queries that its head reads; one of those that share them writes the inputs to the state, into
// the one place that none of them reads. Work-item (part, quad) holds four columns of rows part, part + PARTS ... of the state,
// which is read once, while the convolution is computed, and written once.
//   y = S^T q = (decayed S)^T q + (k . q) delta, so that key and query look at the state together.
// Keys and queries stay as they are in local memory; what makes them unit vectors is applied to sums.
// Compiled with COLS (16: more work-groups; 32 or 64: less work), ROWS (of a work-item), TAPS and CHANNELS (1: a decay for each key
// dimension).
#include "phase.clh"
#include "state_cache.clh"
#include "delta_gates.clh"
#define WG 256
#define QUADS (COLS / 4)
#define PARTS (WG / QUADS)
#define KEYS (ROWS * PARTS)      // K, padded by zeros
#define SUMS (2 * COLS + 4)      // what parts add up: S^T k, S^T q, then k . k, q . q, k . q
#define TEAM 8                   // parts whose sums one work-item adds
#define TEAMS (PARTS / TEAM)
#define LOADS ((2 * KEYS + WG - 1) / WG)

typedef struct {
  ulong qkv; long qkv_stride; ulong conv; int conv_stride; ulong gates; long gate_stride; ulong betas; long beta_stride; ulong a_log, dt_bias, pool;
  long pool_stride, pool_offset, rule_at; int block_tokens; ulong state_in, table; int table_stride; ulong kv_len, y; int heads, key_heads, K, V;
} delta_step_args;

// Where a row's state comes from and goes to.
typedef struct {
  int from, to, position, channels;  // position of the token; channels of the convolution
  __global float* pool;              // inputs of the convolution in block 0
  long stride;                       // of blocks
} Row;

// What the taps see of channel c, oldest first.
FN void load_inputs(const Row* r, const __global float* x, int c, float* in) {
  const __global float* old = r->pool + (long)max(r->from, 0) * r->stride + c;
  UNROLL for (int j = 0; j < TAPS - 1; ++j) {
    const float v = old[(long)((r->position + 1 + j) % TAPS) * r->channels];
    in[j] = r->from < 0 ? 0.0f : v;
  }
  in[TAPS - 1] = x[c];
}
FN void keep_inputs(const Row* r, int c, const float* in) {
  __global float* now = r->pool + (long)r->to * r->stride + c;
  UNROLL for (int j = 0; j < TAPS - 1; ++j)
    if (r->to != r->from) now[(long)((r->position + 1 + j) % TAPS) * r->channels] = in[j];
  now[(long)(r->position % TAPS) * r->channels] = in[TAPS - 1];
}
FN float convolve(const float* w, const float* in) {
  float sum = 0.0f;
  UNROLL for (int j = 0; j < TAPS; ++j) sum = fma(w[j], in[j], sum);
  return sum / (1.0f + exp(-sum));
}

FN void delta_step_body(PHASE_ARGS delta_step_args* a, int3 at, __local float* mem) {
  __local float *ql = mem, *kl = ql + KEYS, *vl = kl + KEYS, *sums = vl + COLS, *totals = sums + PARTS * SUMS;
#if CHANNELS
  __local float* el = totals + TEAMS * SUMS;
#endif
  const int lid = (int)get_local_id(0), part = lid / QUADS, quad = lid % QUADS, h = at.y, b = at.z, K = a->K, V = a->V;
  const int group = a->heads / a->key_heads, kh = h / group, c = at.x * COLS + quad * 4;
  const int len = ((const __global int*)a->kv_len)[b];
  Row row;
  row.from = ((const __global int*)a->state_in)[b];
  row.to = ((const __global int*)a->table)[(long)b * a->table_stride + (len - 1) / a->block_tokens];
  row.position = len - 1;
  row.channels = 2 * a->key_heads * K + a->heads * V;
  row.pool = (__global float*)a->pool + a->pool_offset;
  row.stride = a->pool_stride;

  __global float* rule = row.pool + a->rule_at + (long)h * K * V + c;
  float4 s[ROWS];
  UNROLL for (int r = 0; r < ROWS; ++r) {
    const int d = r * PARTS + part;
    s[r] = (float4)(0.0f);
    if (row.from >= 0 && d < K && c < V) s[r] = *(const __global float4*)(rule + (long)row.from * row.stride + (long)d * V);
  }
  {
    const __global float *x = (const __global float*)a->qkv + b * a->qkv_stride, *w = (const __global float*)a->conv;
    const int owner = row.to >= 0 && at.x == 0 && h % group == 0;
    float in[LOADS][TAPS], tap[LOADS][TAPS], v_in[TAPS], v_tap[TAPS];
    const int v_col = at.x * COLS + lid, v_channel = 2 * a->key_heads * K + h * V + min(v_col, V - 1);
    UNROLL for (int l = 0; l < LOADS; ++l) {
      const int i = lid + l * WG, ch = (kh + i / KEYS % 2 * a->key_heads) * K + min(i % KEYS, K - 1);
      load_inputs(&row, x, ch, in[l]);
      UNROLL for (int j = 0; j < TAPS; ++j) tap[l][j] = w[(long)ch * a->conv_stride + j];
    }
    if (lid < COLS) {
      load_inputs(&row, x, v_channel, v_in);
      UNROLL for (int j = 0; j < TAPS; ++j) v_tap[j] = w[(long)v_channel * a->conv_stride + j];
    }
#if CHANNELS
    const float rate = -exp(((const __global float*)a->a_log)[h]);
    for (int d = lid; d < KEYS; d += WG) {
      const int g = h * K + min(d, K - 1);
      el[d] = decay_of(((const __global float*)a->gates)[b * a->gate_stride + g], ((const __global float*)a->dt_bias)[g], rate);
    }
#endif
    UNROLL for (int l = 0; l < LOADS; ++l) {
      const int i = lid + l * WG, d = i % KEYS;
      if (i < 2 * KEYS) mem[i] = d < K ? convolve(tap[l], in[l]) : 0.0f;  // ql, then kl
      if (owner && i < 2 * KEYS && d < K) keep_inputs(&row, (kh + i / KEYS * a->key_heads) * K + d, in[l]);
    }
    if (lid < COLS) {
      vl[lid] = convolve(v_tap, v_in);
      if (row.to >= 0 && v_col < V) keep_inputs(&row, v_channel, v_in);
    }
  }
#if !CHANNELS
  const float decay = decay_of(((const __global float*)a->gates)[b * a->gate_stride + h], ((const __global float*)a->dt_bias)[h], -exp(((const __global float*)a->a_log)[h]));
#endif
  wg_barrier();
  float4 seen = (float4)(0.0f), out = (float4)(0.0f), dots = (float4)(0.0f);
  UNROLL for (int r = 0; r < ROWS; ++r) {
    const int d = r * PARTS + part;
    const float k = kl[d], q = ql[d];
#if CHANNELS
    s[r] *= el[d];
#else
    s[r] *= decay;
#endif
    seen = fma(s[r], (float4)(k), seen);
    out = fma(s[r], (float4)(q), out);
    dots = fma((float4)(k, q, k, 0.0f), (float4)(k, q, q, 0.0f), dots);
  }
  *(__local float4*)(sums + part * SUMS + quad * 4) = seen;
  *(__local float4*)(sums + part * SUMS + COLS + quad * 4) = out;
  if (quad == 0) *(__local float4*)(sums + part * SUMS + 2 * COLS) = dots;
  wg_barrier();
  for (int i = lid; i < TEAMS * SUMS; i += WG) {
    float sum = 0.0f;
    UNROLL for (int p = 0; p < TEAM; ++p) sum += sums[(i / SUMS * TEAM + p) * SUMS + i % SUMS];
    totals[i] = sum;
  }
  wg_barrier();
  seen = out = dots = (float4)(0.0f);
  UNROLL for (int t = 0; t < TEAMS; ++t) {
    seen += *(__local float4*)(totals + t * SUMS + quad * 4);
    out += *(__local float4*)(totals + t * SUMS + COLS + quad * 4);
    dots += *(__local float4*)(totals + t * SUMS + 2 * COLS);
  }
  const float k_unit = 1.0f / sqrt(dots.x + 1e-6f), q_unit = 1.0f / (sqrt(dots.y + 1e-6f) * sqrt((float)K)), kq = dots.z * k_unit * q_unit;
  const float beta = 1.0f / (1.0f + exp(-((const __global float*)a->betas)[b * a->beta_stride + h]));
  const float4 delta = beta * (*(__local float4*)(vl + quad * 4) - k_unit * seen), add = k_unit * delta;
  UNROLL for (int r = 0; r < ROWS; ++r) {
    const int d = r * PARTS + part;
    if (row.to >= 0 && d < K && c < V) *(__global float4*)(rule + (long)row.to * row.stride + (long)d * V) = fma((float4)(kl[d]), add, s[r]);
  }
  if (part == 0 && c < V) *(__global float4*)((__global float*)a->y + ((long)b * a->heads + h) * V + c) = fma((float4)(kq), delta, q_unit * out);
}
PHASE_KERNEL(delta_step, (2 + CHANNELS) * KEYS + COLS + (PARTS + TEAMS) * SUMS)
