// Weights that files hold as codes and scales.
#include <cmath>
#include <cstring>
#include <random>

#include "weights/test_loader.h"

namespace xylem {
namespace {

using testing::FakeModel;
using testing::FileBuilder;
using testing::has;

std::string random_bytes(int64_t n, int seed, uint8_t limit) {
  std::mt19937 random{unsigned(seed)};
  std::string s(size_t(n), '\0');
  for (char& c : s) c = char(random() % (limit + 1u));
  return s;
}

// Codes of any sign that are numbers.
std::string random_f8(int64_t n, int seed) {
  std::string s = random_bytes(n, seed, 255);
  for (char& c : s)
    if ((c & 0x7f) == 0x7f) c = 0x12;
  return s;
}

std::string random_scales(int64_t n, int seed, const std::string& dtype = "F32") {
  std::mt19937 random{unsigned(seed)};
  std::string s;
  for (int64_t i = 0; i < n; i++) {
    const float v = 0.25f * float(1 + random() % 16);
    const uint16_t half = dtype == "BF16" ? f32_to_bf16(v) : f32_to_f16(v);
    s.append(dtype == "F32" ? reinterpret_cast<const char*>(&v) : reinterpret_cast<const char*>(&half), dtype == "F32" ? 4 : 2);
  }
  return s;
}

int64_t blocks(int64_t n) { return (n + 127) / 128; }

// One float8 matrix of a file.
struct F8 {
  F8(int64_t n, int64_t k, int seed, std::string scale_dtype = "F32")
      : n(n), k(k), dtype(std::move(scale_dtype)), codes(random_f8(n * k, seed)), scales(random_scales(blocks(n) * blocks(k), seed + 1000, dtype)) {}
  int64_t n, k;
  std::string dtype, codes, scales;
  void add(FileBuilder& b, const std::string& name) const {
    b.add_bytes(name, "F8_E4M3", {n, k}, codes).add_bytes(name + "_scale_inv", dtype, {blocks(n), blocks(k)}, scales);
  }
  float value(int64_t r, int64_t c) const {
    const size_t at = size_t(r / 128 * blocks(k) + c / 128);
    float scale;
    uint16_t half;
    if (dtype == "F32") std::memcpy(&scale, scales.data() + at * 4, 4);
    else std::memcpy(&half, scales.data() + at * 2, 2), scale = dtype == "BF16" ? bf16_to_f32(half) : f16_to_f32(half);
    return f8e4m3_to_f32(uint8_t(codes[size_t(r * k + c)])) * scale;
  }
};

struct Quantised : testing::Loader {
  void load_ok(const std::function<void(ParamList&)>& declare) {
    FakeModel m(declare);
    auto w = load(m);
    ASSERT_TRUE(w.ok()) << w.error().text;
    weights_ = *std::move(w);
  }
  std::string error_of(const std::function<void(ParamList&)>& declare) {
    FakeModel m(declare);
    return load_error(m);
  }
  void expect_f8(const Tensor& t, int64_t e, int64_t first, const F8& f, int64_t from, int64_t rows) {
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < f.k; c++) ASSERT_EQ(packed_value(t, e, first + r, c), f.value(from + r, c)) << e << " row " << r << " column " << c;
  }
  LoadedWeights weights_;
};

TEST_F(Quantised, F8Matrices) {
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 1}, {16, 128}, {130, 127}, {257, 258}, {128, 512}, {40, 131}}) {
    for (const char* dtype : {"F32", "BF16", "F16"}) {
      const F8 f(n, k, int(n + k), dtype);
      FileBuilder b;
      f.add(b, "w.weight");
      write(b, 1);
      load_ok([&, n = n, k = k](ParamList& p) { p.matrix("w.weight", a_, n, k); });
      ASSERT_EQ(a_.dtype, DType::kF8E4M3);
      expect_f8(a_, 0, 0, f, 0, n);
      EXPECT_EQ(weights_.dtype_stored, "float8_e4m3");
      EXPECT_EQ(weights_.bytes, round_up(packed_bytes(n, k, DType::kF8E4M3), 64));
      EXPECT_FALSE(has(log_.text(), "ignored")) << "scales are used";
      // What is beyond the rows and columns is zero, the scales too.
      const auto* bytes = static_cast<const uint8_t*>(a_.data);
      for (int64_t row = n; row < round_up(n, 16); row++) {
        const uint8_t* panel = bytes + row / 16 * panel_bytes(k, a_.dtype);
        for (int64_t word = 0; word < panel_bytes(k, a_.dtype) / 64 * 16; word += 16) {
          uint32_t v;
          std::memcpy(&v, panel + (word + row % 16) * 4, 4);
          ASSERT_EQ(v, 0u);
        }
      }
      for (int64_t row = 0; row < n; row++)
        for (int64_t c = k; c < round_up(k, 4); c++) ASSERT_EQ(bytes[row / 16 * panel_bytes(k, a_.dtype) + (c / 4 * 16 + row % 16) * 4 + c % 4], 0);
    }
  }
}

TEST_F(Quantised, F8PartsKeepTheirOwnBlocks) {
  const F8 q(130, 200, 1), kv(70, 200, 2, "BF16");
  FileBuilder b;
  q.add(b, "q.weight"), kv.add(b, "kv.weight");
  write(b);
  load_ok([&](ParamList& p) { p.fused("qkv", a_, 200, {{"q.weight", 130}, {"kv.weight", 70}}); });
  ASSERT_EQ(a_.dtype, DType::kF8E4M3);
  expect_f8(a_, 0, 0, q, 0, 130);
  expect_f8(a_, 0, 130, kv, 0, 70);
}

TEST_F(Quantised, F8AndFloatPartsAreWidened) {
  const F8 q(130, 200, 1);
  FileBuilder b;
  q.add(b, "q.weight");
  b.add("kv.weight", "BF16", {70, 200}, 4);
  write(b);
  load_ok([&](ParamList& p) { p.fused("qkv", a_, 200, {{"q.weight", 130}, {"kv.weight", 70}}); });
  ASSERT_EQ(a_.dtype, DType::kF32);
  expect_f8(a_, 0, 0, q, 0, 130);
  testing::expect_rows(a_, 0, 130, 70, 4);
  EXPECT_PRED2(has, log_.text(), "qkv: its parts have different types and are widened to float32");
}

TEST_F(Quantised, F8ExpertsOneByOneAndFused) {
  const F8 gate[] = {{140, 130, 1}, {140, 130, 2}}, up[] = {{140, 130, 3}, {140, 130, 4}};
  FileBuilder b;
  for (int e = 0; e < 2; e++) {
    gate[e].add(b, "x." + std::to_string(e) + ".gate.weight");
    up[e].add(b, "x." + std::to_string(e) + ".up.weight");
  }
  write(b);
  load_ok([&](ParamList& p) { p.experts("x.all", a_, 2, 280, 130, {{"x.{e}.gate.weight", 140}, {"x.{e}.up.weight", 140}}); });
  for (int e = 0; e < 2; e++) {
    expect_f8(a_, e, 0, gate[e], 0, 140);
    expect_f8(a_, e, 140, up[e], 0, 140);
  }
  // Fused, each expert begins new blocks.
  write(FileBuilder().add_bytes("x.all", "F8_E4M3", {2, 140, 130}, gate[0].codes + gate[1].codes).add_bytes("x.all_scale_inv", "F32", {2, 2, 2}, gate[0].scales + gate[1].scales));
  load_ok([&](ParamList& p) { p.experts("x.all", a_, 2, 140, 130, {}); });
  for (int e = 0; e < 2; e++) expect_f8(a_, e, 0, gate[e], 0, 140);
}

TEST_F(Quantised, F8HeadsAreDequantised) {
  const F8 f(3 * 100, 150, 1);
  FileBuilder b;
  f.add(b, "kv_b.weight");
  b.add("w", "BF16", {1, 1}, 1);
  write(b);
  load_ok([&](ParamList& p) {
    p.matrix("w", d_, 1, 1), p.heads("kv_b.weight", a_, 3, 60, 150, {100, 0, false}), p.heads("kv_b.weight", b_, 3, 40, 150, {100, 60, false});
    p.heads("kv_b.weight", c_, 3, 60, 150, {100, 0, true});
  });
  ASSERT_EQ(a_.dtype, DType::kF32);
  for (int64_t h = 0; h < 3; h++) {
    expect_f8(a_, h, 0, f, h * 100, 60);
    expect_f8(b_, h, 0, f, h * 100 + 60, 40);
    for (int64_t r = 0; r < 60; r++)
      for (int64_t c = 0; c < 150; c++) ASSERT_EQ(packed_value(c_, h, c, r), f.value(h * 100 + r, c));
  }
}

TEST_F(Quantised, F8Errors) {
  const F8 f(130, 200, 1);
  const auto matrix = [&](ParamList& p) { p.matrix("w.weight", a_, 130, 200); };
  const auto with = [&](const std::string& codes, const std::string& dtype, std::vector<int64_t> shape, const std::string& scales) {
    write(FileBuilder().add_bytes("w.weight", "F8_E4M3", {130, 200}, codes).add_bytes("w.weight_scale_inv", dtype, std::move(shape), scales));
  };
  write(FileBuilder().add_bytes("w.weight", "F8_E4M3", {130, 200}, f.codes));
  EXPECT_PRED2(has, error_of(matrix), "tensor w.weight of type F8_E4M3 needs its scales w.weight_scale_inv, which are missing");
  with(f.codes, "F32", {2, 3}, random_scales(6, 1));
  EXPECT_PRED2(has, error_of(matrix), "tensor w.weight_scale_inv has the shape [2, 3], config.json asks for [2, 2]");
  with(f.codes, "U8", {2, 2}, "abcd");
  EXPECT_PRED2(has, error_of(matrix), "tensor w.weight_scale_inv has the type U8; scales are F32, BF16 or F16");
  const float bad[] = {1, 1, INFINITY, 1};
  with(f.codes, "F32", {2, 2}, std::string(reinterpret_cast<const char*>(bad), 16));
  EXPECT_PRED2(has, error_of(matrix), "tensor w.weight_scale_inv holds values that are not numbers");
  for (const size_t at : {size_t(0), size_t(777), f.codes.size() - 1}) {
    std::string codes = f.codes;
    codes[at] = at % 2 ? '\x7f' : '\xff';
    with(codes, "F32", {2, 2}, f.scales);
    EXPECT_PRED2(has, error_of(matrix), "tensor w.weight holds values that are not numbers") << at;
  }
  // Where rows are gathered, floats are needed.
  with(f.codes, "F32", {2, 2}, f.scales);
  EXPECT_PRED2(has, error_of([&](ParamList& p) { p.table("w.weight", a_, 130, 200); }), "tensor w.weight has the type F8_E4M3; BF16, F16 and F32 are supported here");
  EXPECT_PRED2(has, error_of([&](ParamList& p) { p.matrix("w.weight", a_, 130, 200), p.tied("head", b_, 130, 200, a_); }), "has the type F8_E4M3");
}

// Blocks and scales of random experts.
struct Mx {
  Mx(int64_t e, int64_t n, int64_t k, int seed) : e(e), n(n), k(k), codes(random_bytes(e * n * k / 2, seed, 255)), scales(random_bytes(e * n * k / 32, seed + 1, 254)) {}
  int64_t e, n, k;
  std::string codes, scales;
  void add(FileBuilder& b, const std::string& name) const {
    b.add_bytes(name + "_blocks", "U8", {e, n, k / 32, 16}, codes).add_bytes(name + "_scales", "U8", {e, n, k / 32}, scales);
  }
  float value(int64_t x, int64_t r, int64_t c) const {
    const int64_t row = x * n + r;
    const uint8_t pair = uint8_t(codes[size_t((row * k + c) / 2)]);
    return e2m1_to_f32(c % 2 ? pair >> 4 : pair & 15) * e8m0_to_f32(uint8_t(scales[size_t(row * (k / 32) + c / 32)]));
  }
};

TEST_F(Quantised, Mxfp4Experts) {
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{16, 32}, {6, 96}, {34, 64}, {50, 160}}) {
    for (const bool interleaved : {false, true}) {
      const Mx f(3, n, k, int(n + k));
      FileBuilder b;
      f.add(b, "m.x");
      write(b, 1);
      load_ok([&, n = n, k = k](ParamList& p) {
        p.also("y", "m.");
        Param& x = p.experts("yx", a_, 3, n, k, {});
        x.interleaved = interleaved, x.input_first = true;
      });
      ASSERT_EQ(a_.dtype, DType::kMxfp4);
      for (int64_t e = 0; e < 3; e++)
        for (int64_t r = 0; r < n; r++)
          for (int64_t c = 0; c < k; c++) {
            const int64_t row = !interleaved ? r : r < n / 2 ? 2 * r : 2 * (r - n / 2) + 1;
            ASSERT_EQ(packed_value(a_, e, r, c), f.value(e, row, c)) << e << " " << r << " " << c;
          }
      EXPECT_EQ(weights_.dtype_stored, "mxfp4");
      EXPECT_FALSE(has(log_.text(), "ignored"));
    }
  }
}

// The example of the format: 0x21, 0x9a with scale 128.
TEST_F(Quantised, Mxfp4WorkedExample) {
  write(FileBuilder().add_bytes("x_blocks", "U8", {1, 1, 1, 16}, "\x21\x9a" + std::string(14, '\0')).add_bytes("x_scales", "U8", {1, 1, 1}, "\x80"));
  load_ok([&](ParamList& p) { p.experts("x", a_, 1, 1, 32, {}); });
  for (int64_t k = 0; k < 32; k++) EXPECT_EQ(packed_value(a_, 0, 0, k), k == 0 ? 1 : k == 1 ? 2 : k == 2 ? -2 : k == 3 ? -1 : 0);
}

TEST_F(Quantised, Mxfp4Errors) {
  const Mx f(2, 20, 64, 1);
  const auto experts = [&](ParamList& p) { p.experts("x", a_, 2, 20, 64, {}); };
  write(FileBuilder().add_bytes("x_blocks", "U8", {2, 20, 2, 16}, f.codes));
  EXPECT_PRED2(has, error_of(experts), "tensor x_blocks of type U8 needs its scales x_scales, which are missing");
  write(FileBuilder().add_bytes("x_blocks", "U8", {2, 20, 2, 16}, f.codes).add_bytes("x_scales", "U8", {2, 2, 20}, f.scales));
  EXPECT_PRED2(has, error_of(experts), "tensor x_scales has the shape [2, 2, 20], config.json asks for [2, 20, 2]");
  write(FileBuilder().add_bytes("x_blocks", "U8", {2, 20, 4, 8}, f.codes).add_bytes("x_scales", "U8", {2, 20, 2}, f.scales));
  EXPECT_PRED2(has, error_of(experts), "tensor x_blocks has the shape [2, 20, 4, 8], config.json asks for [2, 20, 2, 16]");
  write(FileBuilder().add_bytes("x_blocks", "I8", {2, 20, 2, 16}, f.codes).add_bytes("x_scales", "U8", {2, 20, 2}, f.scales));
  EXPECT_PRED2(has, error_of(experts), "tensor x_blocks has the type I8; blocks of mxfp4 are U8");
  EXPECT_PRED2(has, error_of([&](ParamList& p) { p.experts("x", a_, 2, 20, 65, {}); }), "rows of 65, which is no multiple of 32");
  for (const size_t at : {size_t(0), size_t(41), f.scales.size() - 1}) {
    std::string scales = f.scales;
    scales[at] = '\xff';
    write(FileBuilder().add_bytes("x_blocks", "U8", {2, 20, 2, 16}, f.codes).add_bytes("x_scales", "U8", {2, 20, 2}, scales));
    EXPECT_PRED2(has, error_of(experts), "tensor x_scales holds values that are not numbers") << at;
  }
  write(FileBuilder().add_bytes("y", "U8", {1}, "a"));
  EXPECT_PRED2(has, error_of(experts), "has no tensor x.");
}

// Damaged headers load or fail; every number is read.
TEST_F(Quantised, FuzzedHeadersLoadOrFail) {
  const F8 f(20, 36, 1);
  const Mx x(2, 6, 32, 2);
  FileBuilder b;
  f.add(b, "w"), x.add(b, "x");
  b.add("bias", "BF16", {2, 6}, 1);
  const std::string good = b.bytes();
  uint64_t header;
  std::memcpy(&header, good.data(), 8);
  FakeModel m([&](ParamList& p) {
    p.matrix("w", a_, 20, 36), p.heads("w", b_, 4, 3, 36, {5, 1, true});
    p.experts("x", c_, 2, 6, 32, {}).interleaved = true;
    p.floats("bias", d_, {2, 6}).interleaved = true;
  });
  std::mt19937 random(12);
  int loaded = 0;
  volatile float sum = 0;
  for (int round = 0; round < 2000; round++) {
    std::string s = good;
    s[8 + random() % header] = "0123456789,[]{}\"BFU"[random() % 19];
    dir_.write("model.safetensors", s);
    auto w = load(m);
    ASSERT_TRUE(w.ok() || !w.error().text.empty()) << s;
    if (!w.ok()) continue;
    loaded++;
    for (int64_t i = 0; i < 20 * 36; i++) sum = sum + packed_value(a_, 0, i / 36, i % 36);
    for (int64_t i = 0; i < 6 * 32; i++) sum = sum + packed_value(c_, 1, i / 32, i % 32);
    for (int64_t i = 0; i < 3 * 36; i++) sum = sum + packed_value(b_, 3, i / 3, i % 3);
  }
  EXPECT_GT(loaded, 10);
}

// ---- random weights ----

struct Moments { double mean, deviation; };
template <class F>
Moments moments(int64_t n, F value) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; i++) sum += value(i), squares += value(i) * value(i);
  return {sum / double(n), std::sqrt(squares / double(n) - sum / double(n) * sum / double(n))};
}
Moments moments(const Tensor& t) {
  return moments(t.numel(), [&](int64_t i) { return double(packed_value(t, i / t.cols() / t.outputs(), i / t.cols() % t.outputs(), i % t.cols())); });
}

TEST_F(Quantised, RandomWeightsOfTheTypesOfReleases) {
  Tensor x, small, router, head, embed, tied;
  FakeModel m([&](ParamList& p) {
    p.matrix("w", a_, 2000, 256), p.experts("x", x, 2, 130, 128, {}), p.matrix("small", small, 300, 96), p.matrix("mlp.gate.weight", router, 256, 256);
    p.matrix("embed", embed, 256, 128), p.tied("tied", tied, 256, 128, embed);
    p.logits_only(true), p.matrix("head", head, 256, 128);
  });
  LoadOptions options;
  options.dummy = true, options.dummy_type = DType::kF8E4M3;
  auto w = load(m, options);
  ASSERT_TRUE(w.ok()) << w.error().text;
  for (const Tensor* t : {&a_, &x}) {
    EXPECT_EQ(t->dtype, DType::kF8E4M3);
    EXPECT_NEAR(moments(*t).deviation * std::sqrt(double(t->cols())), 1, 0.05);
    EXPECT_NEAR(moments(*t).mean, 0, 0.002);
  }
  for (const Tensor* t : {&small, &router, &head, &embed}) EXPECT_EQ(t->dtype, DType::kBF16);
  EXPECT_EQ(w->dtype_stored, "float8_e4m3");
  options.dummy_type = DType::kMxfp4;
  auto mx = load(m, options);
  ASSERT_TRUE(mx.ok()) << mx.error().text;
  EXPECT_EQ(x.dtype, DType::kMxfp4);
  EXPECT_EQ(a_.dtype, DType::kBF16);
  EXPECT_NEAR(moments(x).deviation * std::sqrt(128.0), 1, 0.4) << "scales are powers of two";
  EXPECT_NE(packed_value(x, 1, 129, 127), 0);
}

TEST_F(Quantised, RandomHeadsArePartsOfOneMatrix) {
  for (const DType type : {DType::kBF16, DType::kF8E4M3}) {
    FakeModel m([&](ParamList& p) { p.heads("kv_b", a_, 3, 50, 70, {60, 0, false}), p.heads("kv_b", b_, 3, 50, 70, {60, 0, true}), p.heads("kv_b", c_, 3, 20, 70, {60, 40, false}); });
    LoadOptions options;
    options.dummy = true, options.dummy_type = type;
    auto w = load(m, options);
    ASSERT_TRUE(w.ok()) << w.error().text;
    EXPECT_EQ(a_.dtype, type == DType::kBF16 ? DType::kBF16 : DType::kF32);
    for (int64_t h = 0; h < 3; h++)
      for (int64_t k = 0; k < 70; k++) {
        for (int64_t r = 0; r < 50; r++) ASSERT_EQ(packed_value(a_, h, r, k), packed_value(b_, h, k, r));
        for (int64_t r = 0; r < 10; r++) ASSERT_EQ(packed_value(a_, h, 40 + r, k), packed_value(c_, h, r, k));
      }
    testing::expect_zero_padding(a_);
    testing::expect_zero_padding(b_);
    EXPECT_NEAR(moments(a_).deviation * std::sqrt(70.0), 1, 0.05);
  }
}

TEST_F(Quantised, RandomVectorsAreAsTheirParameterSays) {
  FakeModel m([&](ParamList& p) {
    Param& bias = p.floats("bias", a_, {40, 100});
    bias.dummy_mean = -3, bias.dummy_spread = 2, bias.scale = 0.5f;
  });
  LoadOptions options;
  options.dummy = true;
  auto w = load(m, options);
  ASSERT_TRUE(w.ok()) << w.error().text;
  const Moments v = moments(4000, [&](int64_t i) { return double(a_.as<>()[i]); });
  EXPECT_NEAR(v.mean, -1.5, 0.1);
  EXPECT_NEAR(v.deviation, 1, 0.1);
}

}  // namespace
}  // namespace xylem
