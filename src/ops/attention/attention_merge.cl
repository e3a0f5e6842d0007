// Merges the parts of a unit's keys: a work-group takes WG dimensions of one row. Sinks join the sum here, or where there is
// one part alone, and nowhere else.
//   ROWS, TILE  as of the kernel that made the parts
#include "attention.clh"
#define WG 256

typedef struct {
  ulong part_o, part_ml, cu_q, kv_len, limits, sinks; int has_sinks; ulong y; int batch, at_once, heads, group, heads_at_once, dim, padded, window, max_parts, min_rounds, head_groups;
} attention_merge_args;

FN void attention_merge_body(PHASE_ARGS attention_merge_args* a, int3 at, __local float* mem) {
  const __global float* part_o = (const __global float*)a->part_o;
  const __global float* part_ml = (const __global float*)a->part_ml;
  const __global float* sinks = (const __global float*)a->sinks;
  const int heads_at_once = a->heads_at_once, group = a->group;
  const int chunks = (group + heads_at_once - 1) / heads_at_once, chunk = at.y % chunks, kv = at.y / chunks;
  const int r = at.z % ROWS, d = at.z / ROWS * WG + (int)get_local_id(0);
  const int query = r / heads_at_once, in_group = chunk * heads_at_once + r % heads_at_once, head = kv * group + in_group;
  Unit u;
  Part p;
  find_unit((const __global int*)a->cu_q, (const __global int*)a->kv_len, (const __global int*)a->limits, a->batch, at.x, a->at_once, a->window, &u);
  find_part(u, 0, a->max_parts, a->min_rounds, &p);
  if (p.parts < 2 || query >= u.tokens || in_group >= group || d >= a->dim) return;
  const long base = ((long)at.x * a->head_groups + at.y) * a->max_parts;
  float m = a->has_sinks ? sinks[head] : -INFINITY;
  for (int i = 0; i < p.parts; i++) m = fmax(m, part_ml[((base + i) * ROWS + r) * 2]);
  float sum = a->has_sinks ? exp(sinks[head] - m) : 0.0f, o = 0.0f;
  for (int i = 0; i < p.parts; i++) {
    const long n = (base + i) * ROWS + r;
    const float w = exp(part_ml[n * 2] - m);
    sum = fma(w, part_ml[n * 2 + 1], sum);
    o = fma(w, part_o[n * a->padded + d], o);
  }
  ((__global float*)a->y)[((long)(u.token + query) * a->heads + head) * a->dim + d] = o / sum;
}
PHASE_KERNEL(attention_merge, 0)
