// Layers with a recurrent state beside the projections of the same layer: Gated DeltaNet of Qwen3.5-4B and Kimi Delta
// Attention of Kimi-Linear. Prefill in shares of the projections' time and of the float32 peak, decode in bytes of
// state read and written beside the read bandwidth, as one op and as the two that it is made of. Everything that is
// compared is timed in turns.
//   delta_bench [--device cpu|opencl:N] [threads] [isa] [prefill|decode|crossing]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "device/cpu/roof.h"
#include "device/opencl/opencl_device.h"
#include "ops/delta_step/delta_step.h"
#include "ops/matmul/matmul.h"

namespace xylem {
namespace {

constexpr int64_t kTaps = 4, kDim = 128, kHidden = 2560;

struct Shape {
  const char* name;
  int64_t key_heads, value_heads;
  bool per_channel;
  int64_t channels() const { return (2 * key_heads + value_heads) * kDim; }
  int64_t gates() const { return per_channel ? value_heads * kDim : value_heads; }
};
constexpr Shape kGdn{"gdn", 16, 32, false}, kKda{"kda", 32, 32, true};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// Seconds of one call; several at once, as a device with a queue needs.
double time_of(Device& d, double at_least, const std::function<void()>& call) {
  CHECK(d.sync().ok());
  const double start = now();
  int64_t calls = 0, more = 1;
  do {
    for (int64_t i = 0; i < more; i++) call();
    CHECK(d.sync().ok());
    calls += more, more = calls;
  } while (now() - start < at_least);
  return (now() - start) / double(calls);
}

// The device that is measured, and what it can do at most.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual Device& device() = 0;
  virtual double read_gbs() = 0;
  virtual double f32_gflops() = 0;  // 0: unknown
};

class CpuMachine final : public Machine {
 public:
  CpuMachine(int threads, Isa isa) : device_(threads, isa), roof_(device_) {
    CHECK(bool(roof_));  // memory for the probe
  }
  Device& device() override { return device_; }
  double read_gbs() override { return roof_.read_gbs(); }
  double f32_gflops() override { return roof_.f32_gflops(); }

 private:
  CpuDevice device_;
  Roof roof_;
};

constexpr const char* kReadSource = R"(
__attribute__((reqd_work_group_size(256, 1, 1))) __kernel void read_all(__global const float4* p, int rounds, __global float* out) {
  float4 sum = (float4)(0.0f);
  for (int i = 0; i < rounds; ++i) {
    const __global float4* at = p + ((long)get_group_id(0) * rounds + i) * 256 * 8 + get_local_id(0);
    float4 x[8];
    _Pragma("unroll") for (int u = 0; u < 8; ++u) x[u] = at[u * 256];
    _Pragma("unroll") for (int u = 0; u < 8; ++u) sum += x[u];
  }
  if (sum.x + sum.y + sum.z + sum.w == 1.0f) out[0] = 1.0f;
}
)";

class GpuMachine final : public Machine {
 public:
  explicit GpuMachine(std::unique_ptr<OpenClDevice> d) : device_(std::move(d)), memory_(*device_, kBytes), out_(*device_, 256) {
    CHECK(bool(memory_) && bool(out_));
    program_ = device_->program_from("read_all", kReadSource, "");
    kernel_ = program_ ? device_->new_kernel(program_, "read_all") : nullptr;
    CHECK(kernel_ != nullptr);
  }
  Device& device() override { return *device_; }
  double read_gbs() override {
    const int rounds = int(kBytes / (kGroups * 256 * 8 * 16));
    device_->bind_arguments(kernel_, memory_.data(), rounds, out_.data());
    const double t = time_of(*device_, 0.05, [&] { device_->enqueue_bound(kernel_, {{kGroups, 1, 1}, 256}); });
    return double(kGroups) * rounds * 256 * 8 * 16 / t / 1e9;
  }
  double f32_gflops() override { return 0; }

 private:
  static constexpr size_t kBytes = size_t(1) << 30, kGroups = 2048;
  std::unique_ptr<OpenClDevice> device_;
  Buffer memory_, out_;
  cl_program program_ = nullptr;
  cl_kernel kernel_ = nullptr;
};

class Memory {
 public:
  explicit Memory(Device& d) : device_(d) {}
  // Numbers around zero, of the given size.
  Tensor place(Tensor t, float size = 1) {
    buffers_.emplace_back(device_, t.bytes());
    CHECK(bool(buffers_.back()), t.bytes());
    t.data = buffers_.back().data();
    const int64_t n = int64_t(t.bytes() / dtype_bytes(t.dtype));
    std::vector<std::byte> numbers(std::min(t.bytes(), kPart));
    for (int64_t i = 0; i < int64_t(numbers.size() / dtype_bytes(t.dtype)); i++) {
      random_ = random_ * 1664525u + 1013904223u;
      store_f32(numbers.data(), i, t.dtype, size * float(int32_t(random_)) * 0x1p-31f);
    }
    const size_t bytes = size_t(n) * dtype_bytes(t.dtype);
    for (size_t at = 0; at < bytes; at += kPart) device_.copy_in(t.as<std::byte>() + at, numbers.data(), std::min(kPart, bytes - at));
    return t;
  }
  Tensor integers(const std::vector<int32_t>& v) {
    const Tensor t = place(shape({int64_t(v.size())}, DType::kI32));
    device_.copy_in(t.data, v.data(), v.size() * sizeof(int32_t));
    return t;
  }

 private:
  static constexpr size_t kPart = size_t(1) << 26;  // the same numbers again in each of such parts
  Device& device_;
  std::vector<Buffer> buffers_;
  uint32_t random_ = 1;
};

// One layer: rows of `tokens` new tokens each, in `layers` layers' states, which they update in place.
struct Layer {
  Shape s;
  Memory memory;
  CausalConv conv;
  GatedDelta delta;
  DeltaStep step;  // both, for rows of one token
  int64_t layers, state_floats, past_floats;

  Layer(Device& d, const Shape& shape_, int64_t batch, int64_t tokens, int64_t n_layers)
      : s(shape_), memory(d), layers(n_layers) {
    const int64_t T = batch * tokens, C = s.channels(), Hv = s.value_heads;
    state_floats = Hv * kDim * kDim, past_floats = kTaps * C;
    std::vector<int32_t> blocks, cu{0}, len;
    for (int32_t b = 0; b < batch; b++)
      blocks.push_back(b), cu.push_back(cu.back() + int32_t(tokens)), len.push_back(int32_t(tokens));
    StateCache state;
    state.block_tokens = int(tokens), state.state_in = memory.integers(blocks), state.cu_q = memory.integers(cu),
    state.kv_len = memory.integers(len);
    state.table = memory.integers(blocks), state.table.dim = {batch, 1, 1, 1}, state.table.stride = {1, 1, 0, 1},
    state.table.rank = 2;
    conv = {memory.place(shape({T, C})), memory.place(shape({C, kTaps})), state, memory.place(shape({T, C}))};
    conv.state.pool = memory.place(shape({batch, layers * (past_floats + state_floats)}));
    auto heads = [&](int64_t first, int64_t n) {
      Tensor t = conv.y;
      t.data = conv.y.as() + first * kDim, t.rank = 3, t.dim = {T, n, kDim, 1}, t.stride = {C, kDim, 1, 1};
      return t;
    };
    delta.q = heads(0, s.key_heads), delta.k = heads(s.key_heads, s.key_heads), delta.v = heads(2 * s.key_heads, Hv);
    delta.a = memory.place(shape({T, s.gates()})), delta.b = memory.place(shape({T, Hv}));
    delta.a_log = memory.place(shape({Hv})), delta.dt_bias = memory.place(shape({s.gates()}));
    delta.state = conv.state;
    delta.y = memory.place(shape({T, Hv, kDim}));
    step = {conv.x, conv.w, delta.a, delta.b, delta.a_log, delta.dt_bias, conv.state, past_floats, s.key_heads, delta.y};
    at(0);
  }
  void at(int64_t layer) {
    conv.state.offset = step.state.offset = layer * (past_floats + state_floats);
    delta.state.offset = conv.state.offset + past_floats;
  }
};

// The products of a layer with its weights.
struct Projections {
  Memory memory;
  std::vector<MatMul> products;
  double flops = 0;

  Projections(Device& d, const Shape& s, int64_t T) : memory(d) {
    const int64_t out = s.value_heads * kDim;
    const Tensor x = memory.place(shape({T, kHidden})), o = memory.place(shape({T, out}));
    auto add = [&](const Tensor& in, int64_t n) {
      products.push_back(
          {in, memory.place(packed_shape({n, in.cols()}, DType::kBF16), 0.02f), {}, memory.place(shape({T, n})), true});
      flops += 2.0 * double(T) * double(n) * double(in.cols());
    };
    for (int64_t n : {s.channels(), out, s.value_heads, s.value_heads}) add(x, n);
    add(o, kHidden);
  }
  void run(Stream& stream) {
    for (const MatMul& m : products) stream.run(m);
  }
};

// Multiplications and additions of the chunked form with one decay per head: the products of matrices.
double chunk_flops(const Shape& s, double tokens) {
  const double c = 64, k = kDim, v = kDim;
  return 2 * tokens / c * double(s.value_heads) * (2 * c * k * v + 2 * c * c / 2 * k + 2 * c * c / 2 * v + c * k * v);
}

void prefill(Machine& m, const Shape& s, int64_t tokens) {
  Device& d = m.device();
  Stream stream(d);
  Layer l(d, s, 1, tokens, 1);
  Projections p(d, kGdn, tokens);
  std::vector<double> peak, projections, conv, delta;
  p.run(stream), stream.run(l.conv), stream.run(l.delta);
  for (int i = 0; i < 5; i++) {
    peak.push_back(m.f32_gflops());
    projections.push_back(time_of(d, 0, [&] { p.run(stream); }));
    conv.push_back(time_of(d, 0.1, [&] { stream.run(l.conv); }));
    delta.push_back(time_of(d, 0.1, [&] { stream.run(l.delta); }));
  }
  const double tp = median(projections), tc = median(conv), td = median(delta), top = median(peak),
               flops = chunk_flops(s, double(tokens));
  std::printf(
      "%s prefill %5ld tokens  projections %8.2f ms %6.1f GFLOP/s | conv %7.2f ms %5.1f GB/s | delta %7.2f ms %6.1f "
      "GFLOP/s = %4.1f %% of %5.1f | (conv + delta) / projections %.3f\n",
      s.name, long(tokens), tp * 1e3, p.flops / tp / 1e9, tc * 1e3, 8.0 * double(tokens * s.channels()) / tc / 1e9,
      td * 1e3, flops / td / 1e9, top > 0 ? 100 * flops / td / 1e9 / top : NAN, top, (tc + td) / tp);
}

void decode(Machine& m, const Shape& s, int64_t batch) {
  Device& d = m.device();
  Stream stream(d);
  const int64_t layers = 512 / batch;  // 1 GiB of states: none is still in a cache when it is read again
  Layer l(d, s, batch, 1, layers);
  std::vector<double> read, step, two;
  for (int i = 0; i < 6; i++) {
    read.push_back(m.read_gbs());
    int64_t layer = 0;
    auto next = [&] { l.at(layer++ % layers); };
    step.push_back(time_of(d, 0.3, [&] { next(), stream.run(l.step); }));
    two.push_back(time_of(d, 0.3, [&] { next(), stream.run(l.conv), stream.run(l.delta); }));
  }
  const double ts = median(step), top = median(read);
  // States are read and written; of the convolution's inputs three are read and one is written, beside what goes in.
  const double bytes = 4.0 * double(batch * (2 * l.state_floats + (kTaps + 1) * s.channels()) + s.channels() * kTaps);
  std::printf(
      "%s decode  batch %2ld  %8.1f us: %7.2f MB %7.1f GB/s = %5.1f %% of read %6.1f | as two ops %8.1f us\n",
      s.name, long(batch), ts * 1e6, bytes / 1e6, bytes / ts / 1e9, 100 * bytes / ts / 1e9 / top, top, median(two) * 1e6);
}

// Short rows, each with a state of its own: where the chunked form overtakes the steps.
void crossing(Machine& m, const Shape& s) {
  Device& d = m.device();
  Stream stream(d);
  for (int64_t tokens : {1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64}) {
    const int64_t layers = 64;
    Layer l(d, s, 1, tokens, layers);
    std::vector<double> delta;
    for (int i = 0; i < 7; i++) {
      int64_t layer = 0;
      delta.push_back(time_of(d, 0.05, [&] { l.at(layer++ % layers), stream.run(l.delta); }));
    }
    std::printf("%s row of %2ld tokens  %8.1f us, %7.1f us a token\n", s.name, long(tokens), median(delta) * 1e6,
                median(delta) * 1e6 / double(tokens));
  }
}

Result<std::unique_ptr<Machine>> machine(const std::string& device, int threads, Isa isa) {
  if (device == "cpu") return std::unique_ptr<Machine>(std::make_unique<CpuMachine>(threads, isa));
  for (const OpenClInfo& info : opencl_devices()) {
    if (device != "opencl:" + std::to_string(info.index)) continue;
    if (!info.problem.empty()) return unsupported(info.name + ": " + info.problem);
    TRY(auto opened, OpenClDevice::open(info));
    return std::unique_ptr<Machine>(std::make_unique<GpuMachine>(std::move(opened)));
  }
  return unsupported("there is no device " + device);
}

int bench(std::vector<std::string> args) {
  std::string device = "cpu";
  if (args.size() > 1 && args[0] == "--device") device = args[1], args.erase(args.begin(), args.begin() + 2);
  const Result<Isa> isa = parse_isa(args.size() > 1 ? args[1] : "auto");
  if (!isa.ok()) return std::fprintf(stderr, "%s\n", isa.error().text.c_str()), 2;
  const auto found = machine(device, args.empty() ? 2 : std::atoi(args[0].c_str()), *isa);
  if (!found.ok()) return std::fprintf(stderr, "%s\n", found.error().text.c_str()), 1;
  Machine& m = **found;
  const std::string part = args.size() > 2 ? args[2] : "";
  for (const Shape& s : {kGdn, kKda}) {
    if (part.empty() || part == "prefill")
      for (int64_t tokens : {512, 4096}) prefill(m, s, tokens);
    if (part.empty() || part == "decode")
      for (int64_t batch : {1, 4, 16}) decode(m, s, batch);
    if (part.empty() || part == "crossing") crossing(m, s);
  }
  return 0;
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return xylem::bench({argv + 1, argv + argc});
}
