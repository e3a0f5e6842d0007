// Vectors of the compiler: whatever the machine's baseline has.
#include <cstring>
#include <utility>

#include "ops/matmul/matmul_product.h"
#include "ops/matmul/matmul_tile.h"

namespace xylem {
namespace {

struct Plain {
  typedef float Four __attribute__((vector_size(16)));
  struct Vec {
    Four v[4];
  };
  using One = Four;
  static constexpr int kGroup = 0;
  static constexpr int kRows = 2, kPanels = 1;
  static Vec zero() { return {}; }
  static Vec load(const float* p) {
    Vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
  static Vec add(Vec a, Vec b) { return {{a.v[0] + b.v[0], a.v[1] + b.v[1], a.v[2] + b.v[2], a.v[3] + b.v[3]}}; }
  static Vec mac(One x, Vec w, Vec c) {
    return {{x * w.v[0] + c.v[0], x * w.v[1] + c.v[1], x * w.v[2] + c.v[2], x * w.v[3] + c.v[3]}};
  }
  static Vec fold(Vec sum, Vec scale, Vec c) {
    for (int i = 0; i < 4; i++) c.v[i] = sum.v[i] * scale.v[i] + c.v[i];
    return c;
  }
};

template <DType kType>
struct Fma : Plain {
  using X = float;
  static constexpr int kPerLine = int(pack_width(kType)), kSub = kPerLine;
  static One x(const X* row, int64_t i, int s) {
    const float f = row[kPerLine * i + s];
    return One{f, f, f, f};
  }
  static Vec w(const std::byte* line, int s) {
    if constexpr (kType == DType::kF32) return load(reinterpret_cast<const float*>(line));
    if constexpr (kType == DType::kBF16) {
      typedef uint32_t Bits __attribute__((vector_size(16)));
      Bits b[4];
      std::memcpy(b, line, sizeof b);
      for (Bits& v : b) v = s ? v & 0xffff0000u : v << 16;
      Vec out;
      std::memcpy(&out, b, sizeof out);
      return out;
    }
    float f[kPanel];
    for (int j = 0; j < kPanel; j++) {
      uint16_t h;
      std::memcpy(&h, line + 4 * j + 2 * s, sizeof h);
      f[j] = f16_to_f32(h);
    }
    return load(f);
  }
};
template <DType kWeights>
struct Scaled : Plain {
  using X = float;
  static constexpr DType kType = kWeights;
  static constexpr bool kMx = kType == DType::kMxfp4;
  static constexpr int kPerLine = int(pack_width(kType)), kSub = kPerLine, kGroup = int(kMx ? kMxfp4Group : kF8Group);
  static One x(const X* row, int64_t i, int s) {
    const float f = row[kPerLine * i + s];
    return One{f, f, f, f};
  }
  static Vec w(const std::byte* line, int s) {
    float f[kPanel];
    for (int j = 0; j < kPanel; j++) {
      const auto byte = uint8_t(line[4 * j + (kMx ? s / 2 : s)]);
      f[j] = kMx ? e2m1_to_f32(byte >> (s % 2 * 4) & 15) : f8e4m3_to_f32(byte);
    }
    return load(f);
  }
  static Vec scale(const std::byte* scales, int64_t g) {
    if constexpr (!kMx) return load(reinterpret_cast<const float*>(scales) + kPanel * g);
    float f[kPanel];
    for (int j = 0; j < kPanel; j++) f[j] = e8m0_to_f32(uint8_t(scales[kPanel * g + j]));
    return load(f);
  }
};

}  // namespace

const MicroTable& portable_micros() {
  return make_table<Fma<DType::kBF16>, Fma<DType::kF16>, Fma<DType::kF32>, Scaled<DType::kF8E4M3>,
                    Scaled<DType::kMxfp4>>();
}

namespace {
const Kernel<MatMul> kernel(Dev::kCpu, "portable", 10, nullptr, [](const MatMul& a, Device& d) {
  run_matmul(a, d, table_micro(portable_micros(), a.w.dtype, a.round_x));
});
}  // namespace
}  // namespace xylem
