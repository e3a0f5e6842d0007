// The plain form, row by row and a few heads at a time: (1) keys and values of a chunk of tokens are expanded for these heads,
// as panels of 16 keys and of 16 value dimensions; (2) all queries of the row go over the chunk. Both by all threads. A query's
// running result is kept from chunk to chunk, expanded keys and values are not.

template <int kStep, int... I>
inline void exchange(V& a, V& b, std::integer_sequence<int, I...>) {
  const V x = __builtin_shufflevector(a, b, (I & kStep ? kN + I - kStep : I)...);
  b = __builtin_shufflevector(a, b, (I & kStep ? kN + I : I + kStep)...);
  a = x;
}
template <int kStep = 1>
inline __attribute__((always_inline)) void transpose(V* v) {
  if constexpr (kStep < kN) {
#pragma GCC unroll 16
    for (int i = 0; i < kN; i++)
      if (!(i & kStep)) exchange<kStep>(v[i], v[i + kStep], std::make_integer_sequence<int, kN>());
    transpose<2 * kStep>(v);
  }
}

template <class E>
class Plain {
 public:
  Plain(const LatentAttention& a, const LatentDims& n, const std::vector<PlainRow>& rows) : a_(a), n_(n), rows_(rows) {}

  void run(CpuDevice& d) {
    const double up = double(n_.heads * n_.rank * (n_.nope + n_.v));
    double mults = 0;
    int64_t queries = 0, keys = 0;
    for (const PlainRow& r : rows_) {
      mults += double(r.len) * up + double(r.tokens) * double(r.len - r.tokens / 2) * double(n_.heads * (n_.key + n_.v));
      queries = std::max<int64_t>(queries, r.tokens), keys = std::max<int64_t>(keys, r.len);
    }
    const int threads = product_threads(d.pool().size(), up * double(dtype_bytes(a_.w_uk.dtype)), mults);
    keys_ = std::min(round_up(keys, kKeyTile), kChunkTokens);
    const int64_t head_bytes = keys_ * (n_.key + n_.v_panels * kPanel) * 4;
    heads_ = std::min(n_.heads, std::max<int64_t>(threads, threads * kExpandedBytes / head_bytes));
    queries_ = round_up(queries, kQueryRows);
    const int64_t shared = Shared(*this, nullptr).bytes, own = Work(n_, nullptr).bytes;
    auto* memory = static_cast<std::byte*>(d.scratch(size_t(shared + own * threads)));
    const Shared s(*this, memory);
    d.pool().run(threads, [&](CpuThread t) {
      Work w(n_, memory + shared + own * t.thread);
      Phases phases(t);
      for (const PlainRow& row : rows_)
        for (int64_t head = 0; head < n_.heads; head += heads_) {
          const int64_t heads = std::min(heads_, n_.heads - head);
          for (int64_t start = 0; start < row.len; start += kChunkTokens) {
            const int64_t tokens = std::min(kChunkTokens, row.len - start), pieces = (tokens + kExpandTokens - 1) / kExpandTokens;
            const int64_t blocks = (row.tokens + kQueryRows - 1) / kQueryRows;
            phases.run(heads * pieces, [&](int64_t i) {
              const int64_t first = i % pieces * kExpandTokens;
              expand(s, w, row.row, start, first, std::min(kExpandTokens, tokens - first), head, i / pieces);
            });
            t.barrier();
            phases.run(heads * blocks, [&](int64_t i) { attend(s, w, row, start, tokens, i % blocks * kQueryRows, head, i / blocks); });
            t.barrier();
          }
        }
    });
  }

 private:
  // Of a few heads, between the threads. K [tile][16 panels][key][16], V [tile][v panels][kKeyTile][16]; results of all queries.
  struct Shared {
    float *k, *v;
    Running result;
    int64_t k_head, v_head, bytes;
    Shared(const Plain& p, std::byte* at) : k_head(p.keys_ * p.n_.key), v_head(p.keys_ * p.n_.v_panels * kPanel) {
      Carve carve(at);
      carve(k, p.heads_ * k_head), carve(v, p.heads_ * v_head);
      carve(result.value, p.heads_ * p.queries_ * p.n_.v_panels * kPanel), carve(result.max, p.heads_ * p.queries_), carve(result.sum, p.heads_ * p.queries_);
      bytes = carve.used();
    }
  };
  // One thread's memory: that of the expansion and that of the queries lie in the same place.
  struct Work {
    std::byte* product;
    float *latents, *x, *out;  // [kExpandTokens] rows: widened, packed, expanded
    float *q, *s, *o;          // [kQueryRows] rows: packed queries, scores and weights of a tile, values of a tile
    float *tile_max, *tile_sum;
    Factors factors;
    int64_t bytes;
    Work(const LatentDims& n, std::byte* at) {
      Carve expansion(at), queries(at);
      expansion(product, kProductBytes), expansion(latents, kExpandTokens * n.row), expansion(x, kExpandTokens * round_up(n.rank, kBlockK));
      expansion(out, kExpandTokens * out_row(n));
      queries(q, kQueryRows * round_up(n.key, kBlockK)), queries(s, kQueryRows * kKeyTile), queries(o, kQueryRows * n.v_panels * kPanel);
      for (float** f : {&tile_max, &tile_sum, &factors.before, &factors.added}) queries(*f, kQueryRows);
      bytes = std::max(expansion.used(), queries.used());
    }
  };
  static int64_t out_row(const LatentDims& n) { return round_up(std::max(n.key, n.v), kPanel) + kPanel; }

  // Keys and values of tokens [first, first + tokens) of the chunk that begins at `start`, for head `head + h`.
  void expand(const Shared& s, Work& w, int64_t row, int64_t start, int64_t first, int64_t tokens, int64_t head, int64_t h) const {
    for (int64_t t = 0; t < tokens; t++)
      widen_row(a_.cache.pool.as<const E>() + latent_index(a_, row, start + first + t), n_.width, w.latents + t * n_.row);
    float* k = s.k + h * s.k_head + first * n_.key;
    multiply(a_.w_uk, head + h, tokens, w);
    for (int64_t t = 0; t < tokens; t++) std::memcpy(w.out + t * out_row(n_) + n_.nope, w.latents + t * n_.row + n_.rank, size_t(n_.rope) * sizeof(float));
    for (int64_t t = 0; t < tokens; t += kPanel) store_keys(w.out + t * out_row(n_), k + t * n_.key);
    multiply(a_.w_uv, head + h, tokens, w);
    const int64_t tile = first / kKeyTile, in_tile = first % kKeyTile;
    float* v = s.v + h * s.v_head + tile * kKeyTile * n_.v_panels * kPanel + in_tile * kPanel;
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t p = 0; p < n_.v_panels; p++) std::memcpy(v + (p * kKeyTile + t) * kPanel, w.out + t * out_row(n_) + p * kPanel, kPanel * sizeof(float));
  }

  // w.out = weights of a head times w.latents
  void multiply(const Tensor& weights, int64_t head, int64_t tokens, Work& w) const {
    const Micro& m = micro_of(weights.dtype);
    PackedX x{w.x, tokens, n_.rank, m.x_bytes};
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t b = 0; b < x.blocks(); b++) x.pack(m, w.latents + t * n_.row, b, t);
    const int64_t N = weights.dim[1];
    product({&m, x, 0, tokens, head_matrix(weights, head), weights.dtype, N, nullptr, w.out, out_row(n_)}, 0, (N + kPanel - 1) / kPanel, w.product);
  }

  // 16 keys, one in each row, as a panel.
  void store_keys(const float* rows, float* panel) const {
    for (int64_t i = 0; i < n_.key; i += kN)
      for (int64_t lane = 0; lane < kPanel; lane += kN) {
        V v[kN];
        for (int j = 0; j < kN; j++) v[j] = load(rows + (lane + j) * out_row(n_) + i);
        transpose(v);
        for (int64_t j = 0; j < std::min<int64_t>(kN, n_.key - i); j++) store(panel + (i + j) * kPanel + lane, v[j]);
      }
  }

  // Queries [first, first + kQueryRows) of the row over the chunk's keys.
  void attend(const Shared& s, Work& w, const PlainRow& row, int64_t start, int64_t tokens, int64_t first, int64_t head, int64_t h) const {
    const int64_t rows = std::min(kQueryRows, row.tokens - first), position = row.len - row.tokens + first, vp = n_.v_panels * kPanel;
    const int64_t keys = std::min(start + tokens, position + rows) - start;  // that some query sees
    const int64_t at = h * queries_ + first;
    const Running r{s.result.value + at * vp, s.result.max + at, s.result.sum + at};
    if (start == 0) r.clear(kQueryRows, rows * vp);
    if (keys > 0) {
      const Micro& m = micro_of(DType::kF32);
      PackedX q{w.q, rows, n_.key, m.x_bytes}, p{w.s, rows, kKeyTile, m.x_bytes};
      for (int64_t i = 0; i < rows; i++)
        for (int64_t b = 0; b < q.blocks(); b++)
          q.pack(m, a_.q.as<const float>() + (row.token + first + i) * a_.q.stride[0] + (head + h) * a_.q.stride[1], b, i);
      for (float* f : {w.tile_max, w.tile_sum}) std::fill_n(f, kQueryRows, 0.0f);
      for (int64_t tile = 0; tile < keys; tile += kKeyTile) {
        const int64_t seen = std::min(kKeyTile, keys - tile);
        multiply_panels(m, q, s.k + h * s.k_head + tile * n_.key, n_.key * kPanel, (seen + kPanel - 1) / kPanel, w.s, kKeyTile);
        for (int64_t i = 0; i < rows; i++)
          softmax_row(w.s + i * kKeyTile, position + i + 1 - start - tile, seen, a_.scale, w.tile_max + i, w.tile_sum + i);
        merge_factors(w.tile_max, w.tile_sum, rows, r, w.factors);
        p.K = seen;
        multiply_panels(m, p, s.v + h * s.v_head + tile * vp, kKeyTile * kPanel, n_.v_panels, w.o, vp);
        for (int64_t i = 0; i < rows; i++) merge_values(w.o + i * vp, vp, w.factors.before[i], w.factors.added[i], r.value + i * vp);
      }
    }
    if (start + kChunkTokens < row.len) return;
    for (int64_t i = 0; i < rows; i++)
      divide(r.value + i * vp, r.sum[i], n_.v, a_.y.as() + ((row.token + first + i) * n_.heads + head + h) * n_.v);
  }

  const LatentAttention& a_;
  const LatentDims& n_;
  const std::vector<PlainRow>& rows_;
  int64_t heads_ = 0, keys_ = 0, queries_ = 0;  // of a wave: heads, keys and queries at most
};
