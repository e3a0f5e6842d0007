#include "ops/matmul/matmul_product.h"

#include <algorithm>

namespace xylem {
namespace {

constexpr int64_t kRowsAtOnce = 512;     // rows of one pass over the weights
constexpr int64_t kPanelsAtOnce = 12;    // with many rows: sums and one K block of x stay in a second-level cache of 1 MiB
constexpr int64_t kManyRows = 64;
static_assert(kSumsBytes == size_t(kRowsAtOnce * kPanelsAtOnce * kPanel) * sizeof(float));

// Rows [0, rows) in the fewest tiles, as equal as can be.
struct RowCut {
  int64_t rows, tiles;
  RowCut(int64_t rows, int most) : rows(rows), tiles((rows + most - 1) / most) {}
  int64_t begin(int64_t i) const { return rows * i / tiles; }
};

// One pass over the weights of panels [begin, end) for up to kRowsAtOnce rows from row0.
void pass(const Product& p, int64_t row0, int64_t rows, int64_t begin, int64_t end, float* sums) {
  const Micro& m = *p.micro;
  const int64_t K = p.x.K, width = pack_width(p.w_type), blocks = p.x.blocks(), lines = (K + width - 1) / width, block_lines = kBlockK / width;
  const size_t panel_bytes = size_t(lines) * 64, block_bytes = size_t(block_lines) * 64;
  const auto* w = static_cast<const std::byte*>(p.w);
  const int64_t group = rows >= kManyRows ? kPanelsAtOnce : m.panels;
  const RowCut cut(rows, m.rows);
  TileArgs a;
  a.w_stride = panel_bytes;
  for (int64_t g = begin; g < end; g += group) {
    const int64_t g_end = std::min(g + group, end);
    for (int64_t b = 0; b < blocks; b++) {
      const bool last = b + 1 == blocks;
      a.steps = std::min(block_lines, lines - b * block_lines);
      for (int64_t q = g; q < g_end; q += m.panels) {
        const int64_t panels = std::min<int64_t>(m.panels, g_end - q), n = q * kPanel;
        float* c = sums + (q - g) * kPanel * rows;
        a.w = w + size_t(q) * panel_bytes + size_t(b) * block_bytes;
        const std::byte* next = q + m.panels < g_end ? a.w + size_t(m.panels) * panel_bytes
                                : !last              ? w + size_t(g) * panel_bytes + size_t(b + 1) * block_bytes
                                                     : w + size_t(std::min(g_end, end - 1)) * panel_bytes;
        a.cols = std::min(panels * kPanel, p.N - n);
        a.bias = last && p.bias ? p.bias + n : nullptr;
        a.c_in_stride = panels * kPanel;
        a.c_out_stride = last ? p.y_stride : panels * kPanel;
        for (int64_t i = 0; i < cut.tiles; i++) {
          const int64_t r = cut.begin(i);
          a.next_w = i ? a.w : next;
          a.x = p.x.at(b, row0 + r);
          a.c_in = b ? c + r * a.c_in_stride : nullptr;
          a.c_out = last ? p.y + (row0 - p.first_row + r) * p.y_stride + n : c + r * a.c_out_stride;
          if (!last) a.cols = panels * kPanel;
          m.tile(int(cut.begin(i + 1) - r), int(panels), a);
        }
      }
    }
  }
}

}  // namespace

void PackedX::pack(const Micro& m, const float* x, int64_t block, int64_t row) const {
  m.pack(x + block * kBlockK, std::min(kBlockK, K - block * kBlockK), at(block, row));
}

void product(const Product& p, int64_t begin, int64_t end, float* sums) {
  if (begin >= end) return;
  if (p.rows == 1) {
    const size_t panel_bytes = size_t(packed_numel(kPanel, p.x.K, p.w_type)) * dtype_bytes(p.w_type);
    const int64_t n = begin * kPanel;
    p.micro->row({p.x.at(0, p.first_row), p.x.rows * kBlockK, static_cast<const std::byte*>(p.w) + size_t(begin) * panel_bytes, p.x.K, p.y + n,
                  std::min(end * kPanel, p.N) - n, p.bias ? p.bias + n : nullptr});
    return;
  }
  for (int64_t r = 0; r < p.rows; r += kRowsAtOnce) pass(p, p.first_row + r, std::min(kRowsAtOnce, p.rows - r), begin, end, sums);
}

int product_threads(int available, double weight_bytes, double mults) {
  // A thread streams about 20 KB and multiplies about 100,000 pairs in a microsecond; waking others costs 2 to 3.
  const double us = weight_bytes / 20e3 + mults / 100e3;
  return int(std::clamp(us / 4, 1.0, double(available)));
}

const Micro& find_micro(Isa isa, DType w, bool round_x) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512Bf16 && w == DType::kBF16 && round_x) return avx512_bf16_micro();
  if (isa >= Isa::kAvx512) return table_micro(avx512_micros(), w, round_x);
  if (isa >= Isa::kAvx2) return table_micro(avx2_micros(), w, round_x);
#endif
  (void)isa;
  return table_micro(portable_micros(), w, round_x);
}

void run_matmul(const MatMul& a, Device& d, const Micro& micro) {
  const int64_t M = a.x.rows(), K = a.x.cols(), N = a.w.dim[0], panels = (N + kPanel - 1) / kPanel;
  if (M == 0 || N == 0) return;
  CpuDevice& dev = cpu(d);
  const int n = product_threads(dev.pool().size(), double(a.w.bytes()), double(M) * double(N) * double(K));
  // Few activations: each thread packs them for itself, which is cheaper than waiting for one another.
  const bool own = n == 1 || M * K <= 16384;
  PackedX x{nullptr, M, K, micro.x_bytes};
  const size_t x_bytes = size_t(round_up(int64_t(x.bytes()), 64)), per_thread = kSumsBytes + (own ? x_bytes : 0);
  auto* memory = static_cast<std::byte*>(dev.scratch((own ? 0 : x_bytes) + per_thread * size_t(n)));
  // With more threads than panels to share, rows are cut too.
  const int64_t row_parts = M >= kManyRows ? std::clamp<int64_t>(n * 6 / panels, 1, std::min<int64_t>(n, M / 32)) : 1;
  dev.pool().run(n, [&](CpuThread t) {
    std::byte* mine = memory + (own ? 0 : x_bytes) + per_thread * size_t(t.thread);
    PackedX px = x;
    px.data = own ? mine + kSumsBytes : memory;
    const int64_t items = M * px.blocks();
    const CpuThread::Range r = own ? CpuThread::Range{0, items} : t.range(items);
    for (int64_t i = r.begin; i < r.end; i++) px.pack(micro, a.x.row(i / px.blocks()), i % px.blocks(), i / px.blocks());
    if (!own) t.barrier();
    const int64_t cols = std::max<int64_t>(1, t.n_threads / row_parts), part = t.thread / cols;
    if (part >= row_parts) return;
    const int64_t row = M * part / row_parts, row_end = M * (part + 1) / row_parts;
    const auto share = CpuThread{int(t.thread % cols), int(cols)}.range(panels);
    product({&micro, px, row, row_end - row, a.w.data, a.w.dtype, N, a.bias.as(), a.y.row(row), a.y.stride[0]}, share.begin, share.end,
            reinterpret_cast<float*>(mine));
  });
}

}  // namespace xylem
