// Body of the Attention kernels (see ops/vec_math.h; what is computed: attention_items.h).
// Scores and values are products of a few rows of numbers with panels of 16 columns: K panels are 16 tokens, V panels 16 dimensions.

constexpr int kVecs = KvCache::kLane / kN;  // vectors of a panel's width

// How a cache of one type is multiplied. A: what q and the probabilities are kept as; B: the cache's elements. One step takes
// kPair elements of a row and kPair * 16 of each panel.
struct F32 {
  using A = float;
  using B = float;
  static constexpr int kPair = 1;
  struct Row { V x[kVecs]; };
  static Row row(const B* b) {
    Row r;
    for (int i = 0; i < kVecs; i++) r.x[i] = load(b + i * kN);
    return r;
  }
  struct Scalar { V x; };
  static Scalar scalar(const A* a) { return {splat(*a)}; }
  static V dot(const Scalar& a, const Row& b, int i, V acc) { return fma(a.x, b.x[i], acc); }
  static void put(A* p, V x) { store(p, x); }
};

// bfloat16 in the cache, widened; q and the probabilities stay float32.
struct Widened {
  using A = float;
  using B = uint16_t;
  static constexpr int kPair = 2;
  struct Row { V even[kVecs], odd[kVecs]; };
  static Row row(const B* b) {
    Row r;
    for (int i = 0; i < kVecs; i++) {
      const VU pair = load_u(b + i * 2 * kN);
      r.even[i] = bits_f(pair << 16), r.odd[i] = bits_f(pair & 0xffff0000u);
    }
    return r;
  }
  struct Scalar { V even, odd; };
  static Scalar scalar(const A* a) { return {splat(a[0]), splat(a[1])}; }
  static V dot(const Scalar& a, const Row& b, int i, V acc) { return fma(a.odd, b.odd[i], fma(a.even, b.even[i], acc)); }
  static void put(A* p, V x) { store(p, x); }
};

#if defined(XYLEM_VEC_DOT)
// bfloat16 products of pairs.
struct Dot {
  using A = uint16_t;
  using B = uint16_t;
  static constexpr int kPair = 2;
  struct Row { __m512i x; };
  static Row row(const B* b) { return {_mm512_loadu_si512(b)}; }
  struct Scalar { __m512i x; };
  static Scalar scalar(const A* a) { return {_mm512_set1_epi32(*reinterpret_cast<const PairBits*>(a))}; }
  static V dot(const Scalar& a, const Row& b, int, V acc) { return _mm512_dpbf16_ps(acc, (__m512bh)a.x, (__m512bh)b.x); }
  static void put(A* p, V x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(x)); }
};
using Bf16 = Dot;
#else
using Bf16 = Widened;
#endif

// Rows and panels that are multiplied at once: as many accumulators as there are registers for, and no more panels, that is
// streams of memory, than that takes.
constexpr int kMaxRows = kN == 16 ? 8 : kN == 8 ? 4 : 2;
constexpr int kGroup = 2;  // panels that all rows are multiplied with before the next ones
constexpr int panels_at_once(int rows) { return kN == 16 || (kN == 8 && rows <= 2) ? kGroup : 1; }

template <int R, int P>
struct Acc {
  V x[R][P][kVecs] = {};
};

// acc += a [R rows, lda apart] x b [P panels]. What is read next is asked for at the same pace, a line for a line: the
// processor's own prefetch loses its way at the end of every panel.
template <class T, int R, int P>
inline __attribute__((always_inline)) void multiply(const typename T::A* a, int64_t lda, const typename T::B* const* b, const typename T::B* const* next,
                                                    int64_t steps, Acc<R, P>& acc) {
  for (int64_t k = 0; k < steps; k++) {
    typename T::Row panel[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) {
      panel[p] = T::row(b[p] + k * KvCache::kLane * T::kPair);
      __builtin_prefetch(next[p] + k * KvCache::kLane * T::kPair, 0, 2);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const typename T::Scalar s = T::scalar(a + r * lda + k * T::kPair);
#pragma GCC unroll 8
      for (int p = 0; p < P; p++)
#pragma GCC unroll 8
        for (int i = 0; i < kVecs; i++) acc.x[r][p][i] = T::dot(s, panel[p], i, acc.x[r][p][i]);
    }
  }
}

// Calls f.template operator()<R>(first row) for rows in groups of kMaxRows and one smaller group.
template <int R, class F>
inline void row_tail(int64_t row, int64_t n, F& f) {
  if constexpr (R > 0) {
    if (n == R) f.template operator()<R>(row);
    else row_tail<R - 1>(row, n, f);
  }
}
template <class F>
inline void row_groups(int64_t rows, F&& f) {
  int64_t r = 0;
  for (; r + kMaxRows <= rows; r += kMaxRows) f.template operator()<kMaxRows>(r);
  row_tail<kMaxRows - 1>(r, rows - r, f);
}

// One thread's memory for one item; s, p and q of a tile, the running result of the rows.
template <class T>
struct Work {
  typename T::A* q;  // [kRows][padded dim]
  typename T::A* p;  // [kRows][kTile]
  float* s;          // [kRows][kTile]
  float* o;          // [kRows][padded dim]
  float *max, *sum;  // [kRows] of everything so far
  float *tile_max, *tile_sum, *old_scale, *new_scale;

  static int64_t bytes(int64_t pd) { return round_up(kRows * (pd * int64_t(sizeof(typename T::A) + 4) + kTile * int64_t(sizeof(typename T::A) + 4) + 24), 64); }
  Work(std::byte* at, int64_t pd) {
    auto take = [&](auto*& p, int64_t n) { p = reinterpret_cast<std::remove_reference_t<decltype(p)>>(at), at += n * int64_t(sizeof *p); };
    take(q, kRows * pd), take(p, kRows * kTile), take(s, kRows * kTile), take(o, kRows * pd);
    for (float** v : {&max, &sum, &tile_max, &tile_sum, &old_scale, &new_scale}) take(*v, kRows);
  }
};

// The keys of one tile that some query of an item sees: [lo, hi), counted from the tile's start.
struct Tile {
  int64_t start, lo, hi;
};
inline Tile tile_of(const Attention& a, const Item& it, int64_t tile) {
  const int64_t start = tile * kTile;
  return {start, std::max<int64_t>(0, first_key(it.position, a.window) - start), std::min<int64_t>(kTile, it.end - start)};
}

template <class T>
struct Run {
  using A = typename T::A;
  using B = typename T::B;
  const Attention& a;
  const KvCache& c;
  const int64_t pd;

  explicit Run(const Attention& op) : a(op), c(op.cache), pd(op.cache.padded_dim()) {}

  int64_t block(const Item& it, int64_t token) const { return a.table.as<int32_t>()[it.row * a.table.stride[0] + token / c.block_tokens]; }
  int kv_head(const Item& it) const { return int(it.head / (a.q.dim[1] / c.kv_heads)); }

  const B* k_panel(const Item& it, int64_t token) const {
    return c.pool.as<const B>() + c.k_index(block(it, token), kv_head(it), token % c.block_tokens, 0);
  }
  const B* v_panel(const Item& it, int64_t token, int64_t panel) const {
    return c.pool.as<const B>() + c.v_index(block(it, token), kv_head(it), token % c.block_tokens, panel * KvCache::kLane);
  }

  void load_q(const Item& it, Work<T>& w) const {
    for (int64_t r = 0; r < it.rows(); r++) {
      const float* q = a.q.as() + (it.token + r / it.heads) * a.q.stride[0] + (it.head + r % it.heads) * a.q.stride[1];
      for (int64_t i = 0; i < pd; i += kN) T::put(w.q + r * pd + i, i < c.dim ? load(q + i, std::min<int64_t>(kN, c.dim - i)) : V{});
    }
  }

  // s = q K^T for the panels that hold a visible key.
  void scores(const Item& it, const Tile& t, Work<T>& w) const {
    const B* panel[kTile / KvCache::kLane + kGroup];
    const int64_t first = t.lo / KvCache::kLane, end = (t.hi + KvCache::kLane - 1) / KvCache::kLane;
    for (int64_t j = first; j < end; j++) panel[j] = k_panel(it, t.start + j * KvCache::kLane);
    for (int64_t i = 0; i < kGroup; i++)  // after the last panels of K come the first ones of V
      panel[end + i] = v_panel(it, t.start + first * KvCache::kLane, std::min(i, pd / KvCache::kLane - 1));
    int64_t j = first;
    auto some = [&]<int P>() {
      row_groups(it.rows(), [&]<int R>(int64_t r) {
        for (int64_t jj = j; jj < j + P; jj += std::min(P, panels_at_once(R))) {
          constexpr int kP = std::min(P, panels_at_once(R));
          Acc<R, kP> acc;
          multiply<T, R, kP>(w.q + r * pd, pd, panel + jj, panel + (r == 0 ? jj + P : jj), pd / T::kPair, acc);
          for (int i = 0; i < R; i++)
            for (int p = 0; p < kP; p++)
              for (int v = 0; v < kVecs; v++) store(w.s + (r + i) * kTile + (jj + p) * KvCache::kLane + v * kN, acc.x[i][p][v]);
        }
      });
    };
    for (; j + kGroup <= end; j += kGroup) some.template operator()<kGroup>();
    for (; j < end; j++) some.template operator()<1>();
  }

  // p = exp(scale * s - max) for the visible keys of row r, 0 for the others of the item; the maximum and the sum beside it.
  void softmax_row(const Item& it, const Tile& t, int64_t r, Work<T>& w) const {
    const int64_t position = it.position + r / it.heads;
    const int32_t lo = int32_t(first_key(position, a.window) - t.start), hi = int32_t(std::min<int64_t>(kTile, keys_end(a, it.token + r / it.heads, position) - t.start));
    const int64_t begin = t.lo / KvCache::kLane * KvCache::kLane, end = round_up(t.hi, KvCache::kLane);
    float* s = w.s + r * kTile;
    V largest = splat(-INFINITY);
    for (int64_t i = begin; i < end; i += kN) {
      V x = load(s + i) * a.scale;
      if (i < lo || i + kN > hi) {
        const VI at = iota() + int32_t(i);
        x = select((at >= lo) & (at < hi), x, splat(-INFINITY));
      }
      store(s + i, x);
      largest = max(x, largest);
    }
    const float m = max(largest), base = m == -INFINITY ? 0.0f : m;
    V total{};
    for (int64_t i = begin; i < end; i += kN) {
      const V e = exp(load(s + i) - base);
      total += e;
      T::put(w.p + r * kTile + i, e);
    }
    w.tile_max[r] = m, w.tile_sum[r] = sum(total);
  }

  // o = o * old_scale + new_scale * (p V); the tokens of the visible range only, whole pairs of them.
  void values(const Item& it, const Tile& t, Work<T>& w, float* o) const {
    struct Piece { const B* v; const A* p; int64_t steps; };
    Piece piece[kTile / KvCache::kLane + 1];
    int pieces = 0;
    for (int64_t k = t.lo / T::kPair * T::kPair, end = round_up(t.hi, T::kPair); k < end;) {
      const int64_t token = t.start + k, in_block = token % c.block_tokens, n = std::min(end - k, c.block_tokens - in_block);
      piece[pieces++] = {v_panel(it, token, 0), w.p + k, n / T::kPair};
      k += n;
    }
    const int64_t panels = pd / KvCache::kLane, stride = KvCache::kLane * c.block_tokens;
    const B* after[kGroup];  // what the next tile begins with
    for (int i = 0; i < kGroup; i++) after[i] = k_panel(it, std::min<int64_t>(t.start + kTile + i * KvCache::kLane, it.end - 1));
    const int ahead = int(std::max<int64_t>(1, kTile / 4 / c.block_tokens));  // pieces; short ones are asked for earlier
    int64_t j = 0;
    auto some = [&]<int P>() {
      row_groups(it.rows(), [&]<int R>(int64_t r) {
        for (int64_t jj = j; jj < j + P; jj += std::min(P, panels_at_once(R))) {
          constexpr int kP = std::min(P, panels_at_once(R));
          Acc<R, kP> acc;
          for (int i = 0; i < pieces; i++) {
            const B *b[kP], *next[kP];
            for (int p = 0; p < kP; p++) b[p] = next[p] = piece[i].v + (jj + p) * stride;
            if (r == 0) {
              const int64_t later = i + ahead < pieces ? jj : jj + P;  // panel of the piece that is so far ahead
              for (int p = 0; p < kP; p++) next[p] = later + P <= panels ? piece[(i + ahead) % pieces].v + (later + p) * stride : after[p];
            }
            multiply<T, R, kP>(piece[i].p + r * kTile, kTile, b, next, piece[i].steps, acc);
          }
          for (int i = 0; i < R; i++)
            for (int p = 0; p < kP; p++)
              for (int v = 0; v < kVecs; v++) {
                float* at = o + (r + i) * pd + (jj + p) * KvCache::kLane + v * kN;
                store(at, fma(acc.x[i][p][v], splat(w.new_scale[r + i]), load(at) * w.old_scale[r + i]));
              }
        }
      });
    };
    for (; j + kGroup <= panels; j += kGroup) some.template operator()<kGroup>();
    for (; j < panels; j++) some.template operator()<1>();
  }

  // Nothing seen yet but the sinks, which have no values.
  void clear(const Item& it, Work<T>& w, int64_t rows) const {
    std::memset(w.o, 0, size_t(rows * pd) * sizeof(float));
    for (int64_t i = 0; i < kRows; i++) w.max[i] = -INFINITY, w.sum[i] = 0;
    if (a.sinks)
      for (int64_t i = 0; i < it.rows(); i++) w.max[i] = a.sinks.as()[it.head + i % it.heads], w.sum[i] = 1;
    for (int64_t i = 0; i < kRows; i++) w.tile_max[i] = -INFINITY, w.tile_sum[i] = 0;
  }

  // Merges the maxima and sums of a tile into those so far and gives the factors of both values.
  void merge_factors(const float* tile_max, const float* tile_sum, Work<T>& w) const {
    for (int64_t i = 0; i < kRows; i += kN) {
      const V before = load(w.max + i), tile = load(tile_max + i), both = max(before, tile);
      const V base = select(both == splat(-INFINITY), V{}, both);
      const V x = exp(before - base), y = exp(tile - base);
      store(w.max + i, both), store(w.old_scale + i, x), store(w.new_scale + i, y);
      store(w.sum + i, fma(load(tile_sum + i), y, load(w.sum + i) * x));
    }
  }

  void finish_row(const Item& it, int64_t r, const float* o, float sum) const {
    float* y = a.y.as() + ((it.token + r / it.heads) * a.q.dim[1] + it.head + r % it.heads) * c.dim;
    map(c.dim, [&](int64_t i, int64_t n) { store(y + i, load(o + i, n) / sum, n); });
  }

  void item(const Item& it, Work<T>& w, float* partials) const {
    const int64_t rows = it.rows();
    load_q(it, w);
    clear(it, w, rows);
    float* partial = it.partial >= 0 ? partials + it.partial : nullptr;
    for (int64_t n = it.tile_begin; n < it.tile_end; n++) {
      const Tile t = tile_of(a, it, n);
      scores(it, t, w);
      for (int64_t r = 0; r < rows; r++) softmax_row(it, t, r, w);
      if (partial) {
        for (int64_t r = 0; r < rows; r++) w.old_scale[r] = 0, w.new_scale[r] = 1;
        std::memset(partial, 0, size_t(rows * pd) * sizeof(float));
        values(it, t, w, partial);
        std::memcpy(partial + rows * pd, w.tile_max, kRows * sizeof(float));
        std::memcpy(partial + rows * pd + kRows, w.tile_sum, kRows * sizeof(float));
        partial += partial_floats(rows, pd);
      } else {
        merge_factors(w.tile_max, w.tile_sum, w);
        values(it, t, w, w.o);
      }
    }
    if (!partial)
      for (int64_t r = 0; r < rows; r++) finish_row(it, r, w.o + r * pd, w.sum[r]);
  }

  // One row of an item whose tiles were computed apart.
  void merge_row(const Item& it, int64_t r, Work<T>& w, const float* partials) const {
    const int64_t rows = it.rows();
    clear(it, w, 1);
    const float* partial = partials + it.partial;
    for (int64_t n = it.tile_begin; n < it.tile_end; n++, partial += partial_floats(rows, pd)) {
      merge_factors(partial + rows * pd, partial + rows * pd + kRows, w);
      for (int64_t i = 0; i < pd; i += kN)
        store(w.o + i, fma(load(partial + r * pd + i), splat(w.new_scale[r]), load(w.o + i) * w.old_scale[r]));
    }
    finish_row(it, r, w.o, w.sum[r]);
  }
};

template <class T>
inline void run_as(const Attention& a, Device& d) {
  ThreadPool& pool = cpu(d).pool();
  const int64_t pd = a.cache.padded_dim(), work = Work<T>::bytes(pd);
  const ItemList list = make_items(a, pool.size());
  const int64_t n_items = int64_t(list.items.size());
  auto* memory = static_cast<std::byte*>(cpu(d).scratch(size_t(pool.size() * work + list.partial_floats * 4)));
  float* partials = reinterpret_cast<float*>(memory + pool.size() * work);
  const Run<T> run(a);
  pool.run(int(std::min<int64_t>(pool.size(), n_items)), [&](CpuThread t) {
    Work<T> w(memory + t.thread * work, pd);
    auto& next = t.pool->next_item();
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n_items;) run.item(list.items[size_t(i)], w, partials);
    if (list.merges.empty()) return;
    t.barrier();
    for (const Item& m : list.merges) {
      const auto rows = t.range(m.rows());
      for (int64_t r = rows.begin; r < rows.end; r++) run.merge_row(m, r, w, partials);
    }
  });
}

inline void run(const Attention& a, Device& d) {
  CHECK(a.cache.padded_dim() <= kMaxHeadDim && a.cache.block_tokens % KvCache::kLane == 0, a.cache.dim, a.cache.block_tokens);
  if (a.cache.pool.dtype == DType::kBF16) run_as<Bf16>(a, d);
  else run_as<F32>(a, d);
}
