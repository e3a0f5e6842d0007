#include "weights/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace xylem {
namespace {

// A packed panel is the transpose of 16 rows of 32-bit words: pairs of 16-bit numbers, or float32. Vector types of the
// compiler instead of intrinsics: this is no kernel, but it must keep up with memory.
using Words = uint32_t __attribute__((vector_size(16)));

inline Words load(const std::byte* p) {
  Words w;
  std::memcpy(&w, p, sizeof w);
  return w;
}

using Halves = uint16_t __attribute__((vector_size(16)));

inline Halves load_halves(const std::byte* p) {
  Halves h;
  std::memcpy(&h, p, sizeof h);
  return h;
}

// A line of 16 pairs, from 16 numbers of one input and of the next.
inline void zip_line(const std::byte* a, const std::byte* b, uint32_t* line) {
  for (int i = 0; i < 2; i++) {
    const Halves x = load_halves(a + i * 16), y = load_halves(b + i * 16);
    const Halves lo = __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11), hi = __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15);
    std::memcpy(line + i * 8, &lo, sizeof lo), std::memcpy(line + i * 8 + 4, &hi, sizeof hi);
  }
}

// out[i][j] = rows[j][i] for 4 rows of 4 words; out rows are kPanel words apart.
inline void transpose4(const std::byte* const* rows, int64_t word, uint32_t* out) {
  const Words a = load(rows[0] + word * 4), b = load(rows[1] + word * 4), c = load(rows[2] + word * 4), d = load(rows[3] + word * 4);
  const Words ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Words cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Words t[4] = {__builtin_shufflevector(ab0, cd0, 0, 1, 4, 5), __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7),
                      __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5), __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7)};
  for (int i = 0; i < 4; i++) std::memcpy(out + i * kPanel, &t[i], sizeof t[i]);
}

void transpose_words(const PanelRows& rows, int64_t words, uint32_t* out) {
  int64_t w = 0;
  for (; w + 4 <= words; w += 4)
    for (int r = 0; r < kPanel; r += 4) transpose4(rows.data() + r, w, out + w * kPanel + r);
  for (; w < words; w++)
    for (size_t r = 0; r < kPanel; r++) std::memcpy(out + w * kPanel + int64_t(r), rows[r] + w * 4, 4);
}

template <class Load, class Store>
void convert_each(int64_t n, Load load, Store store) {
  for (int64_t i = 0; i < n; i++) store(i, load(i));
}

template <class T>
T read(const std::byte* p, int64_t i) {
  T v;
  std::memcpy(&v, p + i * int64_t(sizeof v), sizeof v);
  return v;
}

}  // namespace

void convert_numbers(const std::byte* src, DType from, void* dst, DType to, int64_t n) {
  if (from == to) {
    if (n) std::memcpy(dst, src, size_t(n) * dtype_bytes(to));
    return;
  }
  CHECK(to == DType::kF32, dtype_name(from), dtype_name(to));  // plans only widen
  auto store = [d = static_cast<float*>(dst)](int64_t i, float v) { d[i] = v; };
  if (from == DType::kBF16) convert_each(n, [=](int64_t i) { return bf16_to_f32(read<uint16_t>(src, i)); }, store);
  else convert_each(n, [=](int64_t i) { return f16_to_f32(read<uint16_t>(src, i)); }, store);
}

void deinterleave(const std::byte* src, DType type, int64_t n, void* dst) {
  if (type == DType::kF32) {
    uint32_t* const out = static_cast<uint32_t*>(dst);
    for (int64_t i = 0; i < n / 2; i++) out[i] = read<uint32_t>(src, 2 * i), out[n / 2 + i] = read<uint32_t>(src, 2 * i + 1);
    return;
  }
  uint16_t* const out = static_cast<uint16_t*>(dst);
  int64_t i = 0;
  for (; i + 8 <= n / 2; i += 8) {
    const Halves a = load_halves(src + i * 4), b = load_halves(src + i * 4 + 16);
    const Halves even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14), odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
    std::memcpy(out + i, &even, sizeof even), std::memcpy(out + n / 2 + i, &odd, sizeof odd);
  }
  for (; i < n / 2; i++) out[i] = read<uint16_t>(src, 2 * i), out[n / 2 + i] = read<uint16_t>(src, 2 * i + 1);
}

void dequantise_f8(const std::byte* codes, const float* scales, int64_t k, float* out) {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> v;
    for (size_t i = 0; i < v.size(); i++) v[i] = f8e4m3_to_f32(uint8_t(i));
    return v;
  }();
  for (int64_t i = 0; i < k; i++) out[i] = values[uint8_t(codes[i])] * scales[i / kF8Group];
}

bool has_f8_nan(const std::byte* codes, int64_t n) {
  // 0x7f and 0xff alone carry into the sign when 1 is added to the other bits.
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7fu, kOne = 0x0101010101010101u;
  uint64_t carries = 0;
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) carries |= (read<uint64_t>(codes + i, 0) & kLow) + kOne;
  for (; i < n; i++) carries |= (uint64_t(codes[i]) & 0x7f) + 1;
  return carries & ~kLow;
}

bool all_finite(const float* v, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!std::isfinite(v[i])) return false;
  return true;
}

void pack_panel(const PanelRows& rows, int64_t k, DType type, void* out) {
  const int64_t per_word = pack_width(type), words = k / per_word;
  uint32_t* const o = static_cast<uint32_t*>(out);
  transpose_words(rows, words, o);
  if (words * per_word == k) return;
  const size_t rest = size_t(k - words * per_word) * 4 / size_t(per_word);  // bytes of the last word; the others are 0
  for (size_t r = 0; r < kPanel; r++) {
    uint32_t word = 0;
    std::memcpy(&word, rows[r] + words * 4, rest);
    o[words * kPanel + int64_t(r)] = word;
  }
}

bool pack_mxfp4_scales(const PanelRows& rows, int64_t groups, uint8_t* out) {
  bool nan = false;
  for (int64_t g = 0; g < groups; g++)
    for (size_t r = 0; r < kPanel; r++) {
      const uint8_t scale = uint8_t(rows[r][g]);
      out[g * kPanel + int64_t(r)] = scale;
      nan |= scale == 255;
    }
  std::fill(out + groups * kPanel, out + round_up(groups * kPanel, 64), uint8_t(0));
  return !nan;
}

void pack_inputs(const std::byte* const* rows, int64_t k, int64_t count, int64_t K, int64_t n, DType type, std::byte* out) {
  const int64_t per_word = pack_width(type), size = int64_t(dtype_bytes(type));
  DCHECK(k % per_word == 0);
  for (int64_t first = 0; first < n; first += kPanel) {
    uint32_t* line = reinterpret_cast<uint32_t*>(out + first / kPanel * panel_bytes(K, type)) + k / per_word * kPanel;
    const int64_t used = std::min(kPanel, n - first);
    for (int64_t i = 0; i < count; i += per_word, line += kPanel) {
      if (used < kPanel) std::memset(line, 0, 64);
      const std::byte* a = rows[i] + first * size;
      const std::byte* b = per_word == 2 && i + 1 < count ? rows[i + 1] + first * size : nullptr;
      if (per_word == 1) std::memcpy(line, a, size_t(used) * 4);
      else if (b && used == kPanel) zip_line(a, b, line);
      else for (int64_t r = 0; r < used; r++) line[r] = read<uint16_t>(a, r) | uint32_t(b ? read<uint16_t>(b, r) : 0) << 16;
    }
  }
}

}  // namespace xylem
