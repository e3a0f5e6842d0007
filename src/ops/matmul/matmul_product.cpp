#include "ops/matmul/matmul_product.h"

#include <algorithm>

namespace xylem {
namespace {

constexpr int64_t kManyRows = 64;  // from here on several panels share a K block of x while the caches hold it,
constexpr int64_t kWideRows =
    96;  // and from here on small weights are widened once: before, widening in the tile costs less

// Rows [0, rows) in the fewest tiles, as equal as can be.
struct RowCut {
  int64_t rows, tiles;
  RowCut(int64_t rows, int most) : rows(rows), tiles((rows + most - 1) / most) {}
  int64_t begin(int64_t i) const { return rows * i / tiles; }
};

// One pass over the weights of panels [begin, end) for up to kRowsAtOnce rows from first_row.
class Pass {
 public:
  Pass(const Product& p, int64_t first_row, int64_t rows, std::byte* work)
      : p_(p),
        m_(*p.micro),
        first_row_(first_row),
        rows_(rows),
        cut_(rows, m_.rows),
        width_(pack_width(p.w_type)),
        lines_(panel_lines(p.x.K, p.w_type)),
        panel_bytes_(size_t(panel_bytes(p.x.K, p.w_type))),
        block_lines_(kBlockK / width_),
        wide_(rows >= kWideRows && m_.widen),
        sums_(reinterpret_cast<float*>(work)),
        widened_(reinterpret_cast<float*>(work + kSumsBytes)) {}

  void run(int64_t begin, int64_t end) const {
    const int64_t group = rows_ >= kManyRows ? kPanelsAtOnce : m_.panels, blocks = p_.x.blocks();
    for (int64_t g = begin; g < end; g += group) {
      const int64_t g_end = std::min(g + group, end);
      for (int64_t b = 0; b < blocks; b++)
        for (int64_t q = g; q < g_end; q += m_.panels) {
          const int64_t panels = std::min<int64_t>(m_.panels, g_end - q);
          const bool same_block = q + panels < g_end, same_group = same_block || b + 1 < blocks;
          const Place next = same_block   ? Place{q + panels, b}
                             : same_group ? Place{g, b + 1}
                                          : Place{std::min(g_end, end - 1), 0};
          block(q, panels, b, next, sums_ + (q - g) * kPanel * rows_);
        }
    }
  }

 private:
  const std::byte* weights(int64_t panel, int64_t block) const {
    return static_cast<const std::byte*>(p_.w) + size_t(panel) * panel_bytes_ + size_t(block * block_lines_) * 64;
  }
  const std::byte* scales(int64_t panel, int64_t block) const {
    if (!is_quantised(p_.w_type)) return nullptr;
    return static_cast<const std::byte*>(p_.w) + size_t(panel) * panel_bytes_ + size_t(lines_) * 64 +
           size_t(block) * kBlockScaleBytes;
  }

  struct Place {
    int64_t panel, block;
  };

  // All rows with one K block of a few panels. sums: [rows, panels * 16], between the K blocks.
  void block(int64_t q, int64_t panels, int64_t b, Place next, float* sums) const {
    const bool last = b + 1 == p_.x.blocks();
    const int64_t n = q * kPanel, lines = std::min(block_lines_, lines_ - b * block_lines_);
    TileArgs a;
    a.w = weights(q, b), a.w_stride = panel_bytes_, a.steps = lines;
    a.scales = scales(q, b), a.scale_stride = panel_bytes_;
    if (wide_) {
      for (int64_t i = 0; i < panels; i++) m_.widen(weights(q + i, b), lines, widened_ + i * kBlockK * kPanel);
      a.w = reinterpret_cast<const std::byte*>(widened_), a.w_stride = size_t(kBlockK * kPanel) * sizeof(float),
      a.steps = lines * width_;
    }
    a.next_stride = panel_bytes_;
    a.cols = last ? std::min(panels * kPanel, p_.N - n) : panels * kPanel;
    a.bias = last && p_.bias ? p_.bias + n : nullptr;
    a.c_in_stride = panels * kPanel, a.c_out_stride = last ? p_.y_stride : panels * kPanel;
    float* out = last ? p_.y + (first_row_ - p_.first_row) * p_.y_stride + n : sums;
    const auto tile = wide_ ? m_.wide_tile : m_.tile;
    const int64_t share =
        (panels + cut_.tiles - 1) / cut_.tiles;  // the first tiles ask for the next weights, in equal parts
    for (int64_t i = 0; i < cut_.tiles; i++) {
      const int64_t r = cut_.begin(i);
      a.next_panels = int(std::clamp<int64_t>(panels - i * share, 0, share));
      a.next = weights(next.panel + i * share, next.block), a.next_scales = scales(next.panel + i * share, next.block);
      a.x = p_.x.at(b, first_row_ + r);
      a.c_in = b ? sums + r * a.c_in_stride : nullptr;
      a.c_out = out + r * a.c_out_stride;
      tile(int(cut_.begin(i + 1) - r), int(panels), a);
    }
  }

  const Product& p_;
  const Micro& m_;
  int64_t first_row_, rows_;
  RowCut cut_;
  int64_t width_, lines_;
  size_t panel_bytes_;
  int64_t block_lines_;
  bool wide_;
  float *sums_, *widened_;
};

}  // namespace

void PackedX::pack(const Micro& m, const float* x, int64_t block, int64_t row) const {
  m.pack(x + block * kBlockK, std::min(kBlockK, K - block * kBlockK), at(block, row));
}

void product(const Product& p, int64_t begin, int64_t end, std::byte* work) {
  if (begin >= end) return;
  if (p.rows == 1) {
    const int64_t n = begin * kPanel;
    p.micro->row({p.x.at(0, p.first_row), p.x.rows * kBlockK,
                  static_cast<const std::byte*>(p.w) + size_t(begin * panel_bytes(p.x.K, p.w_type)), p.x.K, p.y + n,
                  std::min(end * kPanel, p.N) - n, p.bias ? p.bias + n : nullptr});
    return;
  }
  for (int64_t r = 0; r < p.rows; r += kRowsAtOnce)
    Pass(p, p.first_row + r, std::min(kRowsAtOnce, p.rows - r), work).run(begin, end);
}

int product_threads(int available, double weight_bytes, double mults) {
  // A thread streams about 20 KB and multiplies about 100,000 pairs in a microsecond; waking others costs 2 to 3.
  const double us = weight_bytes / 20e3 + mults / 100e3;
  return int(std::clamp(us / 4, 1.0, double(available)));
}

bool prefers_bf16_dots() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return !__builtin_cpu_is("intel");
#else
  return false;
#endif
}

void run_matmul(const MatMul& a, Device& d, const Micro& micro) {
  const int64_t M = a.x.rows(), K = a.x.cols(), N = a.w.dim[0], panels = (N + kPanel - 1) / kPanel;
  CHECK(a.x.rank == 2 && a.y.rank == 2, int(a.x.rank), int(a.y.rank));
  if (M == 0 || N == 0) return;
  CpuDevice& dev = cpu(d);
  const int n = product_threads(dev.pool().size(), double(a.w.bytes()), double(M) * double(N) * double(K));
  // Few activations: each thread packs them for itself, which is cheaper than waiting for one another.
  const bool own = n == 1 || M * K <= 16384;
  PackedX x{nullptr, M, K, micro.x_bytes};
  const size_t x_bytes = size_t(round_up(int64_t(x.bytes()), 64)), per_thread = kProductBytes + (own ? x_bytes : 0);
  auto* memory = static_cast<std::byte*>(dev.scratch((own ? 0 : x_bytes) + per_thread * size_t(n)));
  // With more threads than panels to share, rows are cut too.
  const int64_t row_parts = M >= kManyRows ? std::clamp<int64_t>(n * 6 / panels, 1, std::min<int64_t>(n, M / 32)) : 1;
  dev.pool().run(n, [&](CpuThread t) {
    std::byte* mine = memory + (own ? 0 : x_bytes) + per_thread * size_t(t.thread);
    PackedX px = x;
    px.data = own ? mine + kProductBytes : memory;
    const int64_t items = M * px.blocks();
    const CpuThread::Range r = own ? CpuThread::Range{0, items} : t.range(items);
    for (int64_t i = r.begin; i < r.end; i++)
      px.pack(micro, a.x.row(i / px.blocks()), i % px.blocks(), i / px.blocks());
    if (!own) t.barrier();
    const int64_t cols = std::max<int64_t>(1, t.n_threads / row_parts), part = t.thread / cols;
    if (part >= row_parts) return;
    const int64_t row = M * part / row_parts, row_end = M * (part + 1) / row_parts;
    const auto share = CpuThread{int(t.thread % cols), int(cols)}.range(panels);
    product({&micro, px, row, row_end - row, a.w.data, a.w.dtype, N, a.bias.as(), a.y.row(row), a.y.stride[0]},
            share.begin, share.end, mine);
  });
}

}  // namespace xylem
