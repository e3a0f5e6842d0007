// Attention over a paged cache against the roofs of the machine: decode in bytes of K and V per second beside the read
// bandwidth, prefill in operations beside the bf16 peak, roofs probed around each figure.
//   attention_bench [threads] [isa] [filter]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "device/cpu/roof.h"
#include "ops/attention/attention.h"

namespace xylem {
namespace {

struct Shape { const char* name; int heads, kv_heads, dim, window; };
constexpr Shape kShapes[] = {{"qwen3-0.6b", 16, 8, 128, 0}, {"gemma4-e2b window", 8, 1, 256, 512}, {"gemma4-e2b full", 8, 1, 512, 0}};
constexpr int kBlock = 64;
constexpr size_t kCacheBytes = size_t(1) << 30;  // many layers, so that no call finds its cache in a cache of the processor

// Rows of `queries` tokens at the end of `depth` tokens, over as many layers as fill kCacheBytes.
struct Setup {
  CpuDevice& device;
  Attention op;
  Buffer pool, io;
  std::vector<float> f;
  std::vector<int32_t> i;
  int64_t layers, layer_elements;

  Setup(CpuDevice& d, const Shape& s, int batch, int depth, int queries, DType type) : device(d) {
    KvCache c{{}, 0, s.kv_heads, s.dim, kBlock};
    const int64_t per_row = (depth + kBlock - 1) / kBlock, blocks = per_row * batch;
    layer_elements = s.kv_heads * c.head_elements();
    const int64_t layer_bytes = blocks * layer_elements * int64_t(dtype_bytes(type));
    layers = std::clamp<int64_t>(int64_t(kCacheBytes) / layer_bytes, 1, 4096);
    pool = Buffer(d, size_t(layers * layer_bytes));
    CHECK(bool(pool), layers * layer_bytes);
    c.pool = make_tensor(pool.data(), type, {blocks, layers * layer_elements});
    d.pool().run(d.pool().size(), [&](CpuThread t) {
      const auto r = t.range(c.pool.numel());
      uint32_t x = uint32_t(t.thread) * 77 + 1;
      for (int64_t k = r.begin; k < r.end; k++) {
        x = x * 1664525u + 1013904223u;
        store_f32(pool.data(), k, type, float(int32_t(x)) * 0x1p-31f);
      }
    });
    const int64_t T = int64_t(batch) * queries, n = T * s.heads * s.dim;
    f.resize(size_t(2 * n));
    for (int64_t k = 0; k < n; k++) f[size_t(k)] = std::sin(float(k) * 0.37f);
    i.resize(size_t(blocks + 2 * batch + 1));
    std::iota(i.begin(), i.begin() + blocks, 0);
    int32_t *cu = i.data() + blocks, *len = cu + batch + 1;
    for (int b = 0; b <= batch; b++) cu[b] = b * queries;
    for (int b = 0; b < batch; b++) len[b] = depth;
    op = {make_tensor(f.data(), DType::kF32, {T, s.heads, s.dim}), c, make_tensor(i.data(), DType::kI32, {batch, per_row}),
          make_tensor(cu, DType::kI32, {batch + 1}), make_tensor(len, DType::kI32, {batch}),
          make_tensor(f.data() + n, DType::kF32, {T, s.heads, s.dim}), 1.0f / std::sqrt(float(s.dim)), s.window};
  }
  // Seconds of one call, averaged over all layers.
  double time() {
    Stream stream(device);
    const auto t0 = std::chrono::steady_clock::now();
    int64_t calls = 0;
    do {
      op.cache.offset = calls % layers * layer_elements;
      stream.run(op);
      calls++;
    } while (calls < layers || std::chrono::steady_clock::now() - t0 < std::chrono::milliseconds(100));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count() / double(calls);
  }
  const char* kernel() { return select_kernel(op, device).name; }
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

struct Figure { double seconds, roof; };  // medians of interleaved repeats
template <class P>
Figure measure(Setup& s, P&& probe) {
  std::vector<double> t, r{probe()};
  s.time();
  for (int k = 0; k < 5; k++) t.push_back(s.time()), r.push_back(probe());
  return {median(t), median(r)};
}

void decode(CpuDevice& d, Roof& roof, const Shape& s, int batch, int depth) {
  Setup setup(d, s, batch, depth, 1, DType::kBF16);
  const double seen = s.window ? std::min(depth, s.window) : depth, bytes = 2.0 * batch * seen * s.kv_heads * s.dim * 2;
  const Figure f = measure(setup, [&] { return roof.read_gbs(); });
  std::printf("%-18s decode  batch %2d depth %5d  %-12s %9.1f us  %6.1f GB/s of %6.1f = %5.1f %%\n", s.name, batch, depth, setup.kernel(), f.seconds * 1e6,
              bytes / f.seconds / 1e9, f.roof, bytes / f.seconds / 1e7 / f.roof);
}

void prefill(CpuDevice& d, Roof& roof, const Shape& s, int tokens) {
  Setup setup(d, s, 1, tokens, tokens, DType::kBF16);
  double keys = 0;
  for (int p = 0; p < tokens; p++) keys += s.window ? std::min(p + 1, s.window) : p + 1;
  const double flops = 4.0 * keys * s.heads * s.dim;
  const Figure f = measure(setup, [&] { return roof.bf16_gflops(); });
  std::printf("%-18s prefill %5d tokens         %-12s %9.1f us  %6.1f GFLOP/s of %6.1f = %5.1f %%\n", s.name, tokens, setup.kernel(), f.seconds * 1e6,
              flops / f.seconds / 1e9, f.roof, flops / f.seconds / 1e7 / f.roof);
}

int bench(int argc, char** argv) {
  const Result<Isa> isa = parse_isa(argc > 2 ? argv[2] : "auto");
  if (!isa.ok()) return std::fprintf(stderr, "%s\n", isa.error().text.c_str()), 2;
  CpuDevice d(argc > 1 ? std::atoi(argv[1]) : 2, *isa);
  Roof roof(d);
  if (!roof) return std::fprintf(stderr, "no memory for the bandwidth probe\n"), 1;
  const std::string filter = argc > 3 ? argv[3] : "";
  for (const Shape& s : kShapes) {
    if (std::string(s.name).find(filter) == std::string::npos) continue;
    for (int batch : {1, 16})
      for (int depth : {2048, 8192}) decode(d, roof, s, batch, depth);
    for (int tokens : {512, 4096}) prefill(d, roof, s, tokens);
  }
  return 0;
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return xylem::bench(argc, argv);
}
