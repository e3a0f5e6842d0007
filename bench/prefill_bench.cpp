// Prefill on an OpenCL device: matrix products in each form that suits, expert mixtures, attention, in TFLOP/s. Weights rotate
// through more memory than a GPU's cache holds. Kernels run back to back; a figure is the best of five runs of some calls.
//   prefill_bench [--device N] [--type bf16|f8|mxfp4] [--tokens N] [--mib OF_WEIGHTS] [matmul|moe|attention ...]
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "opencl_bench.h"
#include "ops/attention/attention.h"
#include "ops/matmul/gpu_product.h"
#include "ops/matmul/matmul.h"
#include "ops/moe/moe.h"

namespace xylem {
namespace {

struct Options {
  DType type = DType::kBF16;
  int64_t tokens = 0, mib = 1024;  // tokens: this number alone
  std::vector<std::string> parts;
  bool wants(const char* part) const { return parts.empty() || std::find(parts.begin(), parts.end(), part) != parts.end(); }
  bool wants(int64_t n) const { return tokens == 0 || tokens == n; }
};

class Bench {
 public:
  Bench(OpenClDevice& d, const Options& o) : device_(d), options_(o), weights_(d, size_t(o.mib) << 20) {
    CHECK(bool(weights_), o.mib);
    std::vector<uint32_t> block(size_t(1) << 22);
    uint32_t r = 1;
    for (uint32_t& v : block) r = r * 1664525u + 1013904223u, v = o.type == DType::kBF16 ? 0x3c003c00u | (r >> 8 & 0x80ff80ffu) : r & 0x77777777u;
    const size_t bytes = block.size() * 4;
    for (size_t at = 0; at < weights_.bytes(); at += bytes) d.copy_in(static_cast<std::byte*>(weights_.data()) + at, block.data(), std::min(bytes, weights_.bytes() - at));
  }
  void* weights(size_t bytes) {
    CHECK(bytes <= weights_.bytes(), bytes);
    if (used_ + bytes > weights_.bytes()) used_ = 0;
    void* p = static_cast<std::byte*>(weights_.data()) + used_;
    used_ += (bytes + 255) / 256 * 256;
    return p;
  }
  // A tensor of numbers between -1 and 1.
  Tensor floats(std::vector<int64_t> dims) {
    Tensor t;
    t.rank = int8_t(dims.size());
    int64_t n = 1;
    for (size_t i = dims.size(); i-- > 0;) t.dim[i] = dims[i], t.stride[i] = n, n *= dims[i];
    t.dtype = DType::kF32;
    std::vector<float> v(static_cast<size_t>(n));
    std::mt19937 rng(1);
    for (float& x : v) x = float(int32_t(rng())) * 0x1p-31f;
    t.data = keep(v.data(), v.size() * 4);
    return t;
  }
  Tensor ints(const std::vector<int32_t>& v, int64_t rows) { return make_tensor(keep(v.data(), v.size() * 4), DType::kI32, {rows, int64_t(v.size()) / rows}); }
  void* keep(const void* from, size_t bytes) {
    kept_.emplace_back(device_, bytes);
    CHECK(bool(kept_.back()), bytes);
    device_.copy_in(kept_.back().data(), from, bytes);
    return kept_.back().data();
  }
  void release() { kept_.clear(); }

  void report(const std::string& what, double flops, double bytes, const std::function<void()>& call) {
    for (int i = 0; i < 2; i++) call();
    if (const Status s = device_.sync(); !s.ok()) return void(std::printf("%-62s %s\n", what.c_str(), s.error().text.c_str()));
    double best = 1e9, first = now();
    call();
    CHECK(device_.sync().ok());
    const int calls = std::clamp(int(0.02 / (now() - first)), 1, 200);
    for (int run = 0; run < 5; run++) {
      const double start = now();
      for (int i = 0; i < calls; i++) call();
      CHECK(device_.sync().ok());
      best = std::min(best, (now() - start) / calls);
    }
    std::printf("%-62s %10.1f us %7.1f TFLOP/s %7.1f GB/s\n", what.c_str(), best * 1e6, flops / best * 1e-12, bytes / best * 1e-9);
  }

  void matmul();
  void moe();
  void attention();

 private:
  OpenClDevice& device_;
  const Options& options_;
  Buffer weights_;
  size_t used_ = 0;
  std::vector<Buffer> kept_;
};

void Bench::matmul() {
  struct Shape { const char* name; int64_t N, K; };
  constexpr Shape kShapes[] = {{"e2b gate_up", 12288, 1536}, {"e2b down", 1536, 6144}, {"e2b wide down", 1536, 12288}, {"e2b qkv", 2560, 1536}, {"e2b o", 1536, 2048}, {"8b gate_up", 28672, 4096}};
  struct Choice { const char* name; GpuForm form; int64_t least, most; };
  constexpr Choice kForms[] = {{"gemv8", GpuForm::kGemv8, 1, 32},       {"tile", GpuForm::kTile, 64, 2048},     {"few32", GpuForm::kMmaFew32, 1, 64},
                               {"few64", GpuForm::kMmaFew64, 33, 128}, {"mid", GpuForm::kMmaMid, 33, 1 << 20}, {"wide", GpuForm::kMmaWide, 64, 1 << 20}};
  for (const Shape& s : kShapes)
    for (int64_t M : {32, 64, 128, 512, 2048, 4096}) {
      if (!options_.wants(M)) continue;
      Tensor w = packed_shape({s.N, s.K}, options_.type);
      GpuProduct p;
      p.x = floats({M, s.K}), p.y = floats({M, s.N}), p.round_x = true, p.rows = int(M), p.w = w;
      const MatMul chosen{p.x, w, {}, p.y, true};
      const std::string where = std::string(s.name) + " " + dtype_name(options_.type) + " M " + std::to_string(M) + " N " + std::to_string(s.N) + " K " + std::to_string(s.K) + " ";
      const double flops = 2.0 * double(M) * double(s.N) * double(s.K);
      const Kernel<MatMul>& k = select_kernel(chosen, device_);
      report(where + "chosen: " + k.name, flops, double(w.bytes()), [&] {
        MatMul a = chosen;
        a.w.data = weights(w.bytes());
        k.run(a, device_);
      });
      for (const Choice& c : kForms) {
        if (M < c.least || M > c.most || !form_suits(c.form, options_.type, true) || (c.form >= GpuForm::kMmaFew32 && !runs_mma(device_.info()))) continue;
        report(where + c.name, flops, double(w.bytes()), [&] {
          p.w.data = weights(w.bytes());
          gpu_product(p, c.form, device_);
        });
      }
      release();
    }
}

void Bench::moe() {
  struct Shape { const char* name; int64_t E, choices, H, I; DType type; Act act; bool biased; };
  constexpr Shape kShapes[] = {{"gpt-oss 20b", 32, 4, 2880, 2880, DType::kMxfp4, Act::kClampedSwiglu, true}, {"26b-a4b", 128, 8, 2816, 704, DType::kBF16, Act::kGeluTanh, false}};
  for (const Shape& s : kShapes)
    for (int64_t T : {64, 256, 512, 2048}) {
      if (!options_.wants(T) || s.type != options_.type) continue;
      MoeExperts a;
      std::vector<int32_t> ids, order(static_cast<size_t>(s.E));
      std::iota(order.begin(), order.end(), 0);
      std::mt19937 rng(1);
      for (int64_t t = 0; t < T; t++) {
        std::shuffle(order.begin(), order.end(), rng);
        ids.insert(ids.end(), order.begin(), order.begin() + s.choices);
      }
      a.x = floats({T, s.H}), a.ids = ints(ids, T), a.weights = floats({T, s.choices}), a.y = floats({T, s.H});
      a.gate_up = packed_shape({s.E, 2 * s.I, s.H}, s.type), a.down = packed_shape({s.E, s.H, s.I}, s.type);
      a.act = s.act, a.round_x = true, a.limit = 7;
      if (s.biased) a.gate_up_bias = floats({s.E, 2 * s.I}), a.down_bias = floats({s.E, s.H});
      const size_t bytes = a.gate_up.bytes() + a.down.bytes();
      report(std::string(s.name) + " experts " + dtype_name(s.type) + " T " + std::to_string(T), 6.0 * double(T * s.choices * s.H * s.I), double(bytes), [&] {
        a.gate_up.data = weights(a.gate_up.bytes()), a.down.data = weights(a.down.bytes());
        select_kernel(a, device_).run(a, device_);
      });
      release();
    }
}

void Bench::attention() {
  struct Shape { const char* name; int heads, kv_heads, dim, window; };
  constexpr Shape kShapes[] = {{"e2b window", 8, 1, 256, 512}, {"e2b full", 8, 1, 512, 0}, {"qwen3-0.6b", 16, 8, 128, 0}, {"gpt-oss", 64, 8, 64, 0}};
  struct Call { int64_t queries, depth; };
  constexpr Call kCalls[] = {{512, 512}, {2048, 2048}, {4096, 4096}, {512, 16384}};
  constexpr int kBlock = 64;
  for (const Shape& s : kShapes)
    for (const Call& c : kCalls) {
      if (!options_.wants(c.queries)) continue;
      const int64_t blocks = (c.depth + kBlock - 1) / kBlock;
      std::vector<int32_t> table(static_cast<size_t>(blocks));
      std::iota(table.begin(), table.end(), 0);
      std::shuffle(table.begin(), table.end(), std::mt19937(1));
      Attention a;
      a.cache = KvCache{{}, 0, s.kv_heads, s.dim, kBlock};
      a.cache.pool = make_tensor(nullptr, DType::kBF16, {blocks, s.kv_heads * a.cache.head_elements()});
      a.cache.pool.data = weights(a.cache.pool.bytes());
      a.q = floats({c.queries, s.heads, s.dim}), a.y = floats({c.queries, s.heads, s.dim}), a.table = ints(table, 1);
      a.cu_q = make_tensor(ints({0, int32_t(c.queries)}, 1).data, DType::kI32, {2}), a.kv_len = make_tensor(ints({int32_t(c.depth)}, 1).data, DType::kI32, {1});
      a.scale = 1.0f / std::sqrt(float(s.dim)), a.window = s.window;
      double keys = 0;
      for (int64_t p = c.depth - c.queries; p < c.depth; p++) keys += double(s.window ? std::min<int64_t>(p + 1, s.window) : p + 1);
      const std::string where = std::string("attention ") + s.name + " dim " + std::to_string(s.dim) + " T " + std::to_string(c.queries) + " of " + std::to_string(c.depth) + " ";
      for (const Kernel<Attention>* k : Kernel<Attention>::all()) {
        if (k->dev != Dev::kOpenCl || (k->supports && !k->supports(a, device_))) continue;
        report(where + k->name, 4.0 * keys * s.heads * s.dim, 0, [&] { k->run(a, device_); });
      }
      release();
    }
}

int run(int argc, char** argv) {
  Options o;
  CommandLine line(argc, argv);
  const std::unique_ptr<OpenClDevice> device = line.device();
  line.take("--tokens", o.tokens), line.take<int64_t>("--mib", o.mib, 64), line.take("--type", o.type);
  o.parts = line.words();
  Bench bench(*device, o);
  if (o.wants("matmul")) bench.matmul();
  if (o.wants("moe")) bench.moe();
  if (o.wants("attention")) bench.attention();
  return 0;
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return xylem::run(argc, argv);
}
