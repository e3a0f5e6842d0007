// A view of numbers in the memory of one device. It owns nothing and is trivially copyable: an op call is a value.
#pragma once
#include <array>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "tensor/dtype.h"

namespace xylem {

// How the elements of a matrix lie in memory.
//   kStrided  element (i, j, ...) at sum of index * stride; the last dimension is contiguous.
//   kPacked   weights of a matrix product, [N, K] or [E, N, K]: panels of 16 output rows, pairs of inputs interleaved for
//             16-bit types, so that both one row and many rows of activations stream it in order. See packed_index and
//             panel_bytes.
enum class Layout : uint8_t { kStrided, kPacked };

struct Tensor {
  void* data = nullptr;
  std::array<int64_t, 4> dim{1, 1, 1, 1};
  std::array<int64_t, 4> stride{0, 0, 0, 1};  // in elements; meaningless for kPacked
  int8_t rank = 0;
  DType dtype = DType::kF32;
  Layout layout = Layout::kStrided;

  explicit operator bool() const { return data != nullptr; }
  int64_t numel() const { return dim[0] * dim[1] * dim[2] * dim[3]; }
  int64_t cols() const { return rank ? dim[size_t(rank - 1)] : 1; }
  int64_t rows() const { return cols() ? numel() / cols() : 0; }
  int64_t outputs() const { return dim[rank >= 2 ? size_t(rank - 2) : 0]; }  // N of [N, K] or [E, N, K]
  template <class T = float>
  T* as() const { return static_cast<T*>(data); }
  // First element of row r, where rows run over all dimensions but the last (rank <= 3).
  template <class T = float>
  T* row(int64_t r) const {
    DCHECK(layout == Layout::kStrided);
    if (rank <= 2) return as<T>() + r * stride[0] * (rank == 2);
    const int64_t a = r / dim[1], b = r % dim[1];
    return as<T>() + a * stride[0] + b * stride[1];
  }
  bool contiguous() const {
    if (layout != Layout::kStrided) return false;
    int64_t expect = 1;
    for (int i = rank; i-- > 0;) {
      if (dim[size_t(i)] != 1 && stride[size_t(i)] != expect) return false;
      expect *= dim[size_t(i)];
    }
    return true;
  }
  // Bytes from the first to past the last element.
  size_t bytes() const;
};
static_assert(std::is_trivially_copyable_v<Tensor>);

constexpr int64_t kPanel = 16;  // output rows of a packed panel
// Consecutive inputs of one row in a 32-bit word: a line of 64 bytes is one word of each row of a panel.
constexpr int64_t pack_width(DType t) {
  return t == DType::kMxfp4 ? 8 : t == DType::kF8E4M3 ? 4 : dtype_bytes(t) == 2 ? 2 : 1;
}
constexpr int64_t round_up(int64_t n, int64_t m) { return (n + m - 1) / m * m; }

// Elements of one packed [N, K] matrix, padding included (zeros). Not for quantised types.
constexpr int64_t packed_numel(int64_t n, int64_t k, DType t) { return round_up(n, kPanel) * round_up(k, pack_width(t)); }
// Element (n, k): [N/16][K/P][16][P] with P = pack_width. Not for quantised types.
constexpr int64_t packed_index(int64_t n, int64_t k, int64_t K, DType t) {
  const int64_t p = pack_width(t);
  return (n / kPanel) * kPanel * round_up(K, p) + (k / p) * kPanel * p + (n % kPanel) * p + k % p;
}

// Inputs that share a scale; K of a packed mxfp4 matrix is a multiple of it.
constexpr int64_t kMxfp4Group = 32, kF8Group = 128;
// A panel is its lines, then its scales: float8: [ceil(K / 128)][16] float32; mxfp4: [K / 32][16] E8M0 bytes, filled up to 64.
constexpr int64_t panel_lines(int64_t k, DType t) { return round_up(k, pack_width(t)) / pack_width(t); }
constexpr int64_t panel_scale_bytes(int64_t k, DType t) {
  return t == DType::kF8E4M3 ? round_up(k, kF8Group) / kF8Group * 64 : t == DType::kMxfp4 ? round_up(k / kMxfp4Group * kPanel, 64) : 0;
}
constexpr int64_t panel_bytes(int64_t k, DType t) { return panel_lines(k, t) * 64 + panel_scale_bytes(k, t); }
constexpr int64_t packed_bytes(int64_t n, int64_t k, DType t) { return round_up(n, kPanel) / kPanel * panel_bytes(k, t); }

inline size_t Tensor::bytes() const {
  if (layout == Layout::kPacked) {
    const int64_t k = cols(), n = outputs(), e = rank == 3 ? dim[0] : 1;
    return size_t(e * packed_bytes(n, k, dtype));
  }
  int64_t last = 0;
  for (int i = 0; i < rank; i++) {
    if (dim[size_t(i)] == 0) return 0;
    last += (dim[size_t(i)] - 1) * stride[size_t(i)];
  }
  return size_t(last + 1) * dtype_bytes(dtype);
}

// Contiguous tensor of a shape.
inline Tensor make_tensor(void* data, DType dtype, std::initializer_list<int64_t> dims) {
  Tensor t;
  t.data = data;
  t.dtype = dtype;
  CHECK(dims.size() <= 4);
  for (int64_t d : dims) t.dim[size_t(t.rank++)] = d;
  int64_t s = 1;
  for (int i = t.rank; i-- > 0;) t.stride[size_t(i)] = s, s *= t.dim[size_t(i)];
  return t;
}
inline Tensor shape(std::initializer_list<int64_t> dims, DType dtype = DType::kF32) { return make_tensor(nullptr, dtype, dims); }
// [N, K] or [E, N, K] in kPacked.
inline Tensor packed_shape(std::initializer_list<int64_t> dims, DType dtype) {
  Tensor t = make_tensor(nullptr, dtype, dims);
  t.layout = Layout::kPacked;
  return t;
}

// Any element as float32, whatever the layout and type: for references and tools, never for hot loops.
inline float load_f32(const void* p, int64_t i, DType t) {
  switch (t) {
    case DType::kF32: return static_cast<const float*>(p)[i];
    case DType::kBF16: return bf16_to_f32(static_cast<const uint16_t*>(p)[i]);
    case DType::kF16: return f16_to_f32(static_cast<const uint16_t*>(p)[i]);
    case DType::kI32: return float(static_cast<const int32_t*>(p)[i]);
    case DType::kU8: return float(static_cast<const uint8_t*>(p)[i]);
    case DType::kF8E4M3: case DType::kMxfp4: break;
  }
  CHECK(false, dtype_name(t));
  return 0;
}
// Element (n, k) of matrix e of a packed tensor, dequantised.
inline float packed_value(const Tensor& w, int64_t e, int64_t n, int64_t k) {
  const int64_t K = w.cols();
  const auto* matrix = static_cast<const uint8_t*>(w.data) + e * packed_bytes(w.outputs(), K, w.dtype);
  if (!is_quantised(w.dtype)) return load_f32(matrix, packed_index(n, k, K, w.dtype), w.dtype);
  const int64_t p = pack_width(w.dtype), row = n % kPanel;
  const uint8_t* panel = matrix + n / kPanel * panel_bytes(K, w.dtype);
  const uint8_t* word = panel + (k / p * kPanel + row) * 4;
  const uint8_t* scales = panel + panel_lines(K, w.dtype) * 64;
  if (w.dtype == DType::kMxfp4) return e2m1_to_f32(word[k % p / 2] >> (k % 2 * 4) & 15) * e8m0_to_f32(scales[k / kMxfp4Group * kPanel + row]);
  float scale;
  std::memcpy(&scale, scales + (k / kF8Group * kPanel + row) * 4, sizeof scale);
  return f8e4m3_to_f32(word[k % p]) * scale;
}
// Matrix e of a packed tensor as [N, K] numbers: references read every element many times.
inline std::vector<double> unpacked(const Tensor& w, int64_t e) {
  std::vector<double> v;
  v.reserve(size_t(w.outputs() * w.cols()));
  for (int64_t n = 0; n < w.outputs(); n++)
    for (int64_t k = 0; k < w.cols(); k++) v.push_back(packed_value(w, e, n, k));
  return v;
}
inline void store_f32(void* p, int64_t i, DType t, float v) {
  switch (t) {
    case DType::kF32: static_cast<float*>(p)[i] = v; break;
    case DType::kBF16: static_cast<uint16_t*>(p)[i] = f32_to_bf16(v); break;
    case DType::kF16: static_cast<uint16_t*>(p)[i] = f32_to_f16(v); break;
    case DType::kI32: static_cast<int32_t*>(p)[i] = int32_t(v); break;
    case DType::kU8: static_cast<uint8_t*>(p)[i] = uint8_t(v); break;
    case DType::kF8E4M3: case DType::kMxfp4: CHECK(false, dtype_name(t));
  }
}

}  // namespace xylem
