// Queries are taken in blocks, keys in tiles: a block's scores of a tile and the tile's share of the values are matrix
// products by the inner loops of MatMul, between them stands the softmax against the maximum so far. What a query gets
// is fixed by its segment alone: it has the same bits whatever else is in the call, and however many threads there are.
#include "ops/segment_attention/segment_attention.h"

#include <vector>

#include "ops/check_shape.h"
#include "ops/matmul/matmul_product.h"

namespace xylem {
namespace {

constexpr int64_t kTile = 192;  // keys: their values of 32 dimensions stay in a first-level cache of 32 KiB
constexpr int64_t kRows = 32;   // queries of a block, at most: their scores stay there too
constexpr int64_t kWaveBytes = int64_t(64) << 20;  // of packed K and V, unless one head of one segment is larger
constexpr int64_t kRowsAhead = 8;
constexpr float kLog2E = 1.44269504088896341f;
static_assert(kTile <= kBlockK);

// The scores of some rows and the keys of a tile; they become the probabilities. Rows of s are kBlockK apart.
struct SoftmaxTile {
  bool first;  // of the tiles
  float* s;
  int64_t rows, keys;
  float scale;  // times log2(e)
  float* max;   // [rows] so far
  float* sum;   // [rows, kPanel]: added up they are the sum
  float* o;     // [rows, width] so far, scaled down where the maximum rises
  int64_t width;
};

}  // namespace
}  // namespace xylem

#define XYLEM_VEC_BODY "ops/segment_attention/segment_attention.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {

// One instruction set's way to do the parts.
struct Parts {
  const Micro& micro;
  void (*softmax)(const SoftmaxTile&);
  void (*divide)(const float* o, const float* sums, float* y, int64_t n);
};

// Panels of packed numbers, `stride` bytes apart.
struct Panels {
  const std::byte* data;
  int64_t stride, count, lines;
};

// out = (in +) x panels^T for up to kRows rows of x, kBlockK apart. Rows of in and out are stride apart; in may be out.
void multiply(const Micro& m, const std::byte* x, int64_t rows, const Panels& w, const float* in, float* out,
              int64_t stride) {
  const int64_t groups = (w.count + m.panels - 1) / m.panels, tiles = (rows + m.rows - 1) / m.rows;
  for (int64_t g = 0; g < groups; g++) {
    const int64_t p = w.count * g / groups, p_end = w.count * (g + 1) / groups;
    TileArgs a{};
    a.w = w.data + p * w.stride, a.w_stride = size_t(w.stride), a.steps = w.lines;
    a.c_in_stride = a.c_out_stride = stride, a.cols = (p_end - p) * kPanel;
    a.next_stride = size_t(w.stride);
    const int64_t ahead = w.count * std::min(g + 2, groups) / groups - p_end, share = (ahead + tiles - 1) / tiles;
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t r = rows * i / tiles, r_end = rows * (i + 1) / tiles;
      a.x = x + r * kBlockK * int64_t(m.x_bytes);
      a.c_in = in ? in + r * stride + p * kPanel : nullptr, a.c_out = out + r * stride + p * kPanel;
      a.next_panels = int(std::clamp<int64_t>(ahead - i * share, 0, share));
      a.next = w.data + (p_end + i * share) * w.stride;
      m.tile(int(r_end - r), int(p_end - p), a);
    }
  }
}

// One head of one segment: rows [first, first + n). K and V are packed as weights are, for products with K^T and with
// V.
struct Unit {
  int64_t first, n, head;
  int64_t at;  // bytes into the memory of the wave
};

class Run {
 public:
  Run(const SegmentAttention& a, Device& d, const Parts& parts)
      : a_(a),
        parts_(parts),
        m_(parts.micro),
        pool_(cpu(d).pool()),
        device_(cpu(d)),
        heads_(a.q.dim[1]),
        dim_(a.q.dim[2]),
        width_(round_up(dim_, kPanel)),
        pair_(int64_t(4 / m_.x_bytes)) {}

  void run() {
    const auto* cu = a_.cu.as<int32_t>();
    std::vector<Unit> wave;
    int64_t bytes = 0;
    for (int64_t b = 0; b + 1 < a_.cu.numel(); b++)
      for (int64_t h = 0; h < heads_ && cu[b + 1] > cu[b]; h++) {
        Unit u{cu[b], cu[b + 1] - cu[b], h, bytes};
        CHECK(u.first >= 0 && cu[b + 1] <= a_.q.dim[0], u.first, u.n, a_.q.dim[0]);
        if (!wave.empty() && bytes + unit_bytes(u) > kWaveBytes) run_wave(wave, bytes), wave.clear(), u.at = bytes = 0;
        bytes += unit_bytes(u);
        wave.push_back(u);
      }
    if (!wave.empty()) run_wave(wave, bytes);
  }

 private:
  // Of a thread.
  struct Work {
    std::byte *q, *p;  // packed rows; p may be s
    float *s, *o, *max, *sum;
  };
  struct Block {
    const Unit* unit;
    int64_t begin, end;  // queries of the segment
  };

  int64_t lines(int64_t n) const { return (n + pair_ - 1) / pair_; }
  int64_t key_panels(const Unit& u) const { return (u.n + kPanel - 1) / kPanel; }
  int64_t k_stride() const { return lines(dim_) * 64; }
  int64_t v_stride(const Unit& u) const { return lines(u.n) * 64; }
  int64_t k_bytes(const Unit& u) const { return key_panels(u) * k_stride(); }
  int64_t unit_bytes(const Unit& u) const { return k_bytes(u) + width_ / kPanel * v_stride(u); }

  PackedX packed_q(std::byte* at) const { return {at, kRows, dim_, m_.x_bytes}; }
  int64_t q_bytes() const { return int64_t(packed_q(nullptr).bytes()); }
  int64_t work_bytes() const {
    const int64_t p = pair_ > 1 ? kRows * kBlockK * int64_t(m_.x_bytes) : 0;
    return q_bytes() + p + (kRows * kBlockK + kRows * width_ + kRows * (1 + kPanel)) * 4;
  }
  Work work(std::byte* at) const {
    Work w;
    w.q = at, at += q_bytes();
    w.s = reinterpret_cast<float*>(at), at += kRows * kBlockK * 4;
    w.p = pair_ > 1 ? at : reinterpret_cast<std::byte*>(w.s),
    at += pair_ > 1 ? kRows * kBlockK * int64_t(m_.x_bytes) : 0;
    w.o = reinterpret_cast<float*>(at), w.sum = w.o + kRows * width_, w.max = w.sum + kRows * kPanel;
    return w;
  }

  void run_wave(const std::vector<Unit>& units, int64_t bytes) {
    std::vector<Block> blocks, tiles;
    for (const Unit& u : units) {
      const int64_t n = (u.n + kRows - 1) / kRows;
      for (int64_t i = 0; i < n; i++) blocks.push_back({&u, u.n * i / n, u.n * (i + 1) / n});
      for (int64_t i = 0; i < u.n; i += kTile) tiles.push_back({&u, i, std::min(u.n, i + kTile)});
    }
    double products = 0;
    for (const Unit& u : units) products += 2.0 * double(u.n) * double(u.n) * double(dim_);
    const int threads = product_threads(pool_.size(), double(bytes), products);
    const auto n_blocks = int64_t(blocks.size());
    auto* memory = static_cast<std::byte*>(device_.scratch(size_t(bytes + work_bytes() * threads)));
    pool_.run(threads, [&](CpuThread t) {
      const Work w = work(memory + bytes + work_bytes() * t.thread);
      const auto mine = t.range(int64_t(tiles.size()));
      for (int64_t i = mine.begin; i < mine.end; i++) pack_tile(tiles[size_t(i)], memory, w);
      t.barrier();
      auto& next = t.pool->next_item();
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n_blocks;)
        block(blocks[size_t(i)], memory, w);
    });
  }

  // Rows of one head lie far apart: the processor's own prefetch does not see them coming.
  const float* row(const Tensor& t, const Unit& u, int64_t i) const {
    const float* x = t.as() + (u.first + i) * t.stride[0] + u.head * t.stride[1];
    const float* ahead = x + std::min(kRowsAhead, u.n - 1 - i) * t.stride[0];
    for (int64_t d = 0; d < dim_; d += kPanel) __builtin_prefetch(ahead + d);
    return x;
  }
  // One row as 32-bit words: rounded and in pairs, if that is what the inner loops take; zeros up to a whole panel.
  void pack_row(const float* x, std::byte* words) const {
    std::memset(words + size_t(dim_ / kPanel * kPanel) * m_.x_bytes, 0, size_t(kPanel) * m_.x_bytes);
    for (int64_t d = 0; d < dim_; d += kBlockK)
      m_.pack(x + d, std::min(kBlockK, dim_ - d), words + size_t(d) * m_.x_bytes);
  }

  // K and V of keys [begin, end) of a tile.
  void pack_tile(const Block& t, std::byte* memory, const Work& w) const {
    const Unit& u = *t.unit;
    auto* words = reinterpret_cast<std::byte*>(w.s);
    for (int64_t i = t.begin; i < round_up(t.end, kPanel); i++) {
      if (i < u.n) pack_row(row(a_.k, u, i), words);
      auto* k = reinterpret_cast<uint32_t*>(memory + u.at + i / kPanel * k_stride()) + i % kPanel;
      for (int64_t j = 0; j < lines(dim_); j++)
        k[j * kPanel] = i < u.n ? reinterpret_cast<const uint32_t*>(words)[j] : 0;
    }
    for (int64_t i = t.begin; i < round_up(t.end, pair_); i++) {
      if (i < u.n)
        pack_row(row(a_.v, u, i), words);
      else
        std::memset(words, 0, size_t(width_) * m_.x_bytes);
      std::byte* v = memory + u.at + k_bytes(u) + i / pair_ * 64;
      for (int64_t d = 0; d < width_; d += kPanel, v += v_stride(u)) {
        if (pair_ == 1)
          std::memcpy(v, words + d * 4, 64);
        else
          for (int64_t j = 0; j < kPanel; j++) std::memcpy(v + j * 4 + i % 2 * 2, words + (d + j) * 2, 2);
      }
    }
  }

  void block(const Block& b, const std::byte* memory, const Work& w) const {
    const Unit& u = *b.unit;
    const std::byte *k = memory + u.at, *v = k + k_bytes(u);
    const int64_t rows = b.end - b.begin, block_lines = kBlockK / pair_;
    const PackedX q = packed_q(w.q);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < q.blocks(); i++) q.pack(m_, row(a_.q, u, b.begin + r), i, r);
    for (int64_t first = 0; first < u.n; first += kTile) {
      const int64_t keys = std::min(kTile, u.n - first);
      for (int64_t i = 0; i < q.blocks(); i++) {
        const Panels part{k + first / kPanel * k_stride() + i * block_lines * 64, k_stride(),
                          (keys + kPanel - 1) / kPanel, std::min(block_lines, lines(dim_) - i * block_lines)};
        multiply(m_, q.at(i, 0), rows, part, i ? w.s : nullptr, w.s, kBlockK);
      }
      parts_.softmax({first == 0, w.s, rows, keys, a_.scale * kLog2E, w.max, w.sum, w.o, width_});
      for (int64_t r = 0; r < rows && pair_ > 1; r++)
        m_.pack(w.s + r * kBlockK, keys, w.p + size_t(r * kBlockK) * m_.x_bytes);
      const Panels values{v + first / pair_ * 64, v_stride(u), width_ / kPanel, lines(keys)};
      multiply(m_, w.p, rows, values, first ? w.o : nullptr, w.o, width_);
    }
    for (int64_t r = 0; r < rows; r++)
      parts_.divide(w.o + r * width_, w.sum + r * kPanel,
                    a_.y.as() + ((u.first + b.begin + r) * heads_ + u.head) * dim_, dim_);
  }

  const SegmentAttention& a_;
  const Parts& parts_;
  const Micro& m_;
  ThreadPool& pool_;
  CpuDevice& device_;
  int64_t heads_, dim_;
  int64_t width_;  // dim, filled up to whole panels
  int64_t pair_;   // elements of a 32-bit word
};

void run(const SegmentAttention& a, Device& d, const Parts& parts) {
  const int64_t n = a.q.dim[0], heads = a.q.dim[1], dim = a.q.dim[2];
  check_shape("q", a.q, {n, heads, dim}), check_shape("k", a.k, {n, heads, dim}),
      check_shape("v", a.v, {n, heads, dim});
  check_contiguous("cu", a.cu, {a.cu.numel()}, DType::kI32), check_contiguous("y", a.y, {n, heads, dim});
  CHECK(dim > 0 && dim + kPanel <= kRows * kBlockK, dim);
  Run(a, d, parts).run();
}

using Op = SegmentAttention;
const Kernel<Op> plain(Dev::kCpu, "portable", 10, nullptr, [](const Op& a, Device& d) {
  run(a, d, {table_micro(portable_micros(), DType::kF32, a.round_x), portable::softmax, portable::divide});
});
#if defined(__x86_64__)
const Kernel<Op> eight(Dev::kCpu, "avx2", 20, has_isa<Isa::kAvx2>, [](const Op& a, Device& d) {
  run(a, d, {table_micro(avx2_micros(), DType::kF32, a.round_x), avx2::softmax, avx2::divide});
});
const Kernel<Op> sixteen(Dev::kCpu, "avx512", 30, has_isa<Isa::kAvx512>, [](const Op& a, Device& d) {
  run(a, d, {table_micro(avx512_micros(), DType::kF32, a.round_x), avx512::softmax, avx512::divide});
});
bool rounds(const Op& a, const Device& d) { return a.round_x && cpu_isa(d) >= Isa::kAvx512Bf16; }
const Kernel<Op> pairs(Dev::kCpu, "avx512_bf16", bf16_dots_priority(), rounds, [](const Op& a, Device& d) {
  run(a, d, {avx512_bf16_micro(), avx512::softmax, avx512::divide});
});
#endif

}  // namespace
}  // namespace xylem
