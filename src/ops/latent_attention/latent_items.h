// How a LatentAttention call is cut, the same for every instruction set.
//
// Each row takes one form. In both, keys are taken in tiles at absolute positions; a tile's scores, softmax and values are
// computed against the tile's own maximum and merged into the running result of the query, tile after tile (absorbed: tiles
// into segments, segments into the result). What the result of a query consists of is thus fixed by the form, its position and
// the cache: within a form it has the same bits whatever else is in the batch, however the prompt was cut into chunks, and
// however many threads there are. kAuto may choose another form for the same token when the prompt is cut otherwise; the forms
// differ in rounding only.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "device/cpu/cpu_device.h"
#include "ops/latent_attention/latent_attention.h"
#include "ops/matmul/matmul_product.h"

namespace xylem {
namespace {

// Absorbed form.
constexpr int64_t kLatentTile = 128;                // tokens of a tile: widened, it stays in a second-level cache
constexpr int64_t kSegmentTokens = 512;             // whole tiles; what a thread may compute apart from the rest of a row
constexpr int64_t kItemRows = 64;                   // (query, head) pairs that share a widened tile
constexpr int64_t kFewRows = 8;                     // and as few as that when there would be too little for all threads
constexpr int64_t kPassTokens = 128;                // queries of one pass over w_uk_t and w_uv; bounds the scratch
// Plain form.
constexpr int64_t kKeyTile = kBlockK;               // keys of a tile: one block of the products' inputs
constexpr int64_t kChunkTokens = 2 * kKeyTile;      // keys expanded before the queries go over them
constexpr int64_t kExpandedBytes = 1 << 20;         // expanded keys and values for each thread: they stay in a second-level cache
constexpr int64_t kExpandTokens = 128;              // tokens that a thread expands at a time
constexpr int64_t kQueryRows = 64;                  // queries that a thread takes at a time

struct LatentDims {
  int64_t heads, nope, rope, v, rank, width;
  int64_t row;      // floats from one widened latent, absorbed query or weighted sum to the next: whole vectors, no power of two
  int64_t key;      // of an expanded key
  int64_t v_panels;
  explicit LatentDims(const LatentAttention& a)
      : heads(a.q.dim[1]), nope(a.w_uk.dim[1]), rope(a.cache.rope_dim), v(a.w_uv.dim[1]), rank(a.cache.rank), width(a.cache.width()),
        row(round_up(width, kPanel) + kPanel), key(nope + rope), v_panels((v + kPanel - 1) / kPanel) {
    CHECK(a.q.dim[2] == key && a.w_uk.dim[2] == rank && a.w_uv.dim[2] == rank, a.q.dim[2], a.w_uk.dim[2], a.w_uv.dim[2]);
    CHECK(a.w_uk_t.dim[1] == rank && a.w_uk_t.dim[2] == nope && a.cache.block_tokens > 0, a.w_uk_t.dim[1], a.w_uk_t.dim[2]);
  }
};

inline int64_t latent_block(const LatentAttention& a, int64_t row, int64_t token) {
  return a.table.as<int32_t>()[row * a.table.stride[0] + token / a.cache.block_tokens];
}
inline int64_t latent_index(const LatentAttention& a, int64_t row, int64_t token) {
  return a.cache.index(latent_block(a, row, token), token % a.cache.block_tokens);
}
inline const std::byte* head_matrix(const Tensor& w, int64_t head) {
  return w.as<const std::byte>() + head * packed_bytes(w.dim[1], w.dim[2], w.dtype);
}

// Multiplications of one head for a row of `tokens` queries at the end of `len` tokens:
//   absorbed  tokens * rank * (nope + v)                    + pairs * (2 rank + rope)
//   plain     (len + kRowWeights) * rank * (nope + v)       + pairs * (nope + rope + v)      pairs: (query, key) that see each other
// The absorbed form reads weights once for the whole batch, the plain form for each row: worth kRowWeights tokens more.
inline bool takes_absorbed(const LatentAttention& a, const LatentDims& n, int64_t tokens, int64_t len) {
  if (a.form != LatentAttention::Form::kAuto) return a.form == LatentAttention::Form::kAbsorbed;
  constexpr double kRowWeights = 4;
  const double up = double(n.rank * (n.nope + n.v)), pairs = double(tokens) * (double(len) - 0.5 * double(tokens - 1));
  return double(tokens) * up + pairs * double(2 * n.rank + n.rope) <= (double(len) + kRowWeights) * up + pairs * double(n.key + n.v);
}

struct LatentToken {
  int32_t row, token, position;
};
struct PlainRow {
  int32_t row, token, tokens, len;
};
struct LatentForms {
  std::vector<LatentToken> absorbed;
  std::vector<PlainRow> plain;
};
inline LatentForms choose_forms(const LatentAttention& a, const LatentDims& n) {
  LatentForms forms;
  const int32_t *cu = a.cu_q.as<int32_t>(), *len = a.kv_len.as<int32_t>();
  for (int32_t b = 0; b < a.kv_len.numel(); b++) {
    const int32_t tokens = cu[b + 1] - cu[b];
    if (tokens <= 0) continue;
    if (takes_absorbed(a, n, tokens, len[b]))
      for (int32_t i = 0; i < tokens; i++) forms.absorbed.push_back({b, cu[b] + i, len[b] - tokens + i});
    else
      forms.plain.push_back({b, cu[b], tokens, len[b]});
  }
  return forms;
}

// Queries [first, first + tokens) of a pass x heads [head, head + heads) over segments [begin, end): either one query, or all
// heads of several queries of one row, so that the pairs lie one after the other.
struct LatentItem {
  int32_t row = 0, position = 0;  // of the first query
  int32_t first = 0, tokens = 0, head = 0, heads = 0;
  int32_t begin = 0, end = 0;
  int64_t partial = -1;  // floats into the partial results, of segment `begin`; -1: the item writes the result itself
  int64_t rows() const { return int64_t(tokens) * heads; }
};
struct LatentItems {
  std::vector<LatentItem> items, merges;  // merges: whole ranges of the items that were split over keys
  int64_t partial_floats = 0;
};
// A partial result of one segment: values [rows][row], maxima [kItemRows], sums [kItemRows].
inline int64_t latent_partial(int64_t rows, int64_t row) { return rows * row + 2 * kItemRows; }

inline std::vector<LatentItem> whole_latent_items(const std::vector<LatentToken>& pass, int64_t H, int64_t heads, int64_t tokens) {
  std::vector<LatentItem> v;
  for (size_t i = 0; i < pass.size();) {
    size_t end = i + 1;
    while (end < pass.size() && end - i < size_t(tokens) && pass[end].row == pass[i].row) end++;
    for (int64_t h = 0; h < H; h += heads) {
      LatentItem it{pass[i].row, pass[i].position, int32_t(i), int32_t(end - i), int32_t(h), int32_t(std::min(heads, H - h))};
      it.end = int32_t(pass[end - 1].position / kSegmentTokens + 1);
      v.push_back(it);
    }
    i = end;
  }
  return v;
}

// Items that are long beside the share of a thread are split over keys.
inline LatentItems make_latent_items(const std::vector<LatentToken>& pass, const LatentDims& n, int threads) {
  const int64_t chunks = (n.heads + kItemRows - 1) / kItemRows;
  int64_t heads = (n.heads + chunks - 1) / chunks, tokens = chunks == 1 ? kItemRows / n.heads : 1, total = 0;
  std::vector<LatentItem> whole;
  for (;;) {
    whole = whole_latent_items(pass, n.heads, heads, tokens);
    total = 0;
    for (const LatentItem& it : whole) total += it.end;
    if (threads == 1 || total >= 2 * threads) break;
    if (tokens > 1) tokens = 1;
    else if (heads > kFewRows) heads = (heads + 1) / 2;
    else break;
  }
  LatentItems list;
  const int32_t limit = int32_t(std::max<int64_t>(1, total / (4 * threads)));
  for (LatentItem& it : whole) {
    if (threads == 1 || it.end <= limit) {
      list.items.push_back(it);
      continue;
    }
    const int64_t size = latent_partial(it.rows(), n.row);
    it.partial = list.partial_floats;
    list.partial_floats += size * it.end;
    list.merges.push_back(it);
    for (LatentItem part = it; part.begin < it.end; part.begin = part.end) {
      part.end = std::min(it.end, part.begin + limit);
      part.partial = it.partial + size * part.begin;
      list.items.push_back(part);
    }
  }
  return list;
}

// Work items of several phases of one region, numbered on from phase to phase: a thread that runs out of a phase's items
// keeps the number it drew for the next one.
class Phases {
 public:
  explicit Phases(CpuThread t) : next_(t.pool->next_item()), mine_(draw()) {}
  template <class F>
  void run(int64_t items, F&& f) {
    for (; mine_ < begin_ + items; mine_ = draw()) f(mine_ - begin_);
    begin_ += items;
  }

 private:
  int64_t draw() { return next_.fetch_add(1, std::memory_order_relaxed); }
  std::atomic<int64_t>& next_;
  int64_t begin_ = 0, mine_;
};

// out[rows, panels * 16] = x times panels of float32, which lie `panel` floats apart: [K][16] each.
inline void multiply_panels(const Micro& m, const PackedX& x, const float* w, int64_t panel, int64_t panels, float* out, int64_t out_stride) {
  const int64_t tiles = (x.rows + m.rows - 1) / m.rows;
  TileArgs a{};
  a.w_stride = a.next_stride = size_t(panel) * sizeof(float), a.c_in_stride = a.c_out_stride = out_stride;
  for (int64_t q = 0; q < panels; q += m.panels) {
    const int64_t n = std::min<int64_t>(m.panels, panels - q);
    a.cols = n * kPanel;
    for (int64_t b = 0; b < x.blocks(); b++) {
      a.w = a.next = reinterpret_cast<const std::byte*>(w + q * panel + b * kBlockK * kPanel);
      a.steps = std::min(kBlockK, x.K - b * kBlockK);
      for (int64_t i = 0; i < tiles; i++) {
        const int64_t r = x.rows * i / tiles, end = x.rows * (i + 1) / tiles;
        a.x = x.at(b, r), a.c_out = out + r * out_stride + q * kPanel, a.c_in = b ? a.c_out : nullptr;
        m.tile(int(end - r), int(n), a);
      }
    }
  }
}

// Hands out parts of one piece of memory, each on a line of its own; with no memory it only counts.
class Carve {
 public:
  explicit Carve(std::byte* at) : at_(at) {}
  template <class T>
  void operator()(T*& p, int64_t n) {
    p = at_ ? reinterpret_cast<T*>(at_ + used_) : nullptr;
    used_ += round_up(n * int64_t(sizeof(T)), 64);
  }
  int64_t used() const { return used_; }

 private:
  std::byte* at_;
  int64_t used_ = 0;
};

}  // namespace
}  // namespace xylem
