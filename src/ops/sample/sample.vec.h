// Body of the Sample kernels (see ops/vec_math.h). A row is read in chunks of a fixed size whose sums are added in order, so
// that the result does not depend on how many threads share the chunks.
constexpr int64_t kChunk = 4096;
constexpr int kBuckets = 2048;

struct Chunk {
  double weight;  // sum of the weights; when drawing, of those that stay
  float max;
  bool nan;
};

struct Row {
  float* logits;
  float* weights;    // e^((l - best) / temperature), where wanted
  int64_t size;      // of the vocabulary
  Chunk* chunks;
  int64_t n_chunks;
  ThreadPool* pool;  // whose threads share the row; null: this thread does all of it
  float best = 0, temperature = 1;
  double total = 0;  // of the weights

  float logprob(int64_t id) const { return float((double(logits[id]) - double(best)) / double(temperature) - std::log(total)); }
};

// f(chunk, first id, ids) for every chunk.
template <class F>
inline void each_chunk(const Row& r, F&& f) {
  auto some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) f(r.chunks[i], i * kChunk, std::min(kChunk, r.size - i * kChunk));
  };
  if (!r.pool || r.n_chunks < 4) return some(0, r.n_chunks);
  r.pool->run(int(std::min<int64_t>(r.pool->size(), r.n_chunks)), [&](CpuThread t) {
    const auto part = t.range(r.n_chunks);
    some(part.begin, part.end);
  });
}

inline V first_lanes(V x, int64_t n, float other) { return n == kN ? x : select(iota() < splat_i(int32_t(n)), x, splat(other)); }

inline void scan_chunk(const float* l, int64_t n, Chunk* c) {
  V largest[4];
  VI nan{};
  for (V& v : largest) v = splat(-INFINITY);
  int64_t i = 0;
  for (; i + 4 * kN <= n; i += 4 * kN)
    for (int k = 0; k < 4; k++) {
      const V x = load(l + i + k * kN);
      nan |= x != x;
      largest[k] = max(x, largest[k]);
    }
  map(n - i, [&](int64_t j, int64_t m) {
    const V x = first_lanes(load(l + i + j, m), m, -INFINITY);
    nan |= x != x;
    largest[0] = max(x, largest[0]);
  });
  c->max = max(max(max(largest[0], largest[1]), max(largest[2], largest[3])));
  c->nan = any(nan);
}

// False when there is a NaN or no finite maximum.
inline bool find_best(Row& r) {
  each_chunk(r, [&](Chunk& c, int64_t from, int64_t n) { scan_chunk(r.logits + from, n, &c); });
  r.best = -INFINITY;
  for (int64_t i = 0; i < r.n_chunks; i++) {
    if (r.chunks[i].nan) return false;
    if (r.chunks[i].max > r.best) r.best = r.chunks[i].max;
  }
  return r.best - r.best == 0;
}

// The lowest id of the largest logit.
inline int32_t argmax(const Row& r) {
  int64_t i = 0;
  while (r.chunks[i].max != r.best) i++;
  for (i *= kChunk; r.logits[i] != r.best;) i++;
  return int32_t(i);
}

// Sum of f(i, lanes) over n elements: short runs in float32, these in double.
template <class F>
inline double sum_chunk(int64_t n, F&& f) {
  constexpr int64_t kRun = 16 * kN;
  double total = 0;
  for (int64_t from = 0; from < n; from += kRun) {
    V s{};
    map(std::min(kRun, n - from), [&](int64_t i, int64_t m) { s += first_lanes(f(from + i, m), m, 0); });
    total += double(sum(s));
  }
  return total;
}

inline void weigh(Row& r) {
  each_chunk(r, [&](Chunk& c, int64_t from, int64_t n) {
    c.weight = sum_chunk(n, [&](int64_t i, int64_t m) {
      const V e = exp((load(r.logits + from + i, m) - r.best) / r.temperature);
      store(r.weights + from + i, e, m);
      return e;
    });
  });
  r.total = 0;
  for (int64_t i = 0; i < r.n_chunks; i++) r.total += r.chunks[i].weight;
}

// Falls as a logit falls below the best: buckets are in descending order of values.
inline VI bucket_of(const Row& r, V l) {
  const V x = (r.best - l) * 32.0f;
  return __builtin_convertvector(x < float(kBuckets - 1) ? x : splat(float(kBuckets - 1)), VI);
}

// The bucket of the cut among the first `buckets`, with everything above it counted in the search; -1: it is not there.
inline int32_t cut_bucket(const Row& r, int32_t buckets, CutSearch& search) {
  std::vector<int64_t> count(kBuckets);
  std::vector<double> weight(kBuckets);
  map(r.size, [&](int64_t i, int64_t m) {
    int32_t bucket[kN];
    const VI b = bucket_of(r, load(r.logits + i, m));
    if (!any(b < splat_i(buckets))) return;
    std::memcpy(bucket, &b, sizeof b);
    for (int64_t j = 0; j < m; j++) count[size_t(bucket[j])]++, weight[size_t(bucket[j])] += double(r.weights[i + j]);
  });
  for (int32_t b = 0; b < buckets; b++) {
    if (count[size_t(b)] && search.ends_after(count[size_t(b)], weight[size_t(b)])) return b;
    search.keep(count[size_t(b)], weight[size_t(b)]);
  }
  return -1;
}

inline Cut find_cut(const Row& r, const SampleRow& p) {
  const Cut everything{-INFINITY, int32_t(r.size - 1)};
  const int64_t k = p.top_k > 0 ? p.top_k : r.size;
  if (k >= r.size && p.top_p >= 1) return everything;
  // Most tokens of most rows are far below the best one: first only those near it are counted.
  const CutSearch start{r.logits, r.weights, k, double(p.top_p) * r.total};
  CutSearch search = start;
  int32_t bucket = cut_bucket(r, kBuckets / 16, search);
  if (bucket < 0) bucket = cut_bucket(r, kBuckets, search = start);
  if (bucket < 0) return everything;
  std::vector<int32_t> ids;
  map(r.size, [&](int64_t i, int64_t m) {
    const VI in = bucket_of(r, load(r.logits + i, m)) == splat_i(bucket);
    if (any(in))
      for (int64_t j = 0; j < m; j++)
        if (in[j]) ids.push_back(int32_t(i + j));
  });
  return search.among(std::move(ids));
}

// One of the tokens that stay, by inverse CDF in order of ids.
inline int32_t draw(Row& r, const SampleRow& p) {
  const Cut cut = find_cut(r, p);
  const V value = splat(cut.value);
  auto kept = [&](int64_t id, V l, V e) {
    const VI upto = iota() <= splat_i(int32_t(cut.id - id));
    return select(((l > value) | ((l == value) & upto)) & (e >= p.min_p), e, V{});
  };
  each_chunk(r, [&](Chunk& c, int64_t from, int64_t n) {
    c.weight = sum_chunk(n, [&](int64_t i, int64_t m) { return kept(from + i, load(r.logits + from + i, m), load(r.weights + from + i, m)); });
  });
  double stay = 0, before = 0;
  for (int64_t i = 0; i < r.n_chunks; i++) stay += r.chunks[i].weight;
  const double u = sample_uniform(p.seed_lo, p.seed_hi, p.position) * stay;
  int64_t chunk = -1;
  for (int64_t i = 0; i < r.n_chunks; i++) {
    if (r.chunks[i].weight == 0) continue;
    chunk = i;  // rounding may leave u beyond the last sum: the last chunk that has a token
    if (before + r.chunks[i].weight > u) break;
    if (i + 1 < r.n_chunks) before += r.chunks[i].weight;
  }
  int32_t id = -1;
  bool found = false;
  const int64_t from = chunk * kChunk;
  map(std::min(kChunk, r.size - from), [&](int64_t i, int64_t m) {
    if (found) return;
    const V e = first_lanes(kept(from + i, load(r.logits + from + i, m), load(r.weights + from + i, m)), m, 0);
    for (int64_t j = 0; j < m && !found; j++) {
      if (e[j] == 0) continue;
      id = int32_t(from + i + j);
      found = (before += double(e[j])) > u;
    }
  });
  return id;
}

// The n largest, best first, ties to the lower id. Returns how many there are.
inline int top(const Row& r, int n, int32_t* ids) {
  int have = 0;
  auto worst = [&] { return r.logits[ids[have - 1]]; };
  auto insert = [&](int32_t id) {
    int at = have < n ? have++ : n - 1;
    for (; at > 0 && r.logits[ids[at - 1]] < r.logits[id]; at--) ids[at] = ids[at - 1];
    ids[at] = id;
  };
  for (int64_t c = 0; c < r.n_chunks; c++) {
    if (have == n && !(r.chunks[c].max > worst())) continue;
    const int64_t from = c * kChunk;
    map(std::min(kChunk, r.size - from), [&](int64_t i, int64_t m) {
      const V x = first_lanes(load(r.logits + from + i, m), m, -INFINITY);
      if (have == n && !any(x > worst())) return;
      for (int64_t j = 0; j < m; j++)
        if (have < n || x[j] > worst()) insert(int32_t(from + i + j));
    });
  }
  return have;
}

inline void clear_outputs(const Sample& a, const SampleRow& p, int64_t row) {
  a.tokens.as<int32_t>()[row] = -1;
  a.logprobs.as()[row] = 0;
  for (int i = 0; i < kMaxTopLogprobs; i++) {
    a.top_ids.as<int32_t>()[row * kMaxTopLogprobs + i] = -1;
    a.top_logprobs.as()[row * kMaxTopLogprobs + i] = 0;
  }
  for (int32_t i = p.chosen_begin; i < p.chosen_end; i++) a.chosen_logprobs.as()[i] = 0;
}

inline void logprobs(const Sample& a, const SampleRow& p, const Row& r, int64_t row) {
  if (p.want_logprob) a.logprobs.as()[row] = r.logprob(a.tokens.as<int32_t>()[row]);
  if (p.top_logprobs > 0) {
    int32_t* ids = a.top_ids.as<int32_t>() + row * kMaxTopLogprobs;
    const int n = top(r, std::min<int>(p.top_logprobs, kMaxTopLogprobs), ids);
    for (int i = 0; i < n; i++) a.top_logprobs.as()[row * kMaxTopLogprobs + i] = r.logprob(ids[i]);
  }
  for (int32_t i = p.chosen_begin; i < p.chosen_end; i++) a.chosen_logprobs.as()[i] = r.logprob(a.chosen_ids.as<int32_t>()[i]);
}

inline void sample_row(const Sample& a, int64_t row, Row& r) {
  const SampleRow& p = a.rows.as<const SampleRow>()[row];
  r.logits = a.logits.row(row);
  clear_outputs(a, p, row);
  if (p.target < 0) adjust_logits(a, p, r.logits, r.size);
  if (!find_best(r)) return;
  const bool draws = p.target < 0 && !(p.temperature < 1e-6f);
  r.temperature = draws ? p.temperature : 1.0f;
  if (draws || p.want_logprob || p.top_logprobs > 0 || p.chosen_end > p.chosen_begin) weigh(r);
  int32_t& token = a.tokens.as<int32_t>()[row];
  token = p.target >= 0 ? p.target : draws ? draw(r, p) : argmax(r);
  logprobs(a, p, r, row);
  if (p.target < 0) a.token_pool.as<int32_t>()[p.slot * a.token_pool.stride[0] + p.position] = token;
}

inline void run(const Sample& a, Device& d) {
  ThreadPool& pool = cpu(d).pool();
  const int64_t rows = a.logits.rows(), size = a.logits.cols(), n_chunks = (size + kChunk - 1) / kChunk;
  const int64_t bytes = round_up(size * int64_t(sizeof(float)), 64) + round_up(n_chunks * int64_t(sizeof(Chunk)), 64);
  auto* memory = static_cast<std::byte*>(cpu(d).scratch(size_t(bytes * pool.size())));
  auto make_row = [&](int thread, ThreadPool* sharing) {
    std::byte* at = memory + thread * bytes;
    auto* chunks = reinterpret_cast<Chunk*>(at + round_up(size * int64_t(sizeof(float)), 64));
    return Row{nullptr, reinterpret_cast<float*>(at), size, chunks, n_chunks, sharing};
  };
  if (rows < pool.size() && n_chunks > 1) {  // few rows: all threads on each
    Row r = make_row(0, &pool);
    for (int64_t i = 0; i < rows; i++) sample_row(a, i, r);
    return;
  }
  pool.run(int(std::min<int64_t>({int64_t(pool.size()), rows, std::max<int64_t>(1, rows * size / 32768)})), [&](CpuThread t) {
    Row r = make_row(t.thread, nullptr);
    const auto part = t.range(rows);
    for (int64_t i = part.begin; i < part.end; i++) sample_row(a, i, r);
  });
}
