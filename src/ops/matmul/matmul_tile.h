// The inner loops as templates over a kind of arithmetic T. Included by one .cpu.cpp per instruction set, inside its target
// region and after all other headers: everything here has internal linkage, so no two instruction sets share a symbol. For the same reason no function of the
// standard library is called from it.
//
// T: Vec, 16 floats; One, a broadcast activation; X, the packed activation; kSub, inputs of a line handled one after another.
//    w(line, s): weights of sub-step s;  x(row, i, s): activation of line i;  mac(One, Vec, Vec acc);  load store add zero.
#pragma once

namespace xylem {
namespace {

constexpr size_t kLineBytes = 64;
// exp(f) = sum of kExp[i] f^(7 - i) for |f| <= ln(2) / 2; ln(2) in two parts.
constexpr float kExp[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f, 1.0f, 1.0f};
constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

// Writes what exists of one panel of one row.
template <class T>
inline void put(typename T::Vec v, float* y, int64_t cols, const float* bias) {
  if (cols >= kPanel) {
    T::store(y, bias ? T::add(v, T::load(bias)) : v);
    return;
  }
  alignas(64) float t[kPanel];
  T::store(t, v);
  for (int64_t i = 0; i < cols; i++) y[i] = bias ? t[i] + bias[i] : t[i];
}

template <class T, int R, int P>
void tile(const TileArgs& a) {
  using Vec = typename T::Vec;
  const auto* x = static_cast<const typename T::X*>(a.x);
  Vec acc[R][P];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) acc[r][p] = T::zero();
  const std::byte *w = a.w, *next = a.next_w;
  for (int64_t i = 0; i < a.steps; i++) {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) __builtin_prefetch(next + size_t(p) * a.w_stride, 0, 2);
#pragma GCC unroll 2
    for (int s = 0; s < T::kSub; s++) {
      Vec wv[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) wv[p] = T::w(w + size_t(p) * a.w_stride, s);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const typename T::One one = T::x(x + r * kBlockK, i, s);
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) acc[r][p] = T::mac(one, wv[p], acc[r][p]);
      }
    }
    w += kLineBytes, next += kLineBytes;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      Vec v = acc[r][p];
      if (a.c_in) v = T::add(T::load(a.c_in + r * a.c_in_stride + p * kPanel), v);
      put<T>(v, a.c_out + r * a.c_out_stride + p * kPanel, a.cols - p * kPanel, a.bias ? a.bias + p * kPanel : nullptr);
    }
}

template <class T>
struct Tiles { void (*at[T::kRows][T::kPanels])(const TileArgs&); };
template <class T, int... I>
constexpr Tiles<T> make_tiles(std::integer_sequence<int, I...>) {
  Tiles<T> t{};
  ((t.at[I / T::kPanels][I % T::kPanels] = tile<T, I / T::kPanels + 1, I % T::kPanels + 1>), ...);
  return t;
}
template <class T>
void any_tile(int rows, int panels, const TileArgs& a) {
  static constexpr Tiles<T> kTiles = make_tiles<T>(std::make_integer_sequence<int, T::kRows * T::kPanels>());
  kTiles.at[rows - 1][panels - 1](a);
}

// B blocks of one panel at once: as many independent chains of additions. Each line asks for the one kAhead bytes later.
constexpr int kRowBlocks = 4;
template <class T, int B>
inline void row_blocks(const typename T::X* x, int64_t x_stride, const std::byte* w, int64_t steps, bool first, typename T::Vec& sum) {
  constexpr size_t kBlockBytes = size_t(kBlockK / T::kPerLine) * kLineBytes;
  typename T::Vec acc[B];
#pragma GCC unroll 8
  for (int b = 0; b < B; b++) acc[b] = T::zero();
  for (int64_t i = 0; i < steps; i++) {
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) {
      const std::byte* line = w + size_t(b) * kBlockBytes + size_t(i) * kLineBytes;
      __builtin_prefetch(line + kRowBlocks * kBlockBytes, 0, 2);
#pragma GCC unroll 2
      for (int s = 0; s < T::kSub; s++) acc[b] = T::mac(T::x(x + b * x_stride, i, s), T::w(line, s), acc[b]);
    }
  }
  sum = first ? acc[0] : T::add(sum, acc[0]);
#pragma GCC unroll 8
  for (int b = 1; b < B; b++) sum = T::add(sum, acc[b]);
}

template <class T>
void row(const RowArgs& a) {
  constexpr int64_t kSteps = kBlockK / T::kPerLine;
  const int64_t lines = (a.K + T::kPerLine - 1) / T::kPerLine, blocks = lines / kSteps;
  const std::byte* w = a.w;
  for (int64_t n = 0; n < a.cols; n += kPanel) {
    const auto* x = static_cast<const typename T::X*>(a.x);
    typename T::Vec sum = T::zero();
    int64_t b = 0;
    auto next = [&]<int kBlocks>(std::integral_constant<int, kBlocks>, int64_t steps) {
      row_blocks<T, kBlocks>(x, a.x_stride, w, steps, b == 0, sum);
      x += kBlocks * a.x_stride, w += size_t(kBlocks * steps) * kLineBytes, b += kBlocks;
    };
    while (b + 4 <= blocks) next(std::integral_constant<int, 4>(), kSteps);
    if (b + 2 <= blocks) next(std::integral_constant<int, 2>(), kSteps);
    if (b < blocks) next(std::integral_constant<int, 1>(), kSteps);
    if (lines % kSteps) next(std::integral_constant<int, 1>(), lines % kSteps);
    put<T>(sum, a.y + n, a.cols - n, a.bias ? a.bias + n : nullptr);
  }
}

inline void pack_copy(const float* x, int64_t n, void* out) {
  auto* y = static_cast<float*>(out);
  std::memcpy(y, x, size_t(n) * sizeof(float));
  if (n % 2) y[n] = 0;
}

// Round to bfloat16 and keep the value as float32.
inline void pack_rounded(const float* x, int64_t n, void* out) {
  auto* y = static_cast<float*>(out);
  for (int64_t i = 0; i < n; i++) {
    uint32_t u;
    std::memcpy(&u, x + i, 4);
    const uint32_t quiet = (u & 0xffff0000u) | 0x400000u, even = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000u;
    u = (u & 0x7fffffffu) > 0x7f800000u ? quiet : even;
    std::memcpy(y + i, &u, 4);
  }
  if (n % 2) y[n] = 0;
}

// act(g) = g / (1 + exp(-z)): z = g for SiLU, 2 * sqrt(2 / pi) * (g + 0.044715 g^3) for GELU with tanh.
template <class T>
void act_mul(Act act, const float* gate, const float* up, float* y, int64_t n) {
  using Vec = typename T::Vec;
  auto value = [act](Vec g, Vec u) {
    Vec z = g;
    if (act == Act::kGeluTanh) z = T::mul(T::mul(g, T::all(1.5957691216057308f)), T::add(T::all(1.0f), T::mul(T::all(0.044715f), T::mul(g, g))));
    return T::mul(T::div(g, T::add(T::all(1.0f), T::exp(T::mul(z, T::all(-1.0f))))), u);
  };
  int64_t i = 0;
  for (; i + kPanel <= n; i += kPanel) T::store(y + i, value(T::load(gate + i), T::load(up + i)));
  if (i == n) return;
  alignas(64) float g[kPanel] = {}, u[kPanel] = {}, v[kPanel];
  std::memcpy(g, gate + i, size_t(n - i) * sizeof(float));
  std::memcpy(u, up + i, size_t(n - i) * sizeof(float));
  T::store(v, value(T::load(g), T::load(u)));
  std::memcpy(y + i, v, size_t(n - i) * sizeof(float));
}

template <class T>
constexpr Micro make_micro(void (*pack)(const float*, int64_t, void*)) {
  return {T::kRows, T::kPanels, sizeof(typename T::X), pack, any_tile<T>, row<T>, act_mul<T>};
}
template <class Bf16, class F16, class F32>
const MicroTable& make_table() {
  static constexpr Micro kBf16[2] = {make_micro<Bf16>(pack_copy), make_micro<Bf16>(pack_rounded)};
  static constexpr Micro kF16[2] = {make_micro<F16>(pack_copy), make_micro<F16>(pack_rounded)};
  static constexpr Micro kF32[2] = {make_micro<F32>(pack_copy), make_micro<F32>(pack_rounded)};
  static constexpr MicroTable kTable{{{&kBf16[0], &kBf16[1]}, {&kF16[0], &kF16[1]}, {&kF32[0], &kF32[1]}}};
  return kTable;
}

}  // namespace
}  // namespace xylem
