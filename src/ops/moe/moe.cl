// MoeExperts (moe.h) around the two products: rows (token, choice) sorted by expert into tasks of at most `tile` rows
// (routed.clh), the activation, and the weighted sum.
#include "shim.clh"
#include "rows.clh"
#include "act.clh"
#define WG 512

// One work-group. The order of an expert's rows varies from run to run; no result depends on it.
__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void moe_sort(__global const int* ids, int rows, int experts, int tile, __global int* order, __global int4* tasks) {
  __local int count[MOE_EXPERTS], sums[2][WG];  // rows of an expert, later where its next one goes
  const int lid = (int)get_local_id(0);
  for (int e = lid; e < experts; e += WG) count[e] = 0;
  wg_barrier();
  for (int i = lid; i < rows; i += WG) atomic_inc(&count[clamp(ids[i], 0, experts - 1)]);
  wg_barrier();
  const int per = (experts + WG - 1) / WG, first = min(lid * per, experts), last = min(first + per, experts);
  int my_rows = 0, my_tasks = 0;
  for (int e = first; e < last; e++) my_rows += count[e], my_tasks += (count[e] + tile - 1) / tile;
  sums[0][lid] = my_rows;
  sums[1][lid] = my_tasks;
  wg_barrier();
  for (int step = 1; step < WG; step *= 2) {
    const int r = lid >= step ? sums[0][lid - step] : 0, t = lid >= step ? sums[1][lid - step] : 0;
    wg_barrier();
    sums[0][lid] += r;
    sums[1][lid] += t;
    wg_barrier();
  }
  if (lid == WG - 1) tasks[0] = (int4)(sums[1][lid], 0, 0, 0);
  int row = sums[0][lid] - my_rows, task = sums[1][lid] - my_tasks + 1;
  for (int e = first; e < last; e++) {
    const int n = count[e];
    for (int r = 0; r < n; r += tile) tasks[task++] = (int4)(e, row + r, min(tile, n - r), 0);
    count[e] = row;
    row += n;
  }
  wg_barrier();
  for (int i = lid; i < rows; i += WG) order[atomic_inc(&count[clamp(ids[i], 0, experts - 1)])] = i;
}

// gate_up [rows, 2 n] to [rows, n]; act is Act of act_mul.h.
__attribute__((reqd_work_group_size(128, 1, 1))) __kernel
void moe_act(__global const float* gate_up, __global float* y, int n, int act, float limit) {
  const int i = (int)get_global_id(0);
  const long row = (long)get_group_id(1);
  if (i >= n) return;
  gate_up += row * 2 * n;
  y[row * n + i] = act_gated(act, gate_up[i], gate_up[n + i], limit);
}

// outs [tokens * choices, n], summed in the order of a token's list.
__attribute__((reqd_work_group_size(128, 1, 1))) __kernel
void moe_sum(__global const float* outs, __global const float* weights, __global float* y, int4 ys, int choices, int n) {
  const int i = (int)get_global_id(0), token = (int)get_group_id(1);
  if (i >= n) return;
  outs += (long)token * choices * n + i;
  weights += (long)token * choices;
  float v = 0.0f;
  for (int c = 0; c < choices; c++) v = fma(outs[(long)c * n], weights[c], v);
  ROW(y, ys, token)[i] = v;
}
