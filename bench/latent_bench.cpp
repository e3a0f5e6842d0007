// Latent attention against the roofs of the machine: decode in bytes of weights and latents per second beside the read bandwidth
// and in operations beside the float32 peak, prefill in operations; roofs probed around each figure.
//   latent_bench [threads] [isa] [filter] [auto | plain | absorbed]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "device/cpu/roof.h"
#include "ops/latent_attention/latent_attention.h"

namespace xylem {
namespace {

using Form = LatentAttention::Form;
struct Shape {
  const char* name;
  int heads, rank, nope, rope, v;
};
constexpr Shape kShapes[] = {{"deepseek-v2-lite", 16, 512, 128, 64, 128}, {"deepseek-v3", 128, 512, 128, 64, 128}};
constexpr int kBlock = 64;
constexpr size_t kBytes = size_t(1) << 30;  // many layers, so that no call finds its weights or latents in a cache of the processor

void fill(CpuDevice& d, const Tensor& t, int64_t n) {
  d.pool().run(d.pool().size(), [&](CpuThread at) {
    const auto r = at.range(n);
    uint32_t x = uint32_t(at.thread) * 77 + 1;
    for (int64_t k = r.begin; k < r.end; k++) {
      x = x * 1664525u + 1013904223u;
      store_f32(t.data, k, t.dtype, float(int32_t(x)) * 0x1p-32f);
    }
  });
}

// Rows of `queries` tokens at the end of `depth` tokens, over as many layers as fill kBytes.
struct Setup {
  CpuDevice& device;
  LatentAttention op;
  Buffer memory;
  std::vector<float> f;
  std::vector<int32_t> i;
  int64_t layers, weight_bytes, layer_bytes;

  Setup(CpuDevice& d, const Shape& s, int batch, int depth, int queries, Form form) : device(d) {
    LatentCache c{{}, 0, s.rank, s.rope, kBlock};
    const int64_t per_row = (depth + kBlock - 1) / kBlock, blocks = per_row * batch, H = s.heads;
    op.w_uk = packed_shape({H, s.nope, s.rank}, DType::kBF16), op.w_uk_t = packed_shape({H, s.rank, s.nope}, DType::kBF16);
    op.w_uv = packed_shape({H, s.v, s.rank}, DType::kBF16);
    c.pool = shape({blocks, kBlock * c.width()}, DType::kBF16);
    weight_bytes = int64_t(op.w_uk.bytes() + op.w_uk_t.bytes() + op.w_uv.bytes());
    layer_bytes = weight_bytes + int64_t(c.pool.bytes());
    layers = std::clamp<int64_t>(int64_t(kBytes) / layer_bytes, 1, 256);
    memory = Buffer(d, size_t(layers * layer_bytes));
    CHECK(bool(memory), layers * layer_bytes);
    fill(d, make_tensor(memory.data(), DType::kBF16, {1}), layers * layer_bytes / 2);
    const int64_t T = int64_t(batch) * queries, n = T * H * (s.nope + s.rope);
    f.resize(size_t(n + T * H * s.v));
    for (int64_t k = 0; k < n; k++) f[size_t(k)] = std::sin(float(k) * 0.37f);
    i.resize(size_t(blocks + 2 * batch + 1));
    std::iota(i.begin(), i.begin() + blocks, 0);
    int32_t *cu = i.data() + blocks, *len = cu + batch + 1;
    for (int b = 0; b <= batch; b++) cu[b] = b * queries;
    for (int b = 0; b < batch; b++) len[b] = depth;
    op.q = make_tensor(f.data(), DType::kF32, {T, H, s.nope + s.rope}), op.y = make_tensor(f.data() + n, DType::kF32, {T, H, s.v});
    op.cache = c, op.table = make_tensor(i.data(), DType::kI32, {batch, per_row});
    op.cu_q = make_tensor(cu, DType::kI32, {batch + 1}), op.kv_len = make_tensor(len, DType::kI32, {batch});
    op.scale = 1.0f / std::sqrt(float(s.nope + s.rope)), op.form = form;
  }
  void use_layer(int64_t layer) {
    std::byte* at = static_cast<std::byte*>(memory.data()) + layer * layer_bytes;
    for (Tensor* t : {&op.w_uk_t, &op.w_uv, &op.cache.pool, &op.w_uk}) t->data = at, at += t->bytes();
  }
  // Seconds of one call, averaged over all layers.
  double time() {
    Stream stream(device);
    const auto t0 = std::chrono::steady_clock::now();
    int64_t calls = 0;
    do {
      use_layer(calls % layers);
      stream.run(op);
      calls++;
    } while (calls < layers || std::chrono::steady_clock::now() - t0 < std::chrono::milliseconds(100));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count() / double(calls);
  }
  const char* kernel() { return use_layer(0), select_kernel(op, device).name; }
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}
struct Figure {
  double seconds, gbs, gflops;  // medians of interleaved repeats
};
Figure measure(Setup& s, Roof& roof) {
  std::vector<double> t, gbs{roof.read_gbs()}, gflops{roof.f32_gflops()};
  s.time();
  for (int k = 0; k < 5; k++) t.push_back(s.time()), gbs.push_back(roof.read_gbs()), gflops.push_back(roof.f32_gflops());
  return {median(t), median(gbs), median(gflops)};
}

void decode(CpuDevice& d, Roof& roof, const Shape& s, int batch, int depth, Form form) {
  Setup setup(d, s, batch, depth, 1, form);
  const double width = s.rank + s.rope, up = double(s.rank) * (s.nope + s.v) * s.heads;
  const double bytes = 2 * up + 2.0 * batch * depth * width, flops = 2.0 * batch * (up + depth * (width + s.rank) * s.heads);
  const Figure f = measure(setup, roof);
  std::printf("%-17s decode  batch %2d depth %5d  %-8s %9.1f us  %5.1f GB/s = %5.1f %% of %5.1f  %6.1f GFLOP/s = %5.1f %% of %6.1f\n", s.name, batch, depth,
              setup.kernel(), f.seconds * 1e6, bytes / f.seconds / 1e9, bytes / f.seconds / 1e7 / f.gbs, f.gbs, flops / f.seconds / 1e9,
              flops / f.seconds / 1e7 / f.gflops, f.gflops);
}

// Operations of the plain form, whatever form runs.
void prefill(CpuDevice& d, Roof& roof, const Shape& s, int tokens, int prefix, Form form) {
  Setup setup(d, s, 1, prefix + tokens, tokens, form);
  const double pairs = double(tokens) * (prefix + 0.5 * (tokens + 1));
  const double flops = 2.0 * s.heads * (double(prefix + tokens) * s.rank * (s.nope + s.v) + pairs * (s.nope + s.rope + s.v));
  const Figure f = measure(setup, roof);
  std::printf("%-17s prefill %5d tokens after %4d  %-8s %9.1f us  %6.1f GFLOP/s = %5.1f %% of %6.1f\n", s.name, tokens, prefix, setup.kernel(), f.seconds * 1e6,
              flops / f.seconds / 1e9, flops / f.seconds / 1e7 / f.gflops, f.gflops);
}

int bench(int argc, char** argv) {
  const Result<Isa> isa = parse_isa(argc > 2 ? argv[2] : "auto");
  if (!isa.ok()) return std::fprintf(stderr, "%s\n", isa.error().text.c_str()), 2;
  CpuDevice d(argc > 1 ? std::atoi(argv[1]) : 2, *isa);
  Roof roof(d);
  if (!roof) return std::fprintf(stderr, "no memory for the bandwidth probe\n"), 1;
  const std::string filter = argc > 3 ? argv[3] : "", name = argc > 4 ? argv[4] : "auto";
  const Form form = name == "plain" ? Form::kPlain : name == "absorbed" ? Form::kAbsorbed : Form::kAuto;
  for (const Shape& s : kShapes) {
    if (std::string(s.name).find(filter) == std::string::npos) continue;
    for (int batch : {1, 16})
      for (int depth : {16, 512, 2048, 8192}) decode(d, roof, s, batch, depth, form);
    for (int tokens : {16, 64, 128, 512, 2048}) prefill(d, roof, s, tokens, 0, form);
    prefill(d, roof, s, 512, 1536, form);
  }
  return 0;
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return xylem::bench(argc, argv);
}
