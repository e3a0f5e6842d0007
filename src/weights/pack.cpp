#include "weights/pack.h"

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

void pack_panel(const PanelRows& rows, int64_t k, DType type, void* out) {
  const int64_t per_word = pack_width(type), words = k / per_word;
  uint32_t* const o = static_cast<uint32_t*>(out);
  transpose_words(rows, words, o);
  if (words * per_word == k) return;
  for (size_t r = 0; r < kPanel; r++) o[words * kPanel + int64_t(r)] = read<uint16_t>(rows[r], k - 1);  // the other half is 0
}

}  // namespace xylem
