// The absorbed form. For a pass of queries: (1) q_nope goes through w_uk_t; (2) pairs of query and head attend to the latents,
// which are widened tile by tile and then serve as keys and values of all pairs of an item; (3) the weighted sums go through w_uv.

// Lane of concat(a, b) that lane `to` of a merge takes, when a and b hold groups of kWidth partial sums and each group is
// halved: the groups of a, then those of b. half: which of the two that are added.
template <int kWidth>
constexpr int merged_lane(int to, int half) {
  const int j = to % (kN / 2), w = kWidth / 2;
  return (to >= kN / 2) * kN + j / w * kWidth + j % w + half * w;
}
template <int kWidth, int... I>
inline V merge_sums(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, merged_lane<kWidth>(I, 0)...) + __builtin_shufflevector(a, b, merged_lane<kWidth>(I, 1)...);
}
// Lane i of the result: the sum of the lanes of v[i].
template <int kWidth = kN>
inline __attribute__((always_inline)) V sums(const V* v) {
  if constexpr (kWidth == 1) return v[0];
  else {
    V half[kWidth / 2];
#pragma GCC unroll 8
    for (int i = 0; i < kWidth / 2; i++) half[i] = merge_sums<kWidth>(v[2 * i], v[2 * i + 1], std::make_integer_sequence<int, kN>());
    return sums<kWidth / 2>(half);
  }
}

// Scores are computed for blocks of kDotRows x kDotTokens = kN pairs, values for blocks of up to kSumRows x kSumVecs vectors:
// as many sums as there are registers for.
constexpr int kDotRows = kN == 4 ? 2 : 4, kDotTokens = kN / kDotRows;
constexpr int kSumRows = kN == 4 ? 4 : 6, kSumVecs = kN == 16 ? 4 : 2;
constexpr int64_t kNearTokens = kN == 16 ? 12 : 8;  // latents that stay in the first-level cache while all rows are multiplied with them

// s[row][token] = q[row] . c[token] over n numbers, a multiple of kN. A latent of a later tile is asked for at the same pace.
template <class E>
inline void dot_block(const float* const* q, const float* c, int64_t c_stride, int64_t n, const E* ahead, float* sums_out) {
  V acc[kN] = {};
  for (int64_t i = 0; i < n; i += kN) {
    V x[kDotTokens];
#pragma GCC unroll 4
    for (int t = 0; t < kDotTokens; t++) x[t] = load(c + t * c_stride + i);
    __builtin_prefetch(ahead + i, 0, 2);
#pragma GCC unroll 4
    for (int r = 0; r < kDotRows; r++) {
      const V y = load(q[r] + i);
#pragma GCC unroll 4
      for (int t = 0; t < kDotTokens; t++) acc[r * kDotTokens + t] = fma(y, x[t], acc[r * kDotTokens + t]);
    }
  }
  store(sums_out, sums(acc));
}

// z = z * before + added * (p c) for R rows and C vectors of columns.
template <int R, int C>
inline void sum_block(const float* p, const float* c, int64_t stride, int64_t tokens, const float* before, const float* added, float* z) {
  V acc[R][C] = {};
  for (int64_t t = 0; t < tokens; t++) {
    V x[C];
#pragma GCC unroll 4
    for (int i = 0; i < C; i++) x[i] = load(c + t * stride + i * kN);
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) {
      const V y = splat(p[r * kLatentTile + t]);
#pragma GCC unroll 4
      for (int i = 0; i < C; i++) acc[r][i] = fma(y, x[i], acc[r][i]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int i = 0; i < C; i++) {
      float* at = z + r * stride + i * kN;
      store(at, fma(acc[r][i], splat(added[r]), load(at) * before[r]));
    }
}
template <int R, int C>
inline void sum_rows(int64_t rows, const float* p, const float* c, int64_t stride, int64_t tokens, const float* before, const float* added, float* z) {
  int64_t r = 0;
  for (; r + R <= rows; r += R) sum_block<R, C>(p + r * kLatentTile, c, stride, tokens, before + r, added + r, z + r * stride);
  if constexpr (R > 1) {
    if (r < rows) sum_rows<R - 1, C>(rows - r, p + r * kLatentTile, c, stride, tokens, before + r, added + r, z + r * stride);
  }
}

template <class E>
class Absorbed {
 public:
  Absorbed(const LatentAttention& a, const LatentDims& n, std::vector<LatentToken> pass) : a_(a), n_(n), pass_(std::move(pass)), T_(int64_t(pass_.size())) {}

  void run(CpuDevice& d) {
    const double weights = double(packed_bytes(n_.rank, n_.nope, a_.w_uk_t.dtype) + packed_bytes(n_.v, n_.rank, a_.w_uv.dtype)) * double(n_.heads);
    double mults = double(T_ * n_.heads * n_.rank * (n_.nope + n_.v));
    for (const LatentToken& t : pass_) mults += double(t.position + 1) * double(n_.heads * (n_.width + n_.rank));
    const int threads = product_threads(d.pool().size(), weights, mults);
    const LatentItems list = make_latent_items(pass_, n_, threads);
    const int64_t qz = round_up(T_ * n_.heads * n_.row * 4, 64), partials = round_up(list.partial_floats * 4, 64), own = Work(n_, T_, nullptr).bytes;
    auto* memory = static_cast<std::byte*>(d.scratch(size_t(qz + partials + own * threads)));
    qz_ = reinterpret_cast<float*>(memory), partials_ = reinterpret_cast<float*>(memory + qz);
    // Matrices are cut only where there are few heads for the threads.
    const int64_t parts = (4 * threads + n_.heads - 1) / n_.heads;
    d.pool().run(threads, [&](CpuThread t) {
      Work w(n_, T_, memory + qz + partials + own * t.thread);
      Phases phases(t);
      phases.run(n_.heads * parts, [&](int64_t i) { absorb(i / parts, i % parts, parts, w); });
      t.barrier();
      phases.run(int64_t(list.items.size()), [&](int64_t i) { item(list.items[size_t(i)], w); });
      t.barrier();
      if (!list.merges.empty()) {
        for (const LatentItem& m : list.merges) phases.run(m.rows(), [&](int64_t r) { merge_row(m, r, w); });
        t.barrier();
      }
      phases.run(n_.heads * parts, [&](int64_t i) { finish(i / parts, i % parts, parts, w); });
    });
  }

 private:
  // One thread's memory: that of the products and that of the attention lie in the same place.
  struct Work {
    std::byte* product;
    float *x, *y;             // packed inputs, outputs of a product
    float *tile, *s;          // [kLatentTile][row], [kItemRows][kLatentTile]
    Running segment, total;   // of kItemRows
    float *tile_max, *tile_sum;
    Factors factors;
    int64_t bytes;
    Work(const LatentDims& n, int64_t tokens, std::byte* at) {
      Carve products(at), attention(at);
      products(product, kProductBytes), products(x, tokens * round_up(std::max(n.nope, n.rank), kBlockK)), products(y, tokens * n.v);
      attention(tile, kLatentTile * n.row), attention(s, kItemRows * kLatentTile);
      for (Running* r : {&segment, &total}) attention(r->value, kItemRows * n.row), attention(r->max, kItemRows), attention(r->sum, kItemRows);
      for (float** f : {&tile_max, &tile_sum, &factors.before, &factors.added}) attention(*f, kItemRows);
      bytes = std::max(products.used(), attention.used());
    }
  };

  float* qz(int64_t i, int64_t head) const { return qz_ + (i * n_.heads + head) * n_.row; }

  template <class X>
  PackedX pack(const Micro& m, int64_t K, Work& w, X&& row) const {
    PackedX x{w.x, T_, K, m.x_bytes};
    for (int64_t i = 0; i < T_; i++)
      for (int64_t b = 0; b < x.blocks(); b++) x.pack(m, row(i), b, i);
    return x;
  }

  void absorb(int64_t head, int64_t part, int64_t parts, Work& w) const {
    const Micro& m = micro_of(a_.w_uk_t.dtype);
    auto q = [&](int64_t i) { return a_.q.as<const float>() + pass_[size_t(i)].token * a_.q.stride[0] + head * a_.q.stride[1]; };
    const PackedX x = pack(m, n_.nope, w, q);
    const int64_t panels = (n_.rank + kPanel - 1) / kPanel;
    product({&m, x, 0, T_, head_matrix(a_.w_uk_t, head), a_.w_uk_t.dtype, n_.rank, nullptr, qz(0, head), n_.heads * n_.row}, panels * part / parts,
            panels * (part + 1) / parts, w.product);
    if (part > 0) return;
    for (int64_t i = 0; i < T_; i++) {
      float* out = qz(i, head) + n_.rank;
      std::memcpy(out, q(i) + n_.nope, size_t(n_.rope) * sizeof(float));
      std::fill(out + n_.rope, qz(i, head) + n_.row, 0.0f);
    }
  }

  void finish(int64_t head, int64_t part, int64_t parts, Work& w) const {
    const Micro& m = micro_of(a_.w_uv.dtype);
    const PackedX x = pack(m, n_.rank, w, [&](int64_t i) { return qz(i, head); });
    const int64_t begin = n_.v_panels * part / parts, end = n_.v_panels * (part + 1) / parts, c = begin * kPanel, cols = std::min(end * kPanel, n_.v) - c;
    if (cols <= 0) return;
    product({&m, x, 0, T_, head_matrix(a_.w_uv, head), a_.w_uv.dtype, n_.v, nullptr, w.y, n_.v}, begin, end, w.product);
    for (int64_t i = 0; i < T_; i++)
      std::memcpy(a_.y.as() + (pass_[size_t(i)].token * n_.heads + head) * n_.v + c, w.y + i * n_.v + c, size_t(cols) * sizeof(float));
  }

  const E* latent(int64_t row, int64_t token) const { return a_.cache.pool.as<const E>() + latent_index(a_, row, token); }

  // Widens a tile and multiplies it with the queries, a few latents at a time. The next tile has `more` tokens.
  void scores(const LatentItem& it, int64_t start, int64_t tokens, int64_t more, Work& w) const {
    const int64_t rows = it.rows(), n = round_up(n_.width, kN);
    const float* q = qz(it.first, it.head);
    int64_t asked = 0;
    for (int64_t near = 0; near < tokens; near += kNearTokens) {
      const int64_t end = std::min(near + kNearTokens, tokens), whole = round_up(end, kDotTokens);
      for (int64_t t = near; t < end; t++) widen_row(latent(it.row, start + t), n_.width, w.tile + t * n_.row);
      std::memset(w.tile + end * n_.row, 0, size_t((whole - end) * n_.row) * sizeof(float));
      for (int64_t r = 0; r < rows; r += kDotRows) {
        const float* of[kDotRows];
        for (int i = 0; i < kDotRows; i++) of[i] = q + std::min(r + i, rows - 1) * n_.row;
        for (int64_t t = near; t < end; t += kDotTokens) {
          const E* next = asked < more ? latent(it.row, start + tokens + asked++) : a_.cache.pool.as<const E>();
          alignas(64) float s[kN];
          dot_block(of, w.tile + t * n_.row, n_.row, n, next, s);
          for (int64_t i = 0; i < std::min<int64_t>(kDotRows, rows - r); i++)
            std::memcpy(w.s + (r + i) * kLatentTile + t, s + i * kDotTokens, kDotTokens * sizeof(float));
        }
      }
    }
  }

  void values(int64_t rows, int64_t tokens, Work& w) const {
    const int64_t vecs = (n_.rank + kN - 1) / kN;
    int64_t i = 0;
    auto columns = [&]<int C>() {
      sum_rows<kSumRows, C>(rows, w.s, w.tile + i * kN, n_.row, tokens, w.factors.before, w.factors.added, w.segment.value + i * kN);
    };
    for (; i + kSumVecs <= vecs; i += kSumVecs) columns.template operator()<kSumVecs>();
    for (; i < vecs; i++) columns.template operator()<1>();
  }

  // Everything that the item's queries see of one segment, into w.segment.
  void segment(const LatentItem& it, int64_t n, Work& w) const {
    const int64_t rows = it.rows(), keys = it.position + it.tokens, end = std::min((n + 1) * kSegmentTokens, keys), last = std::min(it.end * kSegmentTokens, keys);
    w.segment.clear(rows, rows * n_.row);
    for (int64_t start = n * kSegmentTokens; start < end; start += kLatentTile) {
      const int64_t tokens = std::min(kLatentTile, end - start);
      scores(it, start, tokens, std::min(kLatentTile, last - start - tokens), w);
      for (int64_t r = 0; r < rows; r++)
        softmax_row(w.s + r * kLatentTile, it.position + r / it.heads + 1 - start, tokens, a_.scale, w.tile_max + r, w.tile_sum + r);
      merge_factors(w.tile_max, w.tile_sum, rows, w.segment, w.factors);
      values(rows, tokens, w);
    }
  }

  void item(const LatentItem& it, Work& w) const {
    const int64_t rows = it.rows();
    for (float* f : {w.tile_max, w.tile_sum}) std::fill_n(f, kItemRows, 0.0f);
    w.total.clear(rows, rows * n_.row);
    float* partial = partials_ + it.partial;
    for (int64_t n = it.begin; n < it.end; n++) {
      segment(it, n, w);
      if (it.partial >= 0) {
        std::memcpy(partial, w.segment.value, size_t(rows * n_.row) * sizeof(float));
        std::memcpy(partial + rows * n_.row, w.segment.max, kItemRows * sizeof(float));
        std::memcpy(partial + rows * n_.row + kItemRows, w.segment.sum, kItemRows * sizeof(float));
        partial += latent_partial(rows, n_.row);
        continue;
      }
      merge_factors(w.segment.max, w.segment.sum, rows, w.total, w.factors);
      for (int64_t r = 0; r < rows; r++)
        merge_values(w.segment.value + r * n_.row, n_.rank, w.factors.before[r], w.factors.added[r], w.total.value + r * n_.row);
    }
    if (it.partial < 0)
      for (int64_t r = 0; r < rows; r++) divide(w.total.value + r * n_.row, w.total.sum[r], n_.rank, qz(it.first, it.head) + r * n_.row);
  }

  // One pair of an item whose segments were computed apart.
  void merge_row(const LatentItem& it, int64_t r, Work& w) const {
    const int64_t rows = it.rows();
    w.total.clear(rows, n_.row);
    const float* partial = partials_ + it.partial;
    for (int64_t n = it.begin; n < it.end; n++, partial += latent_partial(rows, n_.row)) {
      const float* max = partial + rows * n_.row;
      merge_factors(max, max + kItemRows, rows, w.total, w.factors);
      merge_values(partial + r * n_.row, n_.rank, w.factors.before[r], w.factors.added[r], w.total.value);
    }
    divide(w.total.value, w.total.sum[r], n_.rank, qz(it.first, it.head) + r * n_.row);
  }

  const LatentAttention& a_;
  const LatentDims& n_;
  std::vector<LatentToken> pass_;
  int64_t T_;
  float *qz_ = nullptr, *partials_ = nullptr;
};
