// The inner loops as templates over a kind of arithmetic T. Included by one .cpu.cpp per instruction set, inside its
// target region and after all other headers: everything here has internal linkage, so no two instruction sets share a
// symbol. For the same reason no function of the standard library is called from it.
//
// T: Vec, 16 floats; One, a broadcast activation; X, the packed activation; kSub, inputs of a line handled one after
// another.
//    kGroup: inputs that share a scale, 0 where weights have none; then also kType, scale(scales, g): of group g;
//    fold(sum, scale, acc): acc + sum * scale, rounded once.
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

// The products of lines [begin, end), from zero.
template <class T, int R, int P>
[[gnu::always_inline]] inline void sum_lines(const TileArgs& a, int64_t begin, int64_t end,
                                             typename T::Vec (&acc)[R][P]) {
  using Vec = typename T::Vec;
  const auto* x = static_cast<const typename T::X*>(a.x);
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) acc[r][p] = T::zero();
  const std::byte *w = a.w + size_t(begin) * kLineBytes, *next = a.next + size_t(begin) * kLineBytes;
  for (int64_t i = begin; i < end; i++) {
    __builtin_prefetch(x + R * (kBlockK + i * T::kPerLine), 0, 3);  // the next tile's rows follow these
    for (int p = 0; p < a.next_panels; p++) __builtin_prefetch(next + size_t(p) * a.next_stride, 0, 2);
#pragma GCC unroll 8
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
}

template <class T, int R, int P>
void tile(const TileArgs& a) {
  using Vec = typename T::Vec;
  Vec acc[R][P];
  sum_lines<T, R, P>(a, 0, a.steps, acc);
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      Vec v = acc[r][p];
      if (a.c_in) v = T::add(T::load(a.c_in + r * a.c_in_stride + p * kPanel), v);
      put<T>(v, a.c_out + r * a.c_out_stride + p * kPanel, a.cols - p * kPanel, a.bias ? a.bias + p * kPanel : nullptr);
    }
}

// Weights with scales: what the groups before give lies in memory, where registers do not suffice for both.
template <class T, int R, int P>
void scaled_tile(const TileArgs& a) {
  using Vec = typename T::Vec;
  constexpr int64_t kLines = T::kGroup / T::kPerLine;
  for (int p = 0; p < a.next_panels; p++)
    for (size_t i = 0; i < kBlockScaleBytes; i += 64)
      __builtin_prefetch(a.next_scales + size_t(p) * a.next_stride + i, 0, 2);
  alignas(64) float sums[R][P][kPanel];
  for (int64_t begin = 0; begin < a.steps; begin += kLines) {
    const bool first = begin == 0, last = begin + kLines >= a.steps;
    Vec acc[R][P];
    sum_lines<T, R, P>(a, begin, last ? a.steps : begin + kLines, acc);
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      const Vec scale = T::scale(a.scales + size_t(p) * a.scale_stride, begin / kLines);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        Vec before = T::zero();
        if (!first)
          before = T::load(sums[r][p]);
        else if (a.c_in)
          before = T::load(a.c_in + r * a.c_in_stride + p * kPanel);
        const Vec v = T::fold(acc[r][p], scale, before);
        if (!last)
          T::store(sums[r][p], v);
        else
          put<T>(v, a.c_out + r * a.c_out_stride + p * kPanel, a.cols - p * kPanel,
                 a.bias ? a.bias + p * kPanel : nullptr);
      }
    }
  }
}

template <class T>
struct Tiles {
  void (*at[T::kRows][T::kPanels])(const TileArgs&);
};
template <class T, int... I>
constexpr Tiles<T> make_tiles(std::integer_sequence<int, I...>) {
  Tiles<T> t{};
  if constexpr (T::kGroup)
    ((t.at[I / T::kPanels][I % T::kPanels] = scaled_tile<T, I / T::kPanels + 1, I % T::kPanels + 1>), ...);
  else
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
constexpr size_t kNear = 1024, kFar = 16384;
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

// Weights with scales: B groups of P panels at once. Panels share the loads of the activations, of which one row has as
// many as multiplications.
template <class T, int B, int P>
[[gnu::always_inline]] inline void row_groups(const typename T::X* const (&x)[B], const std::byte* w, int64_t lines,
                                              const std::byte* scales, size_t bytes, size_t far,
                                              typename T::Vec (&sum)[P]) {
  constexpr int64_t kLines = T::kGroup / T::kPerLine;
  typename T::Vec acc[B][P];
#pragma GCC unroll 8
  for (int b = 0; b < B; b++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) acc[b][p] = T::zero();
  for (int64_t i = 0; i < lines; i++)
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) {
      const std::byte* line = w + size_t(b * kLines + i) * kLineBytes;
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) {
        __builtin_prefetch(line + size_t(p) * bytes + far, 0, 2);
        __builtin_prefetch(line + size_t(p) * bytes + kNear, 0, 3);
      }
#pragma GCC unroll 8
      for (int s = 0; s < T::kSub; s++) {
        const typename T::One one = T::x(x[b], i, s);
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) acc[b][p] = T::mac(one, T::w(line + size_t(p) * bytes, s), acc[b][p]);
      }
    }
#pragma GCC unroll 8
  for (int b = 0; b < B; b++)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) sum[p] = T::fold(acc[b][p], T::scale(scales + size_t(p) * bytes, b), sum[p]);
}

// The outputs of P panels.
template <class T, int P>
inline void row_panels(const RowArgs& a, int64_t n) {
  constexpr int64_t kLines = T::kGroup / T::kPerLine, kInBlock = kBlockK / T::kGroup, kAtOnce = 4 / P;
  constexpr size_t kGroupBytes = size_t(kLines) * kLineBytes, kScaleBytes = size_t(kBlockScaleBytes) / size_t(kInBlock);
  const int64_t lines = panel_lines(a.K, T::kType), groups = lines / kLines;
  const size_t bytes = size_t(panel_bytes(a.K, T::kType));
  const auto* x = static_cast<const typename T::X*>(a.x);
  auto group_x = [&](int64_t g) { return x + g / kInBlock * a.x_stride + g % kInBlock * T::kGroup; };
  const std::byte *w = a.w + size_t(n / kPanel) * bytes, *scales = w + size_t(lines) * kLineBytes;
  typename T::Vec sum[P];
  for (auto& v : sum) v = T::zero();
  int64_t g = 0;
  for (; g + kAtOnce <= groups; g += kAtOnce, w += kAtOnce * kGroupBytes, scales += kAtOnce * kScaleBytes) {
    const size_t to_end = size_t(groups - g) * kGroupBytes;
    const size_t far = kFar + (to_end < kFar ? (P - 1) * bytes : 0);  // in the panels after these
    for (int p = 0; p < P; p++) __builtin_prefetch(scales + size_t(p + P) * bytes, 0, 2);
    if constexpr (kAtOnce == 4)
      row_groups<T, 4, P>({group_x(g), group_x(g + 1), group_x(g + 2), group_x(g + 3)}, w, kLines, scales, bytes, far,
                          sum);
    else
      row_groups<T, 2, P>({group_x(g), group_x(g + 1)}, w, kLines, scales, bytes, far, sum);
  }
  for (; g < groups; g++, w += kGroupBytes, scales += kScaleBytes)
    row_groups<T, 1, P>({group_x(g)}, w, kLines, scales, bytes, kFar, sum);
  if (const int64_t rest = lines % kLines) row_groups<T, 1, P>({group_x(g)}, w, rest, scales, bytes, kFar, sum);
  for (int p = 0; p < P; p++)
    put<T>(sum[p], a.y + n + p * kPanel, a.cols - n - p * kPanel, a.bias ? a.bias + n + p * kPanel : nullptr);
}

template <class T>
void scaled_row(const RowArgs& a) {
  int64_t n = 0;
  for (; n + kPanel < a.cols; n += 2 * kPanel) row_panels<T, 2>(a, n);
  if (n < a.cols) row_panels<T, 1>(a, n);
}

// Weights as float32 in the order of the inputs: what the tiles of float32 weights read.
template <class T>
void widen(const std::byte* w, int64_t lines, float* out) {
  for (int64_t i = 0; i < lines; i++, w += kLineBytes)
#pragma GCC unroll 8
    for (int s = 0; s < T::kSub; s++, out += kPanel) T::store(out, T::w(w, s));
}

constexpr int64_t kMostPerLine = 4;  // mxfp4 has more, but whole groups of them
inline void pack_copy(const float* x, int64_t n, void* out) {
  auto* y = static_cast<float*>(out);
  std::memcpy(y, x, size_t(n) * sizeof(float));
  for (; n % kMostPerLine; n++) y[n] = 0;
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
  std::memcpy(y + i, rest, size_t(round_up(n - i, kMostPerLine)) * sizeof(float));
}

template <class T>
constexpr Micro make_micro(void (*pack)(const float*, int64_t, void*)) {
  Micro m{T::kRows, T::kPanels, sizeof(typename T::X), pack, any_tile<T>, nullptr, nullptr, nullptr};
  if constexpr (T::kGroup)
    m.row = scaled_row<T>;
  else
    m.row = row<T>;
  return m;
}
template <class T, class Wide>
constexpr Micro make_widening(void (*pack)(const float*, int64_t, void*)) {
  Micro m = make_micro<T>(pack);
  m.widen = widen<T>, m.wide_tile = any_tile<Wide>;
  return m;
}
// Float32 weights that were widened from T's and keep its scales.
template <class T, class F32>
struct Widened : F32 {
  static constexpr int kGroup = T::kGroup;
  static typename F32::Vec scale(const std::byte* scales, int64_t g) { return T::scale(scales, g); }
};
template <class Bf16, class F16, class F32, class F8, class Mx>
const MicroTable& make_table() {
  using WideF8 = Widened<F8, F32>;
  using WideMx = Widened<Mx, F32>;
  static constexpr Micro kBf16[2] = {make_widening<Bf16, F32>(pack_copy), make_widening<Bf16, F32>(pack_rounded)};
  static constexpr Micro kF16[2] = {make_widening<F16, F32>(pack_copy), make_widening<F16, F32>(pack_rounded)};
  static constexpr Micro kF32[2] = {make_micro<F32>(pack_copy), make_micro<F32>(pack_rounded)};
  static constexpr Micro kF8[2] = {make_widening<F8, WideF8>(pack_copy), make_widening<F8, WideF8>(pack_rounded)};
  static constexpr Micro kMx[2] = {make_widening<Mx, WideMx>(pack_copy), make_widening<Mx, WideMx>(pack_rounded)};
  static constexpr MicroTable kTable = [] {
    MicroTable t{};
    for (int round = 0; round < 2; round++) {
      t.at[size_t(DType::kBF16)][round] = &kBf16[round], t.at[size_t(DType::kF16)][round] = &kF16[round];
      t.at[size_t(DType::kF32)][round] = &kF32[round], t.at[size_t(DType::kF8E4M3)][round] = &kF8[round];
      t.at[size_t(DType::kMxfp4)][round] = &kMx[round];
    }
    return t;
  }();
  return kTable;
}

}  // namespace
}  // namespace xylem
