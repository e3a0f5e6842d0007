// RopeTable and Rope (rope.h).
#include "phase.clh"
#define WG 256

// One work-item a (token, pair). axes: rows of positions, `stride` apart, of which `axis` names each pair's; 0: one for all.
// Angles are float32 products, far beyond 2 pi: sin and cos reduce them over the full range.
typedef struct {
  ulong positions, inv_freq, y; int pairs, count; float gain; ulong axis; int axes; long stride;
} rope_table_args;
FN void rope_table_body(PHASE_ARGS rope_table_args* a, int3 group, __local float* mem) {
  const int at = group.x * WG + (int)get_local_id(0);
  if (at >= a->count) return;
  const int t = at / a->pairs, i = at % a->pairs;
  const int axis = a->axes ? clamp(((const __global int*)a->axis)[i], 0, a->axes - 1) : 0;
  const float angle = (float)((const __global int*)a->positions)[axis * a->stride + t] * ((const __global float*)a->inv_freq)[i];
  __global float* y = (__global float*)a->y + (long)t * 2 * a->pairs + i;
  y[0] = cos(angle) * a->gain;
  y[a->pairs] = sin(angle) * a->gain;
}
PHASE_KERNEL(rope_table, 0)

// `groups` work-groups a token share its heads; a work-item has one pair of a head, or one of its `rest` elements that are only
// copied (none when y is x).
typedef struct {
  ulong x; int4 xs; ulong table, y; int4 ys; int heads, pairs, rest, groups, interleaved;
} rope_args;
FN void rope_body(PHASE_ARGS rope_args* a, int3 group, __local float* mem) {
  const int t = group.x / a->groups, at = group.x % a->groups * WG + (int)get_local_id(0), pairs = a->pairs, each = pairs + a->rest;
  if (at >= a->heads * each) return;
  const int row = t * a->heads + at / each, i = at % each;
  const __global float* x = ROW((const __global float*)a->x, a->xs, row);
  __global float* y = ROW((__global float*)a->y, a->ys, row);
  if (i >= pairs) {
    y[pairs + i] = x[pairs + i];
    return;
  }
  const int p = a->interleaved ? 2 * i : i, q = a->interleaved ? 2 * i + 1 : i + pairs;
  const __global float* table = (const __global float*)a->table + (long)t * 2 * pairs + i;
  const float u = x[p], v = x[q], c = table[0], s = table[pairs];
  y[p] = fma(u, c, -(v * s));
  y[q] = fma(v, c, u * s);
}
PHASE_KERNEL(rope, 0)
