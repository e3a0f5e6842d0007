// Matrix products of packed activations with packed weights: blocking for the caches, and the MatMul op on threads.
#pragma once
#include "ops/matmul/matmul.h"
#include "ops/matmul/matmul_micro.h"

namespace xylem {

// Activations as the inner loops read them: [ceil(K / kBlockK)][rows][kBlockK] of micro.x_bytes each, 64-byte aligned.
struct PackedX {
  void* data = nullptr;
  int64_t rows = 0, K = 0;
  size_t x_bytes = 0;
  int64_t blocks() const { return K > kBlockK ? (K + kBlockK - 1) / kBlockK : 1; }
  std::byte* at(int64_t block, int64_t row) const {
    return static_cast<std::byte*>(data) + size_t((block * rows + row) * kBlockK) * x_bytes;
  }
  size_t bytes() const { return size_t(blocks() * rows * kBlockK) * x_bytes; }
  void pack(const Micro& m, const float* x, int64_t block, int64_t row) const;  // x: the whole row
};

// y[rows, N] = x[first_row .. first_row + rows, K] w[N, K]^T + bias.
struct Product {
  const Micro* micro;
  PackedX x;
  int64_t first_row, rows;
  const void* w;
  DType w_type;
  int64_t N;
  const float* bias;  // [N] or null
  float* y;           // of row first_row
  int64_t y_stride;
};
// The outputs of panels [begin, end), on the calling thread. work: kProductBytes of memory of this thread.
void product(const Product& p, int64_t panel_begin, int64_t panel_end, std::byte* work);
constexpr int64_t kRowsAtOnce = 512;  // rows of one pass over the weights
constexpr int64_t kPanelsAtOnce =
    12;  // with many rows: sums and one K block of x stay in a second-level cache of 1 MiB
constexpr int64_t kMaxTilePanels = 4;
constexpr size_t kSumsBytes = size_t(kRowsAtOnce * kPanelsAtOnce * kPanel) * sizeof(float);
constexpr size_t kProductBytes = kSumsBytes + size_t(kMaxTilePanels * kBlockK * kPanel) * sizeof(float);

// Threads worth waking for a product: a few microseconds of work each.
int product_threads(int available, double weight_bytes, double mults);

inline const Micro& table_micro(const MicroTable& t, DType w, bool round_x) {
  const Micro* m = t.at[size_t(w)][round_x];
  CHECK(m != nullptr, dtype_name(w));
  return *m;
}
void run_matmul(const MatMul& a, Device& d, const Micro& micro);

}  // namespace xylem
