// The inner loops as templates over a kind of arithmetic T. Included by one .cpu.cpp per instruction set, inside its
// target region and after all other headers: everything here has internal linkage, so no two instruction sets share a
// symbol. For the same reason no function of the standard library is called from it.
//
// T: Vec, 16 floats; One, a broadcast activation; X, the packed activation; kSub, inputs of a line handled one after
// another.
//    w(line, s): weights of sub-step s;  x(row, i, s): activation of line i;  mac(One, Vec, Vec acc);  load store add
//    zero.
#pragma once

namespace xylem {
namespace {

constexpr size_t kLineBytes = 64;

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
  const std::byte *w = a.w, *next = a.next;
  for (int64_t i = 0; i < a.steps; i++) {
    __builtin_prefetch(x + R * (kBlockK + i * T::kPerLine), 0, 3);  // the next tile's rows follow these
    for (int p = 0; p < a.next_panels; p++) __builtin_prefetch(next + size_t(p) * a.next_stride, 0, 2);
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
struct Tiles {
  void (*at[T::kRows][T::kPanels])(const TileArgs&);
};
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

// One row reads its weights from memory at the speed of memory: B blocks of one panel at once give independent chains
// of additions, the second-level cache is asked for what comes one round of blocks later, the first-level one for what
// comes next in each block.
constexpr int kRowBlocks = 4;
constexpr size_t kNear = 1024;
template <class T, int B, int kUnroll>
inline void row_blocks(const typename T::X* x, int64_t x_stride, const std::byte* w, int64_t steps, bool first,
                       typename T::Vec& sum) {
  constexpr size_t kBlockBytes = size_t(kBlockK / T::kPerLine) * kLineBytes;
  typename T::Vec acc[B];
#pragma GCC unroll 8
  for (int b = 0; b < B; b++) acc[b] = T::zero();
  for (int64_t i = 0; i < steps; i += kUnroll) {
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) {
#pragma GCC unroll 8
      for (int u = 0; u < kUnroll; u++) {
        const std::byte* line = w + size_t(b) * kBlockBytes + size_t(i + u) * kLineBytes;
        __builtin_prefetch(line + kRowBlocks * kBlockBytes, 0, 2);
        __builtin_prefetch(line + kNear, 0, 3);
#pragma GCC unroll 2
        for (int s = 0; s < T::kSub; s++) acc[b] = T::mac(T::x(x + b * x_stride, i + u, s), T::w(line, s), acc[b]);
      }
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
    for (; b + 4 <= blocks; b += 4, x += 4 * a.x_stride, w += 4 * kSteps * int64_t(kLineBytes))
      row_blocks<T, 4, 2>(x, a.x_stride, w, kSteps, b == 0, sum);
    if (b + 2 <= blocks)
      row_blocks<T, 2, 2>(x, a.x_stride, w, kSteps, b == 0, sum), b += 2, x += 2 * a.x_stride,
          w += 2 * kSteps * int64_t(kLineBytes);
    if (b < blocks)
      row_blocks<T, 1, 2>(x, a.x_stride, w, kSteps, b == 0, sum), b++, x += a.x_stride,
          w += kSteps * int64_t(kLineBytes);
    if (const int64_t rest = lines % kSteps)
      row_blocks<T, 1, 1>(x, a.x_stride, w, rest, b == 0, sum), w += rest * int64_t(kLineBytes);
    put<T>(sum, a.y + n, a.cols - n, a.bias ? a.bias + n : nullptr);
  }
}

// Weights as float32 in the order of the inputs: what the tiles of float32 weights read.
template <class T>
void widen(const std::byte* w, int64_t lines, float* out) {
  for (int64_t i = 0; i < lines; i++, w += kLineBytes)
#pragma GCC unroll 2
    for (int s = 0; s < T::kSub; s++, out += kPanel) T::store(out, T::w(w, s));
}

inline void pack_copy(const float* x, int64_t n, void* out) {
  auto* y = static_cast<float*>(out);
  std::memcpy(y, x, size_t(n) * sizeof(float));
  if (n % 2) y[n] = 0;
}

// Rounds 16 numbers to bfloat16, nearest even, and keeps the values as float32; NaN stays NaN.
inline void round_panel(const float* x, float* y) {
  typedef uint32_t Bits __attribute__((vector_size(64)));
  Bits u;
  std::memcpy(&u, x, sizeof u);
  const Bits even = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000u, quiet = (u & 0xffff0000u) | 0x400000u;
  u = (u & 0x7fffffffu) > 0x7f800000u ? quiet : even;
  std::memcpy(y, &u, sizeof u);
}
inline void pack_rounded(const float* x, int64_t n, void* out) {
  auto* y = static_cast<float*>(out);
  int64_t i = 0;
  for (; i + kPanel <= n; i += kPanel) round_panel(x + i, y + i);
  if (i == n) return;
  float rest[kPanel] = {};
  std::memcpy(rest, x + i, size_t(n - i) * sizeof(float));
  round_panel(rest, rest);
  std::memcpy(y + i, rest, size_t(n - i + n % 2) * sizeof(float));
}

template <class T>
constexpr Micro make_micro(void (*pack)(const float*, int64_t, void*)) {
  return {T::kRows, T::kPanels, sizeof(typename T::X), pack, any_tile<T>, row<T>, nullptr, nullptr};
}
template <class T, class F32>
constexpr Micro make_micro_16(void (*pack)(const float*, int64_t, void*)) {
  Micro m = make_micro<T>(pack);
  m.widen = widen<T>, m.wide_tile = any_tile<F32>;
  return m;
}
template <class Bf16, class F16, class F32>
const MicroTable& make_table() {
  static constexpr Micro kBf16[2] = {make_micro_16<Bf16, F32>(pack_copy), make_micro_16<Bf16, F32>(pack_rounded)};
  static constexpr Micro kF16[2] = {make_micro_16<F16, F32>(pack_copy), make_micro_16<F16, F32>(pack_rounded)};
  static constexpr Micro kF32[2] = {make_micro<F32>(pack_copy), make_micro<F32>(pack_rounded)};
  static constexpr MicroTable kTable{{{&kBf16[0], &kBf16[1]}, {&kF16[0], &kF16[1]}, {&kF32[0], &kF32[1]}}};
  return kTable;
}

}  // namespace
}  // namespace xylem
