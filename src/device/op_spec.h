// The spec of an op: its reference, the cases that matter, its tolerance. Constructing one registers the op; the parity
// test (src/ops/parity_test.cpp) then runs every kernel of the op on every case, and the op benchmark times the same cases.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "device/fallback.h"
#include "device/op.h"

namespace xylem {

// One case: an op value whose tensors have shapes and no data. init, if given, runs after the random filling of the inputs
// and writes what must not be random (ids, tables, lengths).
template <class A>
struct Case {
  std::string label;
  A op;
  std::function<void(A&)> init;
  double max_nmse = 0;  // instead of the spec's, where rounding to bfloat16 is part of the call
};
template <class A>
using CaseList = std::vector<Case<A>>;

// Which cases of an op are run and how.
struct ParityOptions {
  std::function<bool(const char* kernel, const std::string& label, size_t bytes)> wanted;  // bytes of all tensors; empty: every case
  bool device_guards = true;  // false on a device that watches its memory's bounds itself: tensors are then as large as they say
};
struct ParityReport {
  int run = 0, unsupported = 0;
  std::vector<std::string> failures;  // "rms_norm/avx512 3x63: nmse 1e-3 > 1e-11"
};
// One op as tests and benchmarks see it, its type forgotten.
struct OpEntry {
  const char* name;
  std::function<ParityReport(Device&, const ParityOptions&)> parity;              // all kernels that this device can run
  std::function<void(Device&, const std::function<void(const std::string& label, const char* kernel, size_t bytes, const std::function<void()>& call)>&)> bench;
};
inline std::vector<OpEntry>& op_registry() {
  static std::vector<OpEntry> v;
  return v;
}

// Owns the memory of one filled case on one device, with canaries around every tensor.
class CaseMemory {
 public:
  static constexpr size_t kGuard = 256;
  explicit CaseMemory(Device& d) : device_(d) {}
  void place(Tensor& t) {
    const size_t bytes = t.bytes();
    auto* base = static_cast<std::byte*>(device_.alloc(bytes + 2 * kGuard));
    CHECK(base != nullptr, bytes);
    blocks_.push_back({base, bytes});
    std::memset(base, 0xA5, bytes + 2 * kGuard);
    t.data = base + kGuard;
  }
  bool guards_intact() const {
    for (const auto& [base, bytes] : blocks_)
      for (size_t i = 0; i < kGuard; i++)
        if (base[i] != std::byte(0xA5) || base[kGuard + bytes + i] != std::byte(0xA5)) return false;
    return true;
  }
  ~CaseMemory() { for (auto& [base, bytes] : blocks_) device_.free(base, bytes + 2 * kGuard); }

 private:
  struct Block { std::byte* base; size_t bytes; };
  Device& device_;
  std::vector<Block> blocks_;
};

// Host memory for what a device with memory of its own is compared with.
class HostMemory final : public Device {
 public:
  HostMemory() : Device(Dev::kRef) {}
  void* alloc(size_t bytes) override { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }
  void free(void* p, size_t) override { std::free(p); }
};

// The tensors of a filled case, moved to a device with their guards, and back.
template <class A>
class DeviceCopy {
 public:
  DeviceCopy(Device& d, const A& host, bool guards = true) : device_(d), op_(host) {
    if (d.host_memory()) return;
    const size_t guard = guards ? CaseMemory::kGuard : 0;
    each([&](Tensor& t) {
      Moved m{t.as<std::byte>() - guard, nullptr, t.bytes() + 2 * guard};
      m.device = static_cast<std::byte*>(d.alloc(m.bytes));
      CHECK(m.device != nullptr, m.bytes);
      d.copy_in(m.device, m.host, m.bytes);
      t.data = m.device + guard;
      moved_.push_back(m);
    });
  }
  ~DeviceCopy() { for (const Moved& m : moved_) device_.free(m.device, m.bytes); }
  DeviceCopy(const DeviceCopy&) = delete;
  const A& op() const { return op_; }
  void bring_back() { for (const Moved& m : moved_) device_.copy_out(m.host, m.device, m.bytes); }

 private:
  struct Moved { std::byte *host, *device; size_t bytes; };
  void each(auto&& f) {
    auto g = [&](Tensor& t) { if (t.rank) f(t); };
    op_.fields(g, g, g);
  }
  Device& device_;
  A op_;
  std::vector<Moved> moved_;
};

// Random codes, but no NaN, and scales that make sums of K products near 1. Padding is zero; memory is.
inline void fill_random_quantised(const Tensor& t, std::mt19937& rng) {
  const int64_t K = t.cols(), N = t.outputs(), E = t.rank == 3 ? t.dim[0] : 1, p = pack_width(t.dtype);
  const bool mx = t.dtype == DType::kMxfp4;
  CHECK(t.layout == Layout::kPacked && (!mx || K % kMxfp4Group == 0), K);
  for (int64_t e = 0; e < E; e++)
    for (int64_t n = 0; n < N; n++) {
      uint8_t* panel = t.as<uint8_t>() + e * packed_bytes(N, K, t.dtype) + n / kPanel * panel_bytes(K, t.dtype);
      const int64_t row = n % kPanel;
      for (int64_t k = 0; k < K; k++) {
        uint8_t& byte = panel[(k / p * kPanel + row) * 4 + (mx ? k % p / 2 : k % p)];
        if (mx) byte = uint8_t(byte | (rng() & 15) << (k % 2 * 4));
        else byte = uint8_t((rng() & 0x80) | rng() % 0x60);
      }
      uint8_t* scales = panel + panel_lines(K, t.dtype) * 64;
      const double size = 1.0 / std::sqrt(double(K));
      if (mx)
        for (int64_t g = 0; g < K / kMxfp4Group; g++) scales[g * kPanel + row] = uint8_t(127 + int(std::log2(size)) - 1 + int(rng() % 3));
      else
        for (int64_t g = 0; g * kF8Group < K; g++) {
          const float scale = float(size * (0.5 + double(rng() % 1000) / 1000));
          std::memcpy(scales + (g * kPanel + row) * 4, &scale, sizeof scale);
        }
    }
}

// Random normal numbers; integers are zero (init sets them); padding of packed matrices is zero.
inline void fill_random(const Tensor& t, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::memset(t.data, 0, t.bytes());
  if (t.dtype == DType::kI32 || t.dtype == DType::kU8) return;
  if (is_quantised(t.dtype)) return fill_random_quantised(t, rng);
  const int64_t n = int64_t(t.bytes() / dtype_bytes(t.dtype));
  if (t.layout == Layout::kStrided) {
    for (int64_t i = 0; i < n; i++) store_f32(t.data, i, t.dtype, normal(rng));
    return;
  }
  const int64_t K = t.cols(), N = t.outputs(), E = t.rank == 3 ? t.dim[0] : 1;
  for (int64_t e = 0; e < E; e++)
    for (int64_t r = 0; r < N; r++)
      for (int64_t c = 0; c < K; c++)
        store_f32(t.data, e * packed_numel(N, K, t.dtype) + packed_index(r, c, K, t.dtype), t.dtype, normal(rng) / std::sqrt(float(K)));
}

template <class A>
struct OpSpec {
  void (*reference)(const A&);
  CaseList<A> (*cases)();
  double max_nmse;  // of each output; integers must be equal

  OpSpec(void (*r)(const A&), CaseList<A> (*c)(), double e) : reference(r), cases(c), max_nmse(e) {
    op_registry().push_back({A::kName, [this](Device& d, const ParityOptions& o) { return parity(d, o); }, [this](Device& d, const auto& each) { bench(d, each); }});
  }

  // Places and fills a copy of the case: the same seed gives the same numbers, so the reference's copy and the kernel's agree.
  static A materialise(const Case<A>& c, CaseMemory& mem, unsigned seed) {
    A a = c.op;
    std::mt19937 rng(seed);
    auto input = [&](Tensor& t) { if (t.rank) mem.place(t), fill_random(t, rng); };
    auto output = [&](Tensor& t) { if (t.rank) { mem.place(t); std::memset(t.data, 0x7F, t.bytes()); } };  // poisoned
    a.fields(input, input, output);
    if (c.init) c.init(a);
    return a;
  }

  ParityReport parity(Device& d, const ParityOptions& options) const {
    ParityReport rep;
    HostMemory memory;
    for (const Case<A>& c : cases()) {
      size_t bytes = 0;
      auto count = [&](Tensor& t) { if (t.rank) bytes += t.bytes(); };
      A(c.op).fields(count, count, count);
      const auto wanted = [&](const Kernel<A>* k) { return k->dev == d.kind() && (!options.wanted || options.wanted(k->name, c.label, bytes)); };
      if (std::none_of(Kernel<A>::all().begin(), Kernel<A>::all().end(), wanted)) continue;
      CaseMemory host(memory);
      A want = materialise(c, host, 1);
      bool computed = false;  // want
      for (const Kernel<A>* k : Kernel<A>::all()) {
        if (!wanted(k)) continue;
        CaseMemory mem(memory);
        A got = materialise(c, mem, 1);
        if (k->supports && !k->supports(got, d)) { rep.unsupported++; continue; }
        if (!std::exchange(computed, true)) reference(want);
        Status ran;
        {
          DeviceCopy<A> copy(d, got, options.device_guards);
          k->run(copy.op(), d);
          ran = d.sync();
          copy.bring_back();
        }
        rep.run++;
        const std::string where = std::string(A::kName) + "/" + k->name + " " + c.label + ": ";
        if (!ran.ok()) rep.failures.push_back(where + ran.error().text);
        std::vector<Tensor> w, g;
        auto collect_w = [&](Tensor& t) { if (t.rank) w.push_back(t); };
        auto collect_g = [&](Tensor& t) { if (t.rank) g.push_back(t); };
        auto skip = [](Tensor&) {};
        want.fields(skip, collect_w, collect_w);
        got.fields(skip, collect_g, collect_g);
        for (size_t i = 0; i < w.size(); i++) compare(w[i], g[i], c.max_nmse > 0 ? c.max_nmse : max_nmse, where, rep);
        if (!mem.guards_intact()) rep.failures.push_back(where + "wrote outside a tensor");
      }
    }
    return rep;
  }

  void bench(Device& d, const auto& each) const {
    HostMemory memory;
    for (const Case<A>& c : cases()) {
      CaseMemory mem(memory);
      const A host = materialise(c, mem, 1);
      DeviceCopy<A> copy(d, host);
      A a = copy.op();
      size_t bytes = 0;
      auto count = [&](Tensor& t) { if (t.rank) bytes += t.bytes(); };
      a.fields(count, count, count);
      for (const Kernel<A>* k : Kernel<A>::all())
        if ((k->dev == d.kind() || k->dev == Dev::kRef) && (!k->supports || k->supports(a, d)))
          each(c.label, k->name, bytes, [&] { k->run(a, d); });
    }
  }

 private:
  static void compare(const Tensor& w, const Tensor& g, double max_nmse, const std::string& where, ParityReport& rep) {
    CHECK(w.layout == Layout::kStrided);
    double err = 0, ref = 1e-30;
    bool exact = true;
    std::array<int64_t, 4> i{};
    for (i[0] = 0; i[0] < w.dim[0]; i[0]++)
      for (i[1] = 0; i[1] < w.dim[1]; i[1]++)
        for (i[2] = 0; i[2] < w.dim[2]; i[2]++)
          for (i[3] = 0; i[3] < w.dim[3]; i[3]++) {
            int64_t at = 0;
            for (int r = 0; r < w.rank; r++) at += i[size_t(r)] * w.stride[size_t(r)];
            if (w.dtype == DType::kI32) { exact &= w.as<int32_t>()[at] == g.as<int32_t>()[at]; continue; }
            const double a = load_f32(w.data, at, w.dtype), b = load_f32(g.data, at, g.dtype);
            if ((std::isinf(a) && a == b) || (std::isnan(a) && std::isnan(b))) continue;  // a NaN among inputs changed in place
            err += (a - b) * (a - b), ref += a * a;
          }
    if (!exact) rep.failures.push_back(where + "integers differ");
    if (!(err / ref <= max_nmse)) {  // also when NaN
      char s[64];
      std::snprintf(s, sizeof s, "nmse %.2e > %.0e", err / ref, max_nmse);
      rep.failures.push_back(where + s);
    }
  }
};

// Registers the reference as a kernel of the host, and the host as the last resort of other devices.
template <class A, void (*kReference)(const A&)>
const Kernel<A>* register_reference() {
  static const Kernel<A> k(Dev::kRef, "ref", 0, nullptr, [](const A& a, Device&) { kReference(a); });
  register_fallback<A>();
  return &k;
}

}  // namespace xylem
