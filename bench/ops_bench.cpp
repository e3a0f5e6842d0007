// Matrix products and expert mixtures of the shapes that decide the speed of models, beside the roofs of this machine,
// probed before and after each figure.   ops_bench [--threads N] [--isa NAME] [--repeats N] [--f32] [--one]
// [--type bf16|f16|f32|f8|mxfp4] [SHAPE ...]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "device/cpu/cpu_device.h"
#include "device/cpu/roof.h"
#include "ops/matmul/matmul.h"
#include "ops/moe/moe.h"

using namespace xylem;

namespace {

struct Shape {
  const char* name;
  int64_t N, K;
};
constexpr Shape kShapes[] = {{"qwen3-0.6b qkv", 4096, 1024},
                             {"qwen3-0.6b o", 1024, 2048},
                             {"qwen3-0.6b gate_up", 6144, 1024},
                             {"qwen3-0.6b down", 1024, 3072},
                             {"qwen3-0.6b vocab", 151936, 1024},
                             {"e2b qkv", 2560, 1536},
                             {"e2b o", 1536, 2048},
                             {"e2b gate_up", 12288, 1536},
                             {"e2b down", 1536, 6144},
                             {"e2b wide gate_up", 24576, 1536},
                             {"e2b wide down", 1536, 12288},
                             {"e2b per layer", 256, 1536},
                             {"e2b vocab", 262144, 1536},
                             {"gpt-oss gate_up", 5760, 2880},
                             {"gpt-oss down", 2880, 2880}};
struct ExpertShape {
  const char* name;
  int64_t E, choices, H, I;  // as many experts as the weights' buffer holds in bfloat16
  Act act;
  float limit;
  bool biased;
};
constexpr ExpertShape kExperts[] = {{"26b-a4b experts", 96, 8, 2816, 704, Act::kGeluTanh, 0, false},
                                    {"gpt-oss experts", 24, 4, 2880, 2880, Act::kClampedSwiglu, 7, true},
                                    {"v2-lite experts", 64, 6, 2048, 1408, Act::kSilu, 0, false}};
constexpr int64_t kRows[] = {1, 2, 4, 8, 16, 32, 64, 128, 512};

struct Options {
  int threads = 2, repeats = 5;
  Isa isa = best_isa();
  bool f32 = false;  // activations stay float32
  bool one = false;  // every token chooses the first expert
  DType type = DType::kBF16;
  std::vector<std::string> shapes;
};

void fill(const Tensor& t) {
  for (int64_t i = 0; i < t.numel(); i++) t.as()[i] = float(i % 97) / 97 - 0.5f;
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// Weights come from a buffer far larger than the caches, each call another part of it.
class Weights {
 public:
  Weights(CpuDevice& d, DType type) : memory_(d, kBytes) {
    CHECK(bool(memory_), kBytes);
    auto* p = static_cast<uint16_t*>(memory_.data());
    uint32_t r = 1;
    for (size_t i = 0; i < kBytes / 2; i++)
      r = r * 1664525u + 1013904223u, p[i] = uint16_t(0x3c00u | (r >> 24) | (r & 0x8000u));  // about +-0.01
    if (type == DType::kMxfp4) std::memset(p, 0x77, kBytes);  // whatever is a scale is no extreme one
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

// Times call(), which reads `bytes` of weights and does `flops`, between probes of the roofs.
void measure(Roof& roof, const std::string& name, int64_t rows, double bytes, double flops, const Options& o,
             const std::function<void()>& call) {
  auto peak = [&] { return o.f32 ? roof.f32_gflops() : roof.bf16_gflops(); };
  call();
  std::vector<double> time, share_read, share_peak, share_sum;
  double g0 = roof.read_gbs(), p0 = peak();
  for (int r = 0; r < o.repeats; r++) {
    const double start = now();
    int calls = 0;
    do call(), calls++;
    while (now() - start < 0.05);
    const double t = (now() - start) / calls, g1 = roof.read_gbs(), p1 = peak();
    const double read = bytes / ((g0 + g1) / 2 * 1e9), compute = flops / ((p0 + p1) / 2 * 1e9);
    time.push_back(t), share_read.push_back(read / t), share_peak.push_back(compute / t),
        share_sum.push_back(t / (read + compute));
    g0 = g1, p0 = p1;
  }
  const double t = median(time);
  std::printf(
      "%-20s %4ld  %9.1f us  %6.1f GB/s %7.1f GFLOP/s  roofs %5.1f %6.1f | of read %5.1f %%  of peak %5.1f %%  x (read "
      "+ peak) %5.2f\n",
      name.c_str(), long(rows), t * 1e6, bytes / t / 1e9, flops / t / 1e9, g0, p0, 100 * median(share_read),
      100 * median(share_peak), median(share_sum));
  std::fflush(stdout);
}

void measure_matmul(CpuDevice& d, Roof& roof, Weights& weights, const Shape& s, int64_t M, const Options& o) {
  MatMul a{shape({M, s.K}), packed_shape({s.N, s.K}, o.type), {}, shape({M, s.N}), !o.f32};
  Buffer x(d, a.x.bytes()), y(d, a.y.bytes());
  a.x.data = x.data(), a.y.data = y.data();
  fill(a.x);
  const Kernel<MatMul>& k = select_kernel(a, d);
  const size_t bytes = a.w.bytes();
  measure(roof, s.name, M, double(bytes), 2.0 * double(M) * double(s.N) * double(s.K), o,
          [&] { a.w.data = weights.next(bytes), k.run(a, d); });
}

// Each call chooses other experts.
void measure_experts(CpuDevice& d, Roof& roof, Weights& weights, const ExpertShape& s, int64_t T, const Options& o) {
  MoeExperts a{shape({T, s.H}),
               shape({T, s.choices}, DType::kI32),
               shape({T, s.choices}),
               packed_shape({s.E, 2 * s.I, s.H}, o.type),
               packed_shape({s.E, s.H, s.I}, o.type),
               shape({T, s.H}),
               s.act,
               !o.f32,
               s.limit};
  Buffer x(d, a.x.bytes()), y(d, a.y.bytes()), ids(d, a.ids.bytes()), w(d, a.weights.bytes());
  a.x.data = x.data(), a.y.data = y.data(), a.ids.data = ids.data(), a.weights.data = w.data();
  a.gate_up.data = weights.next(a.gate_up.bytes()), a.down.data = weights.next(a.down.bytes());
  Buffer biases(d, size_t(s.E * (2 * s.I + s.H)) * sizeof(float));
  if (s.biased) {
    a.gate_up_bias = make_tensor(biases.data(), DType::kF32, {s.E, 2 * s.I});
    a.down_bias = make_tensor(a.gate_up_bias.as() + a.gate_up_bias.numel(), DType::kF32, {s.E, s.H});
    fill(a.gate_up_bias), fill(a.down_bias);
  }
  fill(a.x), fill(a.weights);
  std::mt19937 rng(1);
  std::vector<int32_t> order(static_cast<size_t>(s.E));
  std::set<int32_t> chosen;
  double read = 0;
  auto choose = [&] {
    chosen.clear();
    for (int64_t t = 0; t < T; t++) {
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin() + o.one, order.end(), rng);
      std::copy_n(order.begin(), s.choices, a.ids.as<int32_t>() + t * s.choices);
      chosen.insert(order.begin(), order.begin() + s.choices);
    }
  };
  for (int i = 0; i < 100; i++) choose(), read += double(chosen.size()) / 100;
  const Kernel<MoeExperts>& k = select_kernel(a, d);
  measure(roof, s.name, T, read * double(a.gate_up.bytes() + a.down.bytes()) / double(s.E),
          6.0 * double(T * s.choices * s.H * s.I), o, [&] { choose(), k.run(a, d); });
}

DType parse_type(const std::string& s) {
  for (auto [name, type] : {std::pair{"bf16", DType::kBF16},
                            {"f16", DType::kF16},
                            {"f32", DType::kF32},
                            {"f8", DType::kF8E4M3},
                            {"mxfp4", DType::kMxfp4}})
    if (s == name) return type;
  std::fprintf(stderr, "unknown or missing type: use bf16, f16, f32, f8 or mxfp4\n"), std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i++) {
    const std::string s = argv[i];
    auto value = [&] { return i + 1 < argc ? argv[++i] : ""; };
    if (s == "--threads")
      o.threads = std::max(1, std::atoi(value()));
    else if (s == "--repeats")
      o.repeats = std::max(1, std::atoi(value()));
    else if (s == "--f32")
      o.f32 = true;
    else if (s == "--one")
      o.one = true;
    else if (s == "--type")
      o.type = parse_type(value());
    else if (s == "--isa") {
      const auto isa = parse_isa(value());
      if (!isa.ok()) std::fprintf(stderr, "unknown or missing instruction set\n"), std::exit(2);
      o.isa = *isa;
    } else
      o.shapes.push_back(s);
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  CpuDevice d(o.threads, o.isa);
  Roof roof(d);
  CHECK(bool(roof));
  Weights weights(d, o.type);
  std::printf("%s, %d threads: read %.1f GB/s, bf16 %.1f GFLOP/s, f32 %.1f GFLOP/s\n", isa_name(o.isa), o.threads,
              roof.read_gbs(), roof.bf16_gflops(), roof.f32_gflops());
  auto wanted = [&](const std::string& name, int64_t rows) {
    const std::string full = name + "/" + std::to_string(rows);
    return o.shapes.empty() || std::any_of(o.shapes.begin(), o.shapes.end(),
                                           [&](const std::string& f) { return full.find(f) != full.npos; });
  };
  for (const Shape& s : kShapes)
    for (int64_t M : kRows)
      if ((M <= 32 || s.N < 100000) && wanted(s.name, M))
        measure_matmul(d, roof, weights, s, M, o);  // the vocabulary: only last positions
  for (const ExpertShape& s : kExperts)
    for (int64_t T : kRows)
      if (wanted(s.name, T)) measure_experts(d, roof, weights, s, T, o);
}
