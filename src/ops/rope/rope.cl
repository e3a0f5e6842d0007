// RopeTable and Rope (rope.h).
#include "shim.clh"
#include "rows.clh"
#define WG 256

// One work-item a (token, pair). Angles are float32 products, far beyond 2 pi: sin and cos reduce them over the full range.
__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void rope_table(__global const int* positions, __global const float* inv_freq, __global float* y, int pairs, int count, float gain) {
  const int at = (int)get_global_id(0);
  if (at >= count) return;
  const int t = at / pairs, i = at % pairs;
  const float angle = (float)positions[t] * inv_freq[i];
  y += (long)t * 2 * pairs + i;
  y[0] = cos(angle) * gain;
  y[pairs] = sin(angle) * gain;
}

// `groups` work-groups a token share its heads; a work-item has one pair of a head, or one of its `rest` elements that are only
// copied (none when y is x).
__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void rope(__global const float* x, int4 xs, __global const float* table, __global float* y, int4 ys, int heads, int pairs, int rest, int groups, int interleaved) {
  const int t = (int)get_group_id(0) / groups, at = (int)get_group_id(0) % groups * WG + (int)get_local_id(0), each = pairs + rest;
  if (at >= heads * each) return;
  const int row = t * heads + at / each, i = at % each;
  x = ROW(x, xs, row);
  y = ROW(y, ys, row);
  if (i >= pairs) {
    y[pairs + i] = x[pairs + i];
    return;
  }
  const int p = interleaved ? 2 * i : i, q = interleaved ? 2 * i + 1 : i + pairs;
  table += (long)t * 2 * pairs + i;
  const float u = x[p], v = x[q], c = table[0], s = table[pairs];
  y[p] = fma(u, c, -(v * s));
  y[q] = fma(v, c, u * s);
}
