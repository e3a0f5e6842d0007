// Layers with a recurrent state beside the projections of the same layer: Gated DeltaNet of Qwen3.5-4B and Kimi Delta
// Attention of Kimi-Linear. Prefill in shares of the projections' time and of the float32 peak, decode in bytes of
// state read and written beside the read bandwidth. Everything that is compared is timed in turns.
//   delta_bench [threads] [isa] [prefill|decode|crossing]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "device/cpu/roof.h"
#include "ops/causal_conv/causal_conv.h"
#include "ops/gated_delta/gated_delta.h"
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

// Seconds of one call.
double time_of(double at_least, const std::function<void()>& call) {
  const double start = now();
  int64_t calls = 0;
  do call(), calls++;
  while (now() - start < at_least);
  return (now() - start) / double(calls);
}

class Memory {
 public:
  explicit Memory(CpuDevice& d) : device_(d) {}
  // Numbers around zero, of the given size.
  Tensor place(Tensor t, float size = 1) {
    buffers_.emplace_back(device_, t.bytes());
    CHECK(bool(buffers_.back()), t.bytes());
    t.data = buffers_.back().data();
    const int64_t n = int64_t(t.bytes() / dtype_bytes(t.dtype));
    for (int64_t i = 0; i < n; i++) {
      random_ = random_ * 1664525u + 1013904223u;
      store_f32(t.data, i, t.dtype, size * float(int32_t(random_)) * 0x1p-31f);
    }
    return t;
  }
  Tensor integers(const std::vector<int32_t>& v) {
    const Tensor t = place(shape({int64_t(v.size())}, DType::kI32));
    std::copy(v.begin(), v.end(), t.as<int32_t>());
    return t;
  }

 private:
  CpuDevice& device_;
  std::vector<Buffer> buffers_;
  uint32_t random_ = 1;
};

// One layer: rows of `tokens` new tokens each, in `layers` layers' states, which they update in place.
struct Layer {
  Shape s;
  Memory memory;
  CausalConv conv;
  GatedDelta delta;
  int64_t layers, state_floats, past_floats;

  Layer(CpuDevice& d, const Shape& shape_, int64_t batch, int64_t tokens, int64_t n_layers)
      : s(shape_), memory(d), layers(n_layers) {
    const int64_t T = batch * tokens, C = s.channels(), Hv = s.value_heads;
    state_floats = Hv * kDim * kDim, past_floats = (kTaps - 1) * C;
    std::vector<int32_t> blocks, cu{0}, len;
    for (int32_t b = 0; b < batch; b++)
      blocks.push_back(b), cu.push_back(cu.back() + int32_t(tokens)), len.push_back(int32_t(tokens));
    StateCache state;
    state.block_tokens = int(tokens), state.state_in = memory.integers(blocks), state.cu_q = memory.integers(cu),
    state.kv_len = memory.integers(len);
    state.table = memory.integers(blocks), state.table.dim = {batch, 1, 1, 1}, state.table.stride = {1, 1, 0, 1},
    state.table.rank = 2;
    conv = {memory.place(shape({T, C})), memory.place(shape({C, kTaps})), state, memory.place(shape({T, C}))};
    conv.state.pool = memory.place(shape({batch, layers * past_floats}));
    auto heads = [&](int64_t first, int64_t n) {
      Tensor t = conv.y;
      t.data = conv.y.as() + first * kDim, t.rank = 3, t.dim = {T, n, kDim, 1}, t.stride = {C, kDim, 1, 1};
      return t;
    };
    delta.q = heads(0, s.key_heads), delta.k = heads(s.key_heads, s.key_heads), delta.v = heads(2 * s.key_heads, Hv);
    delta.a = memory.place(shape({T, s.gates()})), delta.b = memory.place(shape({T, Hv}));
    delta.a_log = memory.place(shape({Hv})), delta.dt_bias = memory.place(shape({s.gates()}));
    delta.state = state, delta.state.pool = memory.place(shape({batch, layers * state_floats}));
    delta.y = memory.place(shape({T, Hv, kDim}));
  }
  void at(int64_t layer) { conv.state.offset = layer * past_floats, delta.state.offset = layer * state_floats; }
};

// The products of a layer with its weights.
struct Projections {
  Memory memory;
  std::vector<MatMul> products;
  double flops = 0;

  Projections(CpuDevice& d, const Shape& s, int64_t T) : memory(d) {
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

void prefill(CpuDevice& d, Roof& roof, const Shape& s, int64_t tokens) {
  Stream stream(d);
  Layer l(d, s, 1, tokens, 1);
  Projections p(d, kGdn, tokens);
  std::vector<double> peak, projections, conv, delta;
  p.run(stream), stream.run(l.conv), stream.run(l.delta);
  for (int i = 0; i < 5; i++) {
    peak.push_back(roof.f32_gflops());
    projections.push_back(time_of(0, [&] { p.run(stream); }));
    conv.push_back(time_of(0.1, [&] { stream.run(l.conv); }));
    delta.push_back(time_of(0.1, [&] { stream.run(l.delta); }));
  }
  const double tp = median(projections), tc = median(conv), td = median(delta), top = median(peak),
               flops = chunk_flops(s, double(tokens));
  std::printf(
      "%s prefill %5ld tokens  projections %8.2f ms %6.1f GFLOP/s | conv %7.2f ms %5.1f GB/s | delta %7.2f ms %6.1f "
      "GFLOP/s = %4.1f %% of %5.1f | (conv + delta) / projections %.3f\n",
      s.name, long(tokens), tp * 1e3, p.flops / tp / 1e9, tc * 1e3, 8.0 * double(tokens * s.channels()) / tc / 1e9,
      td * 1e3, flops / td / 1e9, 100 * flops / td / 1e9 / top, top, (tc + td) / tp);
}

void decode(CpuDevice& d, Roof& roof, const Shape& s, int64_t batch) {
  Stream stream(d);
  const int64_t layers = 512 / batch;  // 1 GiB of states: none is still in a cache when it is read again
  Layer l(d, s, batch, 1, layers);
  std::vector<double> read, conv, delta;
  for (int i = 0; i < 6; i++) {
    read.push_back(roof.read_gbs());
    int64_t layer = 0;
    auto each = [&](auto& op) { return [&] { l.at(layer++ % layers), stream.run(op); }; };
    delta.push_back(time_of(0.3, each(l.delta)));
    conv.push_back(time_of(0.1, each(l.conv)));
  }
  const double tc = median(conv), td = median(delta), top = median(read);
  const double state = 4.0 * double(batch * l.state_floats),
               past = 4.0 * double(batch * (2 * l.past_floats + 2 * s.channels()) + s.channels() * kTaps);
  std::printf(
      "%s decode  batch %2ld  delta %8.1f us: state read %5.1f GB/s, read and written %5.1f GB/s = %5.1f %% of read "
      "%5.1f | conv %7.1f us %5.1f GB/s\n",
      s.name, long(batch), td * 1e6, state / td / 1e9, 2 * state / td / 1e9, 200 * state / td / 1e9 / top, top,
      tc * 1e6, past / tc / 1e9);
}

// Short rows, each with a state of its own: where the chunked form overtakes the steps.
void crossing(CpuDevice& d, const Shape& s) {
  Stream stream(d);
  for (int64_t tokens : {1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64}) {
    const int64_t layers = 64;
    Layer l(d, s, 1, tokens, layers);
    std::vector<double> delta;
    for (int i = 0; i < 7; i++) {
      int64_t layer = 0;
      delta.push_back(time_of(0.05, [&] { l.at(layer++ % layers), stream.run(l.delta); }));
    }
    std::printf("%s row of %2ld tokens  %8.1f us, %7.1f us a token\n", s.name, long(tokens), median(delta) * 1e6,
                median(delta) * 1e6 / double(tokens));
  }
}

int bench(int argc, char** argv) {
  const Result<Isa> isa = parse_isa(argc > 2 ? argv[2] : "auto");
  if (!isa.ok()) return std::fprintf(stderr, "%s\n", isa.error().text.c_str()), 2;
  CpuDevice d(argc > 1 ? std::atoi(argv[1]) : 2, *isa);
  Roof roof(d);
  if (!roof) return std::fprintf(stderr, "no memory for the bandwidth probe\n"), 1;
  const std::string part = argc > 3 ? argv[3] : "";
  for (const Shape& s : {kGdn, kKda}) {
    if (part.empty() || part == "prefill")
      for (int64_t tokens : {512, 4096}) prefill(d, roof, s, tokens);
    if (part.empty() || part == "decode")
      for (int64_t batch : {1, 4, 16}) decode(d, roof, s, batch);
    if (part.empty() || part == "crossing") crossing(d, s);
  }
  return 0;
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return xylem::bench(argc, argv);
}
