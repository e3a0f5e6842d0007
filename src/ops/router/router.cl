// Router (router.h): one work-group a token. Experts are ranked by counting those before them, which needs no barrier between
// one choice and the next.
#include "phase.clh"
#define WG 256
#define MAX_EXPERTS 1024  // kMaxExperts of router.gpu.cpp

// Sorts as the number does; 1 for NaN, which is below all; 0 is left for what cannot be chosen.
FN uint order_key(float x) {
  const uint u = as_uint(x + 0.0f);  // -0 equals 0
  return isnan(x) ? 1u : u & 0x80000000u ? ~u : u | 0x80000000u;
}

// The number of keys before `at`: larger ones, and equal ones that stand before it.
FN int rank_of(__local const uint* key, int at, int n) {
  const uint own = key[at];
  int rank = 0;
  for (int i = 0; i < n; ++i) rank += key[i] > own || (key[i] == own && i < at);
  return rank;
}

// Over the work-group, in two steps. part: WG + WG / 16 numbers.
FN float reduce(__local float* part, float x, int largest) {
  const int lid = (int)get_local_id(0);
  wg_barrier();
  part[lid] = x;
  wg_barrier();
  if (lid < WG / 16) {
    float run = part[lid * 16];
    for (int i = 1; i < 16; ++i) run = largest ? fmax(run, part[lid * 16 + i]) : run + part[lid * 16 + i];
    part[WG + lid] = run;
  }
  wg_barrier();
  x = part[WG];
  for (int r = 1; r < WG / 16; ++r) x = largest ? fmax(x, part[WG + r]) : x + part[WG + r];
  return x;
}

typedef struct {
  ulong logits; int4 ls; ulong expert_scale; int has_expert_scale; ulong bias; int has_bias; ulong ids, weights;
  int experts, k, renormalise, sigmoid, top_two, groups, top_groups;
  float scale;
} router_args;

FN void router_body(PHASE_ARGS router_args* a, int3 at, __local float* mem) {
  __local float *part = mem, *score = mem + WG + WG / 16;
  __local uint *key = (__local uint*)score + MAX_EXPERTS, *group_key = key + MAX_EXPERTS;
  __local int* chosen = (__local int*)group_key + MAX_EXPERTS;
  const int lid = (int)get_local_id(0), experts = a->experts, groups = a->groups, k = a->k, n = experts / groups, sigmoid = a->sigmoid, has_bias = a->has_bias;
  const __global float* logits = ROW((const __global float*)a->logits, a->ls, at.x);
  const __global float* bias = (const __global float*)a->bias;
  __global int* ids = (__global int*)a->ids + (long)at.x * k;
  __global float* weights = (__global float*)a->weights + (long)at.x * k;

  float top = 0.0f, all = 1.0f;
  if (!sigmoid) {
    top = -INFINITY;
    for (int e = lid; e < experts; e += WG) top = fmax(top, logits[e]);
    top = reduce(part, top, 1);
    all = 0.0f;
    for (int e = lid; e < experts; e += WG) all += exp(logits[e] - top);
    all = reduce(part, all, 0);
  }
  // Without a bias the logits decide: equal scores of unequal logits must not become ties.
  for (int e = lid; e < experts; e += WG) {
    const float l = logits[e], s = sigmoid ? 1.0f / (1.0f + exp(-l)) : exp(l - top) / all;
    score[e] = s;
    key[e] = order_key(has_bias ? s + bias[e] : l);
  }
  wg_barrier();
  if (groups > 1) {
    for (int g = lid; g < groups; g += WG) {
      float first = -INFINITY, second = -INFINITY;
      uint best = 0;
      for (int e = g * n; e < (g + 1) * n; ++e) {
        const float choice = has_bias ? score[e] + bias[e] : score[e];
        second = fmax(second, fmin(first, choice));
        first = fmax(first, choice);
        best = max(best, key[e]);
      }
      group_key[g] = a->top_two && n > 1 ? order_key(first + second) : best;
    }
    wg_barrier();
    for (int g = lid; g < groups; g += WG) chosen[g] = rank_of(group_key, g, groups) < a->top_groups;
    wg_barrier();
    for (int e = lid; e < experts; e += WG)
      if (!chosen[e / n]) key[e] = 0;
    wg_barrier();
  }
  for (int e = lid; e < experts; e += WG) {
    const int rank = rank_of(key, e, experts);
    if (rank < k) chosen[rank] = e;
  }
  wg_barrier();
  float total = 1.0f;
  if (a->renormalise) {
    total = sigmoid ? 1e-20f : 0.0f;
    for (int i = 0; i < k; ++i) total += score[chosen[i]];
  }
  for (int i = lid; i < k; i += WG) {
    const int e = chosen[i];
    ids[i] = e;
    weights[i] = score[e] * a->scale / total * (a->has_expert_scale ? ((const __global float*)a->expert_scale)[e] : 1.0f);
  }
}
PHASE_KERNEL(router, WG + WG / 16 + 4 * MAX_EXPERTS)
