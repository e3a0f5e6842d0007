// Products of few rows on an OpenCL device, as decode steps make them: phases of one persistent launch where the device has
// those, weights that no cache holds. Beside each the time that merely reading as many bytes takes.
//   decode_bench [--device N] [--type bf16|f8|mxfp4] [--rows N] [--shape NAME] [--form NAME] [--gated 1]
#include <cstring>
#include <random>

#include "opencl_bench.h"
#include "ops/matmul/gpu_product.h"
#include "ops/matmul/matmul.h"

namespace xylem {
namespace {

struct Options {
  int rows = 0;
  bool gated = false;  // x is gelu_tanh(gate) * up
  DType type = DType::kBF16;
  std::string shape, form;
};
struct Shape { const char* name; int64_t N, K; };
constexpr Shape kShapes[] = {{"qkv", 2560, 1536},   {"o", 1536, 2048},         {"gate_up", 12288, 1536}, {"wide_gate_up", 24576, 1536}, {"down", 1536, 6144},
                             {"wide_down", 1536, 12288}, {"ple_gate", 256, 1536}, {"ple", 1536, 256}, {"8b_gate_up", 28672, 4096}, {"8b_down", 4096, 14336}, {"head", 262144, 1536}};
struct Choice { const char* name; GpuForm form; int least, most; };
constexpr Choice kForms[] = {{"gemv1", GpuForm::kGemv1, 1, 1},      {"gemv4", GpuForm::kGemv4, 2, 4},        {"gemv8", GpuForm::kGemv8, 5, 16},
                             {"skinny8", GpuForm::kSkinny8, 1, 16}, {"skinny16", GpuForm::kSkinny16, 1, 16}, {"wide8", GpuForm::kWide8, 1, 8},      {"wide16", GpuForm::kWide16, 1, 16},     {"few32", GpuForm::kMmaFew32, 9, 32}};
constexpr size_t kBytes = size_t(1) << 30;       // of weights in all
constexpr size_t kRotation = size_t(256) << 20;  // that a plan reads at least

struct Call {
  MatMul a;
  GpuForm form;
  bool gated = false;
};
void run_call(const Launch& l, Device& d) {
  const Call& c = *reinterpret_cast<const Call*>(l.args);
  GpuProduct p = product_of(c.a);
  if (c.gated) p.up = p.x, p.act = Act::kGeluTanh;
  gpu_product(p, c.form, static_cast<OpenClDevice&>(d));
}

class Bench {
 public:
  Bench(OpenClDevice& d, const Options& o) : device_(d), options_(o), weights_(d, kBytes), x_(d, size_t(16) * 16384 * 4), y_(d, size_t(32) * 262144 * 4), roof_(d) {
    CHECK(bool(weights_) && bool(x_) && bool(y_));
    std::vector<uint32_t> block(size_t(1) << 22);
    uint32_t r = 1;
    for (uint32_t& v : block) r = r * 1664525u + 1013904223u, v = o.type == DType::kBF16 ? 0x3c003c00u | (r >> 8 & 0x80ff80ffu) : r & 0x77777777u;
    for (size_t at = 0; at < kBytes; at += block.size() * 4) d.copy_in(static_cast<std::byte*>(weights_.data()) + at, block.data(), block.size() * 4);
    std::vector<float> x(x_.bytes() / 4);
    std::mt19937 rng(1);
    for (float& v : x) v = float(int32_t(rng())) * 0x1p-31f;
    d.copy_in(x_.data(), x.data(), x_.bytes());
  }

  void shape(const Shape& s) {
    Tensor w = packed_shape({s.N, s.K}, options_.type);
    if (w.bytes() > kBytes) return;
    const size_t calls = std::clamp<size_t>(kRotation / w.bytes(), 4, 64);
    const double roof = read_time(w.bytes(), calls);
    std::printf("%s %s N %lld K %lld: %.2f MB, read in launches of its own in %.2f us, %.2f TB/s\n", s.name, dtype_name(options_.type), static_cast<long long>(s.N), static_cast<long long>(s.K),
                double(w.bytes()) * 1e-6, roof * 1e6, double(w.bytes()) / roof * 1e-12);
    for (int M : {1, 2, 4, 8, 16}) {
      if (options_.rows && options_.rows != M) continue;
      MatMul a;
      a.x = make_tensor(x_.data(), DType::kF32, {M, s.K}), a.y = make_tensor(y_.data(), DType::kF32, {M, s.N}), a.w = w, a.round_x = true;
      const Kernel<MatMul>& k = select_kernel(a, device_);
      if (options_.form.empty()) report(std::string("chosen: ") + k.name, M, calls, a, [&](const MatMul& m) { return bind(k, m); });
      for (const Choice& c : kForms) {
        if (M < c.least || M > c.most || !form_suits(c.form, options_.type, true) || (!options_.form.empty() && options_.form != c.name)) continue;
        report(c.name, M, calls, a, [&](const MatMul& m) {
          static_assert(sizeof(Call) <= Launch::kMaxArgs);
          const Call call{m, c.form, options_.gated};
          Launch l;
          l.op = MatMul::kName, l.kernel = c.name, l.thunk = run_call;
          std::memcpy(l.args, &call, sizeof call);
          return l;
        });
      }
    }
  }

 private:
  void* at(size_t bytes, size_t i) { return static_cast<std::byte*>(weights_.data()) + i % (kBytes / bytes) * bytes; }

  template <class Enqueue>
  double best(const Enqueue& enqueue) {
    double best = 1e9;
    for (int i = 0; i < 6; i++) {
      const double start = now();
      for (int j = 0; j < 4; j++) enqueue();
      CHECK(device_.sync().ok());
      best = std::min(best, (now() - start) / 4);
    }
    return best;
  }
  double read_time(size_t bytes, size_t calls) {
    return best([&] {
      for (size_t i = 0; i < calls; i++) roof_.read(at(bytes, i), bytes, y_.data());
    }) / double(calls);
  }
  template <class Bind>
  void report(const std::string& name, int rows, size_t calls, MatMul a, const Bind& to_launch) {
    Plan plan;
    for (size_t i = 0; i < calls; i++) {
      a.w.data = at(a.w.bytes(), i);
      plan.push_back(to_launch(a));
    }
    const std::unique_ptr<CompiledPlan> compiled = device_.compile(plan);
    if (const Status s = device_.sync(); !s.ok()) return void(std::printf("  M %2d %-16s %s\n", rows, name.c_str(), s.error().text.c_str()));
    const double t = best([&] { compiled->run(); }) / double(calls);
    if (const Status s = device_.sync(); !s.ok()) return void(std::printf("  M %2d %-16s %s\n", rows, name.c_str(), s.error().text.c_str()));
    std::printf("  M %2d %-16s %9.2f us %6.2f TB/s%s\n", rows, name.c_str(), t * 1e6, double(a.w.bytes()) / t * 1e-12, compiled->launches() == 1 ? ", phases" : "");
  }

  OpenClDevice& device_;
  const Options& options_;
  Buffer weights_, x_, y_;
  MemoryRoof roof_;
};

int run(int argc, char** argv) {
  Options o;
  CommandLine line(argc, argv);
  const std::unique_ptr<OpenClDevice> device = line.device();
  line.take("--rows", o.rows), line.take("--shape", o.shape), line.take("--form", o.form), line.take("--type", o.type);
  int gated = 0;
  line.take("--gated", gated);
  o.gated = gated != 0;
  if (!line.words().empty()) return std::fprintf(stderr, "usage: see the top of decode_bench.cpp\n"), 2;
  Bench bench(*device, o);
  for (const Shape& s : kShapes)
    if (o.shape.empty() || o.shape == s.name) bench.shape(s);
  return 0;
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return xylem::run(argc, argv);
}
