#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>

#include "device/opencl/opencl_rows.h"
#include "ops/attention/attention_gpu.h"

namespace xylem {
namespace {

constexpr size_t kMerge = 256;     // WG of attention_merge.cl
constexpr int64_t kMaxParts = 64;
constexpr int64_t kPartialBytes = int64_t(256) << 20;

// How a call is cut into work-groups. Lengths are the device's alone: shapes bound them, and a group without work ends at once.
struct Grid {
  int rows;           // (query, head) pairs of a unit: ROWS
  int heads_at_once;  // of the group's heads
  int at_once;        // queries
  int64_t units;      // of queries
  int64_t heads;      // kv heads x chunks of their heads
  int64_t parts = 1;  // of the keys, at most
  int min_tokens;     // of a part

  // From min_rows to max_rows. target: work-groups that fill the device. split: there may be parts.
  Grid(const Attention& a, int min_rows, int max_rows, int64_t target, bool split) {
    const int64_t T = a.q.dim[0], B = a.kv_len.numel(), group = a.q.dim[1] / a.cache.kv_heads;
    heads_at_once = int(std::min<int64_t>(group, max_rows));
    rows = T == B ? std::max(min_rows, int(std::bit_ceil(unsigned(heads_at_once)))) : max_rows;  // decode: one query each
    at_once = T == B ? 1 : rows / heads_at_once;
    units = at_once > 1 ? T / at_once + B : T;
    heads = a.cache.kv_heads * ((group + heads_at_once - 1) / heads_at_once);
    // Few queries: their keys are shared among many groups. Many: only very long rows, not to hold up the others.
    int64_t keys = a.table.dim[1] * a.cache.block_tokens;
    if (a.window > 0 && !a.limits) keys = std::min<int64_t>(keys, a.window + at_once);
    const int64_t groups = units * heads;
    min_tokens = groups < target ? 64 : 4096;
    parts = std::min({groups < target ? (target + groups - 1) / groups : keys, (keys + min_tokens - 1) / min_tokens, kMaxParts, kPartialBytes / (groups * part_floats(a) * 4)});
    parts = split ? std::max<int64_t>(parts, 1) : 1;
  }
  int64_t part_floats(const Attention& a) const { return rows * a.cache.padded_dim(); }
};

// tile: keys of a round of the kernel.
void launch(const Attention& a, OpenClDevice& g, const Grid& n, const char* file, std::string options, size_t group_size, int tile) {
  const KvCache& c = a.cache;
  const int64_t p = pack_width(c.pool.dtype), all_parts = n.units * n.heads * n.parts;
  const int B = int(a.kv_len.numel()), heads = int(a.q.dim[1]), group = heads / c.kv_heads, pd = int(c.padded_dim());
  const int min_rounds = std::max(1, n.min_tokens / tile), parts = int(n.parts);
  const char* limits = a.limits ? " -DLIMITS=1" : "";
  options += limits;
  float* part_o = nullptr;
  if (parts > 1 && !(part_o = static_cast<float*>(g.scratch(size_t(all_parts * n.rows * (pd + 2)) * 4)))) return;
  float* part_ml = part_o ? part_o + all_parts * n.rows * pd : nullptr;
  g.launch(g.kernel(file, "attention", options), {{size_t(n.units), size_t(n.heads), size_t(parts)}, group_size}, a.q, Rows(a.q), c.pool, c.offset / p,
           c.pool.stride[0] / p, c.head_elements() / p, c.block_tokens, a.table, a.table.stride[0], a.cu_q, a.kv_len, a.sinks, int(bool(a.sinks)), a.y, part_o, part_ml, B,
           n.at_once, heads, group, n.heads_at_once, c.dim, pd, a.scale, a.window, parts, min_rounds, int(n.heads), a.limits);
  if (parts == 1) return;
  g.launch(g.kernel("attention_merge.cl", "attention_merge", "-DROWS=" + std::to_string(n.rows) + " -DTILE=" + std::to_string(tile) + limits), {{size_t(n.units), size_t(n.heads), size_t(n.rows) * ((size_t(c.dim) + kMerge - 1) / kMerge)}, kMerge}, part_o, part_ml,
           a.cu_q, a.kv_len, a.limits, a.sinks, int(bool(a.sinks)), a.y, B, n.at_once, heads, group, n.heads_at_once, c.dim, pd, a.window, parts, min_rounds, int(n.heads));
}

// attention.cl
void run_vector(const Attention& a, OpenClDevice& g, bool split) {
  check_attention(a, a.q);
  if (a.q.dim[0] == 0) return;
  constexpr size_t kGroup = 256;        // WG
  constexpr int64_t kFullDevice = 1024;  // groups
  const bool f32 = a.cache.pool.dtype == DType::kF32;
  const Grid n(a, 1, 8, kFullDevice, split);
  const int dims = dims_bucket(a.cache);
  const int tile = f32 ? (dims <= 64 ? 64 : dims <= 128 ? 32 : 16) : dims <= 128 ? 64 : dims <= 256 ? 32 : 16;  // TILE
  launch(a, g, n, "attention.cl", "-DF32=" + std::to_string(f32) + " -DROWS=" + std::to_string(n.rows) + " -DDIMS=" + std::to_string(dims), kGroup, tile);
}
bool fits(const Attention& a, const Device&) { return a.cache.padded_dim() <= 1024; }
const Kernel<Attention> vector(Dev::kOpenCl, "vector", 10, fits, [](const Attention& a, Device& d) { run_vector(a, gpu(d), true); }, "heads of at most 1024 numbers");

// attention_matrix.cl
void run_matrix(const Attention& a, OpenClDevice& g, bool split) {
  check_attention(a, a.q);
  if (a.q.dim[0] == 0) return;
  constexpr int kSubGroups = 8, kTile = 16 * kSubGroups;  // NSG, TILE
  constexpr int64_t kFullDevice = 512;                     // groups
  const int dims = dims_bucket(a.cache), sub_group = g.info().sub_group;
  const bool decode = a.q.dim[0] == a.kv_len.numel();
  // As many rows as there are registers for.
  int max_rows = dims <= 128 ? 32 : dims <= 512 ? 16 : 8;
  if (sub_group == 8) max_rows = std::max(8, max_rows / 2);
  if (decode) max_rows = std::min(max_rows, 16);
  const Grid n(a, 8, max_rows, kFullDevice, split);
  std::string options = "-DROWS=" + std::to_string(n.rows) + " -DDIMS=" + std::to_string(dims);
  // Where 128 registers would spill: narrow ones, and wide heads of many rows.
  if (g.info().lanes == LaneMode::kIntel && (sub_group == 8 || n.rows * dims > 4096)) options += " -cl-intel-256-GRF-per-thread";
  launch(a, g, n, "attention_matrix.cl", options, size_t(kSubGroups * sub_group), kTile);
}
bool has_matrix(const Attention& a, const Device& d) {
  const OpenClInfo& i = static_cast<const OpenClDevice&>(d).info();
  return a.cache.pool.dtype == DType::kBF16 && a.cache.padded_dim() <= 1024 && i.lanes != LaneMode::kNvidia && (i.matrix || i.lanes != LaneMode::kIntel);
}
const Kernel<Attention> matrix(Dev::kOpenCl, "matrix", 20, has_matrix, [](const Attention& a, Device& d) { run_matrix(a, gpu(d), true); }, "caches of bfloat16 and heads of at most 1024 numbers, where there are matrix instructions");

// attention_mma.cl
void run_mma(const Attention& a, OpenClDevice& g, bool split) {
  check_attention(a, a.q);
  if (a.q.dim[0] == 0) return;
  constexpr int64_t kFullDevice = 256;  // groups
  const int dims = dims_bucket(a.cache), warps_rows = dims <= 128 ? 4 : 512 / dims, warps_dims = dims <= 128 ? 1 : dims / 128;
  const Grid n(a, 32 * warps_rows, 32 * warps_rows, kFullDevice, split);
  const std::string options = "-DROWS=" + std::to_string(n.rows) + " -DDIMS=" + std::to_string(dims) + " -DWR=" + std::to_string(warps_rows) + " -DWD=" + std::to_string(warps_dims);
  launch(a, g, n, "attention_mma.cl", options, size_t(32 * warps_rows * warps_dims), 32 * warps_dims);
}
bool has_mma(const Attention& a, const Device& d) {
  return a.cache.pool.dtype == DType::kBF16 && a.cache.padded_dim() <= 512 && a.q.dim[0] > a.kv_len.numel() && static_cast<const OpenClDevice&>(d).info().lanes != LaneMode::kIntel;
}
const Kernel<Attention> mma(Dev::kOpenCl, "mma", 15, has_mma, [](const Attention& a, Device& d) { run_mma(a, gpu(d), true); });

// attention_decode.cl
void run_decode(const Attention& a, Device& d) {
  check_attention(a, a.q);
  if (a.q.dim[0] == 0) return;
  constexpr int64_t kBundle = 8;  // BUNDLE
  OpenClDevice& g = gpu(d);
  const KvCache& c = a.cache;
  const int64_t heads = a.q.dim[1], group = heads / c.kv_heads, pd = c.padded_dim(), p = pack_width(c.pool.dtype);
  const int dims = dims_bucket(a.cache), tile = dims <= 128 ? 128 : 16384 / dims;  // DIMS, TILE
  const int64_t head_groups = AttentionParts::head_groups(c, heads), units = a.q.dim[0] * head_groups;
  int64_t keys = a.table.dim[1] * c.block_tokens;
  if (a.window > 0) keys = std::min<int64_t>(keys, a.window + 1);
  // One wave of the work-groups that run at the same time, or several with little left over.
  const int64_t slots = std::max(2 * g.info().compute_units, 64), rounds = (keys + tile - 1) / tile + 1;
  const int64_t most = slots / units * units * 10 >= slots * 9 ? slots / units : 4 * slots / units;
  const int64_t room = (kPartialBytes / 4) / (units * AttentionParts::floats(pd));
  const int64_t parts = std::max<int64_t>(1, std::min({most, dims <= 128 ? rounds : std::max((rounds + 1) / 2, std::min<int64_t>(rounds, kBundle)), room}));
  const std::optional<AttentionParts> of = AttentionParts::of(g, units, parts, pd, kBundle);
  if (!of) return;
  g.launch(g.kernel("attention_decode.cl", "attention_decode", "-DDIMS=" + std::to_string(dims) + " -DEXACT=" + std::to_string(c.dim == dims && reinterpret_cast<uintptr_t>(a.y.data) % 16 == 0)),
           {{size_t(a.q.dim[0]), size_t(head_groups), size_t(parts)}, 256}, a.q, Rows(a.q), c.pool, c.offset / p, c.pool.stride[0] / p, c.head_elements() / p, a.table,
           a.table.stride[0], a.cu_q, a.kv_len, a.sinks, a.y, of->o, of->largest, static_cast<void*>(of->counters), int(bool(a.sinks)), c.block_tokens, int(a.kv_len.numel()), int(heads), int(group), c.dim, int(pd),
           a.scale, a.window, int(parts), int(head_groups), int(of->unit_counters), int(units));
}
const Kernel<Attention> decode(Dev::kOpenCl, "decode", 15, takes_decode, run_decode);

}  // namespace

const AttentionForm kAttentionVector{fits, run_vector}, kAttentionMatrix{has_matrix, run_matrix}, kAttentionMma{has_mma, run_mma};

bool takes_decode(const Attention& a, const Device& d) {
  return a.cache.pool.dtype == DType::kBF16 && a.cache.padded_dim() <= 512 && a.q.dim[0] == a.kv_len.numel() && !a.limits && static_cast<const OpenClDevice&>(d).info().lanes != LaneMode::kIntel;
}
int dims_bucket(const KvCache& c) { return std::max(64, int(std::bit_ceil(unsigned(c.padded_dim())))); }

std::optional<AttentionParts> AttentionParts::of(OpenClDevice& g, int64_t units, int64_t parts, int64_t padded_dim, int64_t bundle) {
  AttentionParts p;
  for (int64_t i = parts; i > 1;) i = (i + bundle - 1) / bundle, p.unit_counters += i;
  if (parts == 1) return p;
  p.o = static_cast<float*>(g.scratch(size_t(units * parts * floats(padded_dim)) * 4));
  p.counters = g.counters(size_t(units * p.unit_counters));
  if (!p.o || !p.counters) return std::nullopt;
  p.largest = p.o + units * parts * kHeads * padded_dim;
  return p;
}

void check_attention(const Attention& a, const Tensor& q) {
  const KvCache& c = a.cache;
  const int64_t B = a.kv_len.numel(), p = pack_width(c.pool.dtype);
  CHECK(q.rank == 3 && q.cols() == c.dim && q.dim[1] % c.kv_heads == 0, q.cols(), c.dim, q.dim[1], c.kv_heads);
  CHECK(a.y.contiguous() && a.y.numel() == q.numel() && a.cu_q.numel() == B + 1 && a.table.dim[0] == B, B);
  CHECK(c.block_tokens % KvCache::kLane == 0 && c.pool.stride[0] % p == 0 && c.offset % p == 0, c.block_tokens, c.offset);
  CHECK(!a.sinks || a.sinks.numel() == q.dim[1], a.sinks.numel());
  CHECK(!a.limits || a.limits.numel() == q.dim[0], a.limits.numel(), q.dim[0]);
}

}  // namespace xylem
