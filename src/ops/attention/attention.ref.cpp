#include <algorithm>
#include <cmath>
#include <vector>

#include "device/op_spec.h"
#include "ops/attention/attention.h"
namespace xylem {
namespace {

void reference(const Attention& a) {
  const KvCache& c = a.cache;
  const int64_t B = a.kv_len.numel(), heads = a.q.dim[1];
  std::vector<double> s;
  for (int64_t b = 0; b < B; b++) {
    const int32_t q0 = a.cu_q.as<int32_t>()[b], q1 = a.cu_q.as<int32_t>()[b + 1];
    for (int64_t t = q0; t < q1; t++) {
      const int64_t pos = a.kv_len.as<int32_t>()[b] - (q1 - t);
      const int64_t lo = a.window > 0 ? std::max<int64_t>(0, pos - a.window + 1) : 0;
      const int64_t end = a.limits ? a.limits.as<int32_t>()[t] : pos + 1;
      auto block = [&](int64_t j) { return int64_t(a.table.as<int32_t>()[b * a.table.stride[0] + j / c.block_tokens]); };
      for (int64_t h = 0; h < heads; h++) {
        const int kh = int(h / (heads / c.kv_heads));
        const float* q = a.q.as() + t * a.q.stride[0] + h * a.q.stride[1];
        float* y = a.y.as() + (t * heads + h) * c.dim;
        double max = -INFINITY, sum = 0;
        s.clear();
        for (int64_t j = lo; j < end; j++) {
          double dot = 0;
          for (int64_t d = 0; d < c.dim; d++) dot += double(q[d]) * load_f32(c.pool.data, c.k_index(block(j), kh, j % c.block_tokens, d), c.pool.dtype);
          s.push_back(dot * a.scale);
          max = std::max(max, s.back());
        }
        if (a.sinks) max = std::max(max, double(a.sinks.as()[h])), sum = std::exp(double(a.sinks.as()[h]) - max);
        for (double& v : s) sum += v = std::exp(v - max);
        for (int64_t d = 0; d < c.dim; d++) {
          double o = 0;
          for (int64_t j = lo; j < end; j++) o += s[size_t(j - lo)] * load_f32(c.pool.data, c.v_index(block(j), kh, j % c.block_tokens, d), c.pool.dtype);
          y[d] = float(o / sum);
        }
      }
    }
  }
}

// A cache of two layers, of which the second is used; blocks are taken in no particular order.
KvCache make_cache(DType t, int kv_heads, int dim, int block_tokens, int64_t blocks) {
  KvCache c{{}, 0, kv_heads, dim, block_tokens};
  c.offset = kv_heads * c.head_elements();
  c.pool = shape({blocks, 2 * kv_heads * c.head_elements()}, t);
  return c;
}

CaseList<Attention> cases() {
  CaseList<Attention> list;
  struct Image { int row, begin, end; };  // positions
  struct S { const char* label; std::vector<int> count, len; int heads, kv, dim, block, window; std::vector<Image> images; };
  const std::vector<S> shapes = {
      {"decode one", {1}, {1}, 4, 2, 64, 16, 0},
      {"decode three", {1, 1, 1}, {5, 16, 77}, 4, 2, 64, 16, 0},
      {"decode long", {1}, {1500}, 8, 1, 64, 64, 0},
      {"decode window", {1, 1}, {300, 17}, 8, 2, 32, 16, 40},
      {"decode dim 512", {1}, {130}, 8, 1, 512, 64, 0},
      {"decode dim 256", {1, 1}, {70, 530}, 8, 1, 256, 64, 512},
      {"decode odd ratio", {1, 1}, {33, 90}, 15, 3, 128, 32, 0},
      {"prefill short", {7}, {7}, 4, 2, 64, 16, 0},
      {"prefill", {150}, {150}, 4, 1, 64, 64, 0},
      {"prefill chunk", {37}, {200}, 4, 2, 128, 32, 0},
      {"prefill window", {130}, {260}, 4, 1, 64, 16, 33},
      {"window of one", {20}, {50}, 2, 1, 32, 16, 1},
      {"dim 8", {9}, {20}, 2, 1, 8, 16, 0},
      {"dim 72", {9}, {40}, 2, 2, 72, 16, 0},
      {"mixed", {1, 40, 1, 3}, {64, 40, 129, 70}, 6, 3, 64, 32, 0},
      {"mixed window", {1, 40, 1, 3}, {64, 90, 129, 70}, 6, 3, 64, 32, 48},
      {"decode many heads", {1, 1}, {700, 3}, 20, 1, 96, 128, 0},
      {"decode long window", {1, 1}, {900, 300}, 4, 2, 64, 16, 500},
      {"verify", {4, 4}, {600, 9}, 8, 1, 256, 16, 0},
      {"idle row", {2, 0, 1}, {40, 5, 233}, 4, 2, 64, 48, 0},
      {"image short", {7, 1}, {20, 9}, 2, 1, 8, 16, 5, {{0, 14, 19}}},
      {"image", {90}, {90}, 4, 1, 64, 16, 0, {{0, 20, 77}}},
      {"images window", {150}, {150}, 4, 2, 64, 16, 20, {{0, 3, 41}, {0, 43, 81}, {0, 120, 150}}},
      {"image beyond the tile", {300}, {300}, 2, 1, 128, 64, 0, {{0, 10, 290}}},
      {"image beyond the window", {97}, {200}, 8, 1, 256, 32, 24, {{0, 103, 191}}},
      {"image chunk", {40}, {333}, 4, 2, 72, 16, 64, {{0, 294, 331}}},
      {"image mixed", {1, 40, 1, 3, 20}, {64, 90, 129, 70, 20}, 6, 3, 64, 32, 16, {{1, 55, 88}, {4, 1, 19}}},
      {"image dim 512", {35}, {70}, 4, 1, 512, 64, 0, {{0, 40, 70}}},
      {"image decode", {1, 1}, {70, 300}, 8, 2, 64, 16, 32, {{1, 299, 300}}},
  };
  for (DType t : {DType::kF32, DType::kBF16})
    for (const S& s : shapes) {
      int64_t T = 0, max_blocks = 1, blocks = 0;
      for (int n : s.count) T += n;
      for (int n : s.len) max_blocks = std::max<int64_t>(max_blocks, (n + s.block - 1) / s.block), blocks += (n + s.block - 1) / s.block;
      const int64_t B = int64_t(s.len.size());
      Tensor q = shape({T, s.heads, s.dim});
      q.stride[0] = (s.heads + 2 * s.kv) * s.dim;
      Attention a{q, make_cache(t, s.kv, s.dim, s.block, blocks + 1), shape({B, max_blocks}, DType::kI32), shape({B + 1}, DType::kI32),
                  shape({B}, DType::kI32), shape({T, s.heads, s.dim}), 1.0f / std::sqrt(float(s.dim)), s.window};
      if (!s.images.empty()) a.limits = shape({T}, DType::kI32);
      list.push_back({std::string(dtype_name(t)) + " " + s.label, a,
                      [s](Attention& a) {
                        int32_t next = int32_t(a.cache.pool.dim[0]), q0 = 0;
                        for (size_t b = 0; b < s.len.size(); b++) {
                          a.cu_q.as<int32_t>()[b] = q0, q0 += s.count[b];
                          a.kv_len.as<int32_t>()[b] = s.len[b];
                          int32_t* table = a.table.as<int32_t>() + int64_t(b) * a.table.dim[1];
                          for (int64_t i = 0; i < a.table.dim[1]; i++) table[i] = -1;
                          for (int i = 0; !s.images.empty() && i < s.count[b]; i++) {
                            const int position = s.len[b] - s.count[b] + i;
                            int32_t& limit = a.limits.as<int32_t>()[q0 - s.count[b] + i];
                            limit = position + 1;
                            for (const Image& image : s.images)
                              if (image.row == int(b) && position >= image.begin && position < image.end) limit = image.end;
                          }
                          for (int i = 0; i * s.block < s.len[b]; i++) {
                            const bool seen = s.window == 0 || (i + 1) * s.block > s.len[b] - s.count[b] - s.window + 1;
                            table[i] = seen ? --next : -1;
                          }
                          // Beyond the end lies whatever an earlier request left, NaN in the worst case; V of a pair is clean.
                          const int64_t last = table[(s.len[b] - 1) / s.block];
                          for (int64_t tok = (s.len[b] - 1) % s.block + 1; tok < s.block; tok++)
                            for (int h = 0; h < s.kv; h++)
                              for (int64_t d = 0; d < s.dim; d++) {
                                store_f32(a.cache.pool.data, a.cache.k_index(last, h, tok, d), a.cache.pool.dtype, NAN);
                                const bool pair = tok == s.len[b] % s.block && tok % 2 == 1;
                                store_f32(a.cache.pool.data, a.cache.v_index(last, h, tok, d), a.cache.pool.dtype, pair ? 0.0f : NAN);
                              }
                        }
                        a.cu_q.as<int32_t>()[s.len.size()] = q0;
                        // Padding of the dimensions is zero, as QkvStore leaves it.
                        for (int64_t blk = 0; blk < a.cache.pool.dim[0]; blk++)
                          for (int h = 0; h < s.kv; h++)
                            for (int64_t d = s.dim; d < a.cache.padded_dim(); d++)
                              for (int tok = 0; tok < s.block; tok++) {
                                store_f32(a.cache.pool.data, a.cache.k_index(blk, h, tok, d), a.cache.pool.dtype, 0);
                                store_f32(a.cache.pool.data, a.cache.v_index(blk, h, tok, d), a.cache.pool.dtype, 0);
                              }
                      },
                      t == DType::kBF16 ? 3e-5 : 0});
      if (s.len.size() == 1 && s.len[0] < 100) continue;
      list.push_back(list.back());
      list.back().label += " sinks";
      list.back().op.sinks = shape({s.heads});
    }
  return list;
}

const OpSpec<Attention> spec(reference, cases, 1e-10);
const auto* const ref = register_reference<Attention, reference>();

}  // namespace
}  // namespace xylem
