// Ops of decode and norms on an OpenCL device beside its memory: us a call, GB/s, and the share of the roof, which is a kernel
// that only reads (attention), or reads and writes (norms), as many bytes in as long a chain. Random numbers, which rotate
// through more memory than a GPU's cache holds.
//   opencl_bench [--device N] [--mib OF_MEMORY] [--depth KEYS] [--rows N] [roof|attention|short|norm ...]
// "chain": launches one after the other, waited for at the end; each also costs the host some 4.5 us, so that shorter ones are not
// measured that way. "plan": the same calls compiled (Device::compile), as the steps of a model run, with neither. A figure is
// the best of five runs.
#include "opencl_bench.h"

#include <cmath>
#include <numeric>
#include <random>

#include "ops/attention/attention.h"
#include "ops/qkv_store/qkv_store.h"
#include "ops/residual_norm/residual_norm.h"
#include "ops/rms_norm/rms_norm.h"

namespace xylem {
namespace {

struct Options {
  int64_t mib = 4096, depth = 4096, rows = 4096;
  std::vector<std::string> parts;
  bool wants(const char* part) const { return parts.empty() || std::find(parts.begin(), parts.end(), part) != parts.end(); }
};

class Bench {
 public:
  Bench(OpenClDevice& d, const Options& o) : device_(d), options_(o), memory_(d, size_t(o.mib) << 20), roof_(d) {
    CHECK(bool(memory_), o.mib);
    // As bf16 and as float32 small numbers of both signs.
    std::vector<uint32_t> block(size_t(1) << 22);
    uint32_t r = 1;
    for (uint32_t& v : block) r = r * 1664525u + 1013904223u, v = 0x3c003c00u | (r >> 8 & 0x80ff80ffu);
    const size_t bytes = block.size() * 4;
    for (size_t at = 0; at < memory_.bytes(); at += bytes) d.copy_in(static_cast<std::byte*>(memory_.data()) + at, block.data(), std::min(bytes, memory_.bytes() - at));
  }
  void* memory(size_t bytes) {
    CHECK(bytes <= memory_.bytes(), bytes);
    if (used_ + bytes > memory_.bytes()) used_ = 0;
    void* p = static_cast<std::byte*>(memory_.data()) + used_;
    used_ += (bytes + 255) / 256 * 256;
    return p;
  }
  bool fits(double bytes) const { return 2 * bytes <= double(memory_.bytes()); }
  Tensor floats(std::vector<int64_t> dims) {
    Tensor t;
    t.rank = int8_t(dims.size());
    int64_t n = 1;
    for (size_t i = dims.size(); i-- > 0;) t.dim[i] = dims[i], t.stride[i] = n, n *= dims[i];
    t.dtype = DType::kF32;
    t.data = memory(size_t(n) * 4);
    return t;
  }
  Tensor ints(const std::vector<int32_t>& v, std::vector<int64_t> dims) {
    kept_.emplace_back(device_, v.size() * 4);
    CHECK(bool(kept_.back()), v.size());
    device_.copy_in(kept_.back().data(), v.data(), v.size() * 4);
    Tensor t = make_tensor(kept_.back().data(), DType::kI32, {dims[0]});
    if (dims.size() == 2) t = make_tensor(t.data, DType::kI32, {dims[0], dims[1]});
    return t;
  }

  // The same calls in a compiled plan. Those of a chain wait for each other, whatever they read and write.
  template <class A>
  double plan(const std::function<A()>& next, int calls) {
    Plan steps;
    for (int i = 0; i < calls; i++) {
      const A a = next();
      steps.push_back(bind(select_kernel(a, device_), a));
    }
    const auto compiled = device_.compile(steps);
    if (!compiled) return 1e9;
    double best = 1e9;
    for (int run = 0; run < 6; run++) {
      const double start = now();
      compiled->run();
      if (const Status s = device_.sync(); !s.ok()) return std::printf("%s\n", s.error().text.c_str()), 1e9;
      if (run > 0) best = std::min(best, (now() - start) / calls);
    }
    return best;
  }
  double read_roof(double bytes) {
    return chain_seconds(device_, [&] { roof_.read(memory(size_t(bytes)), size_t(bytes), memory(256)); });
  }
  double copy_roof(double bytes) {
    return chain_seconds(device_, [&] { roof_.copy(memory(size_t(bytes / 2)), size_t(bytes / 2), memory(size_t(bytes / 2))); });
  }

  template <class A>
  void report(const std::string& what, double bytes, double roof, const std::function<A()>& next) {
    const A first = next();
    const std::string name = what + " (" + select_kernel(first, device_).name + ")";
    const double one = chain_seconds(device_, [&] {
      const A a = next();
      select_kernel(a, device_).run(a, device_);
    });
    const double planned = plan<A>(next, one > 50e-6 ? 16 : 64);
    std::printf("%-58s chain %8.1f us %7.0f GB/s %3.0f %%   plan %8.1f us %7.0f GB/s %3.0f %%   roof %8.1f us %7.0f GB/s\n", name.c_str(), one * 1e6, bytes / one * 1e-9, roof / one * 100,
                planned * 1e6, bytes / planned * 1e-9, roof / planned * 100, roof * 1e6, bytes / roof * 1e-9);
  }

  void roofs();
  void attention(bool brief);
  void norms();

 private:
  OpenClDevice& device_;
  const Options& options_;
  Buffer memory_;
  MemoryRoof roof_;
  size_t used_ = 0;
  std::vector<Buffer> kept_;
};

void Bench::roofs() {
  for (double mib : {0.0001, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0}) {
    const double bytes = mib * 1048576;
    if (!fits(bytes)) continue;
    const double read = read_roof(bytes), copied = copy_roof(bytes);
    std::printf("%8.1f MiB   read %8.1f us %7.0f GB/s   read and write half each %8.1f us %7.0f GB/s\n", mib, read * 1e6, bytes / read * 1e-9, copied * 1e6, bytes / copied * 1e-9);
  }
}

void Bench::attention(bool brief) {
  struct Shape { const char* name; int heads, kv_heads, dim, window; };
  constexpr Shape kLong[] = {{"dim 128", 32, 8, 128, 0}, {"dim 128", 16, 8, 128, 0}, {"dim 128", 32, 32, 128, 0}, {"dim 512", 8, 1, 512, 0}, {"dim 512", 16, 2, 512, 0}, {"dim 512", 32, 4, 512, 0}, {"dim 64", 64, 8, 64, 0}};
  constexpr Shape kShort[] = {{"dim 256", 8, 1, 256, 512}, {"dim 512", 8, 1, 512, 0}, {"dim 128", 16, 8, 128, 0}, {"dim 128", 32, 8, 128, 0}};
  constexpr int kBlock = 64;
  const std::vector<Shape> shapes = brief ? std::vector<Shape>(std::begin(kShort), std::end(kShort)) : std::vector<Shape>(std::begin(kLong), std::end(kLong));
  for (const Shape& s : shapes)
    for (int64_t batch : {1, 16}) {
      if (brief && batch > 1) continue;
      for (int64_t depth : brief ? std::vector<int64_t>{20, 80, 500} : std::vector<int64_t>{options_.depth}) {
        // A table of the width that a longer context has, as steps of the same plan do.
        const int64_t blocks = (depth + kBlock - 1) / kBlock, width = std::max<int64_t>(blocks, (options_.depth + kBlock - 1) / kBlock);
        std::vector<int32_t> order(static_cast<size_t>(blocks * batch)), table(static_cast<size_t>(width * batch), -1), cu_q(static_cast<size_t>(batch + 1));
        std::iota(order.begin(), order.end(), 0), std::iota(cu_q.begin(), cu_q.end(), 0);
        std::shuffle(order.begin(), order.end(), std::mt19937(1));
        for (int64_t i = 0; i < blocks * batch; i++) table[static_cast<size_t>(i / blocks * width + i % blocks)] = order[static_cast<size_t>(i)];
        Attention a;
        a.cache = KvCache{{}, 0, s.kv_heads, s.dim, kBlock};
        a.cache.pool = make_tensor(nullptr, DType::kBF16, {blocks * batch, s.kv_heads * a.cache.head_elements()});
        const double keys = double(s.window ? std::min<int64_t>(depth, s.window) : depth), bytes = double(batch) * s.kv_heads * s.dim * keys * 4;
        if (!fits(double(a.cache.pool.bytes()))) continue;
        a.table = ints(table, {batch, width}), a.cu_q = ints(cu_q, {batch + 1}), a.kv_len = ints(std::vector<int32_t>(static_cast<size_t>(batch), int32_t(depth)), {batch});
        a.q = floats({batch, s.heads, s.dim}), a.y = make_tensor(nullptr, DType::kF32, {batch, s.heads, s.dim});
        kept_.emplace_back(device_, a.y.bytes());
        a.y.data = kept_.back().data();
        a.scale = 1.0f / std::sqrt(float(s.dim)), a.window = s.window;
        const std::string what = std::string("attention ") + s.name + ", " + std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " heads, " + std::to_string(batch) + " x " + std::to_string(depth);
        report<Attention>(what, bytes, read_roof(bytes), [&] {
          a.cache.pool.data = memory(a.cache.pool.bytes());
          return a;
        });
        kept_.clear();
      }
    }
}

void Bench::norms() {
  const int64_t rows = options_.rows;
  for (int64_t n : {1536, 4096, 8192}) {
    const std::string where = " " + std::to_string(rows) + " x " + std::to_string(n);
    const double row_bytes = double(rows) * double(n) * 4;
    if (!fits(4 * row_bytes)) continue;
    const Tensor w = floats({n});
    report<RmsNorm>("rms_norm" + where, 2 * row_bytes, copy_roof(2 * row_bytes), [&] {
      RmsNorm a;
      a.x = floats({rows, n}), a.w = w, a.y = floats({rows, n});
      return a;
    });
    report<ResidualNorm>("residual_norm" + where, 4 * row_bytes, copy_roof(4 * row_bytes), [&] {
      ResidualNorm a;
      a.x = floats({rows, n}), a.r = floats({rows, n}), a.x_w = w, a.y[0] = floats({rows, n}), a.y_w[0] = w;
      return a;
    });
    // Half of the row is Q, a quarter each K and V, of heads of 128; the cache has bf16.
    const int64_t kv_heads = n / 512, heads = 2 * kv_heads;
    const int kBlock = 64;
    std::vector<int32_t> slots(static_cast<size_t>(rows));
    std::iota(slots.begin(), slots.end(), 0);
    QkvStore s;
    s.slots = ints(slots, {rows}), s.table = floats({rows, 2, 64});
    s.q_norm = {true, floats({128})}, s.k_norm = s.q_norm;
    s.cache = KvCache{{}, 0, int(kv_heads), 128, kBlock};
    s.cache.pool = make_tensor(nullptr, DType::kBF16, {(rows + kBlock - 1) / kBlock, kv_heads * s.cache.head_elements()});
    const double stored = row_bytes * (1 + 0.5 + 0.25);
    report<QkvStore>("qkv_store" + where, stored, copy_roof(stored), [&] {
      const Tensor row = floats({rows, n});
      const auto view = [&](int64_t first, int64_t count) {
        Tensor t = make_tensor(static_cast<float*>(row.data) + first * 128, DType::kF32, {rows, count, 128});
        t.stride[0] = n;
        return t;
      };
      QkvStore a = s;
      a.q = view(0, heads), a.k = view(heads, kv_heads), a.v = view(heads + kv_heads, kv_heads), a.y = floats({rows, heads, 128});
      a.cache.pool.data = memory(a.cache.pool.bytes());
      return a;
    });
    kept_.clear();
  }
}

int run(int argc, char** argv) {
  Options o;
  CommandLine line(argc, argv);
  const std::unique_ptr<OpenClDevice> device = line.device();
  line.take<int64_t>("--mib", o.mib, 64), line.take<int64_t>("--depth", o.depth, 1), line.take<int64_t>("--rows", o.rows, 1);
  o.parts = line.words();
  Bench bench(*device, o);
  if (o.wants("roof")) bench.roofs();
  if (o.wants("attention")) bench.attention(false);
  if (o.wants("short")) bench.attention(true);
  if (o.wants("norm")) bench.norms();
  return 0;
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return xylem::run(argc, argv);
}
