// Matrix products of the shapes that decide the speed of Qwen3-0.6B and Gemma 4 E2B, beside the roofs of this machine, probed
// before and after each row of figures.   ops_bench [--threads N] [--isa NAME] [--repeats N] [--f32] [SHAPE ...]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "device/cpu/cpu_device.h"
#include "device/cpu/roof.h"
#include "ops/matmul/matmul.h"

using namespace xylem;

namespace {

struct Shape { const char* name; int64_t N, K; };
constexpr Shape kShapes[] = {
    {"qwen3-0.6b qkv", 4096, 1024},     {"qwen3-0.6b o", 1024, 2048},      {"qwen3-0.6b gate_up", 6144, 1024}, {"qwen3-0.6b down", 1024, 3072},
    {"qwen3-0.6b vocab", 151936, 1024}, {"e2b qkv", 2560, 1536},           {"e2b o", 1536, 2048},              {"e2b gate_up", 12288, 1536},
    {"e2b down", 1536, 6144},           {"e2b wide gate_up", 24576, 1536}, {"e2b wide down", 1536, 12288},     {"e2b per layer", 256, 1536},
    {"e2b vocab", 262144, 1536}};
constexpr int64_t kRows[] = {1, 2, 4, 8, 16, 32, 64, 128, 512};

struct Options {
  int threads = 2, repeats = 5;
  Isa isa = best_isa();
  bool f32 = false;  // activations stay float32
  std::vector<std::string> shapes;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// Weights come from a buffer far larger than the caches, each call another part of it.
class Weights {
 public:
  explicit Weights(CpuDevice& d) : memory_(d, kBytes) {
    CHECK(bool(memory_), kBytes);
    auto* p = static_cast<uint16_t*>(memory_.data());
    uint32_t r = 1;
    for (size_t i = 0; i < kBytes / 2; i++) r = r * 1664525u + 1013904223u, p[i] = uint16_t(0x3c00u | (r >> 24) | (r & 0x8000u));  // about +-0.01
  }
  void* next(size_t bytes) {
    if (used_ + bytes > kBytes) used_ = 0;
    void* p = static_cast<std::byte*>(memory_.data()) + used_;
    used_ += (bytes + 63) / 64 * 64;
    return p;
  }

 private:
  static constexpr size_t kBytes = size_t(5) << 28;  // 1.25 GiB
  Buffer memory_;
  size_t used_ = 0;
};

void measure(CpuDevice& d, Roof& roof, Weights& weights, const Shape& s, int64_t M, const Options& o) {
  MatMul a{shape({M, s.K}), packed_shape({s.N, s.K}, DType::kBF16), {}, shape({M, s.N}), !o.f32};
  const size_t bytes = a.w.bytes();
  const double flops = 2.0 * double(M) * double(s.N) * double(s.K);
  Buffer x(d, a.x.bytes()), y(d, a.y.bytes());
  a.x.data = x.data(), a.y.data = y.data();
  for (int64_t i = 0; i < a.x.numel(); i++) a.x.as()[i] = float(i % 97) / 97 - 0.5f;
  const Kernel<MatMul>& k = select_kernel(a, d);
  auto call = [&] { a.w.data = weights.next(bytes), k.run(a, d); };
  auto gbs = [&] { return roof.read_gbs(); };
  auto peak = [&] { return o.f32 ? roof.f32_gflops() : roof.bf16_gflops(); };
  call();
  std::vector<double> time, share_read, share_peak, share_sum;
  double g0 = gbs(), p0 = peak();
  for (int r = 0; r < o.repeats; r++) {
    const double start = now();
    int calls = 0;
    do call(), calls++;
    while (now() - start < 0.05);
    const double t = (now() - start) / calls, g1 = gbs(), p1 = peak(), read = double(bytes) / ((g0 + g1) / 2 * 1e9), compute = flops / ((p0 + p1) / 2 * 1e9);
    time.push_back(t), share_read.push_back(read / t), share_peak.push_back(compute / t), share_sum.push_back(t / (read + compute));
    g0 = g1, p0 = p1;
  }
  const double t = median(time);
  std::printf("%-20s %4ld  %9.1f us  %6.1f GB/s %7.1f GFLOP/s  roofs %5.1f %6.1f | of read %5.1f %%  of peak %5.1f %%  x (read + peak) %5.2f\n", s.name, long(M),
              t * 1e6, double(bytes) / t / 1e9, flops / t / 1e9, g0, p0, 100 * median(share_read), 100 * median(share_peak), median(share_sum));
  std::fflush(stdout);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i++) {
    const std::string s = argv[i];
    auto value = [&] { return i + 1 < argc ? argv[++i] : ""; };
    if (s == "--threads") o.threads = std::max(1, std::atoi(value()));
    else if (s == "--repeats") o.repeats = std::max(1, std::atoi(value()));
    else if (s == "--f32") o.f32 = true;
    else if (s == "--isa") {
      const auto isa = parse_isa(value());
      if (!isa.ok()) std::fprintf(stderr, "unknown or missing instruction set\n"), std::exit(2);
      o.isa = *isa;
    } else o.shapes.push_back(s);
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  CpuDevice d(o.threads, o.isa);
  Roof roof(d);
  CHECK(bool(roof));
  Weights weights(d);
  std::printf("%s, %d threads: read %.1f GB/s, bf16 %.1f GFLOP/s, f32 %.1f GFLOP/s\n", isa_name(o.isa), o.threads, roof.read_gbs(), roof.bf16_gflops(),
              roof.f32_gflops());
  for (const Shape& s : kShapes)
    for (int64_t M : kRows) {
      if (M > 32 && s.N > 100000) continue;  // only the last position of a prompt goes there
      const std::string row = std::string(s.name) + "/" + std::to_string(M);
      if (o.shapes.empty() || std::any_of(o.shapes.begin(), o.shapes.end(), [&](const std::string& f) { return row.find(f) != row.npos; }))
        measure(d, roof, weights, s, M, o);
    }
}
