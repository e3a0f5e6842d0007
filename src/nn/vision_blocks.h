// Blocks that vision towers are written with, besides those of language models (blocks.h). N patches of some images.
#pragma once
#include <algorithm>

#include "nn/blocks.h"
#include "nn/vision.h"
#include "ops/blend_rows/blend_rows.h"
#include "ops/clamp/clamp.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/mean_rows/mean_rows.h"
#include "ops/segment_attention/segment_attention.h"

namespace xylem {

struct CenteredNorm {  // LayerNorm
  Tensor w, bias;      // [n]
  float eps = 1e-6f;
  Tensor operator()(Ctx& c, Tensor x) const {  // [N, n]
    Tensor y = c.temp({x.rows(), x.cols()});
    c.run(LayerNorm{x, w, bias, y, eps});
    return y;
  }
  void params(ParamList& p, const std::string& n, int64_t size) {
    p.vector(n + ".weight", w, size);
    p.floats(n + ".bias", bias, {size});
  }
};

inline void linear_params(ParamList& p, Linear& l, const std::string& n, int64_t rows, int64_t cols) {
  p.matrix(n + ".weight", l.w, rows, cols);
  p.floats(n + ".bias", l.bias, {rows});
}

// Inputs and outputs may be bounded by numbers of the checkpoint (specs/gemma4.md 8.2, ClippableLinear).
struct ClippedLinear {
  Linear linear;
  Tensor in_lo, in_hi, out_lo, out_hi;  // [1] or empty
  Tensor operator()(Ctx& c, Tensor x) const {
    if (!in_lo) return linear(c, x);
    Tensor bounded = c.temp({x.rows(), x.cols()});
    c.run(Clamp{x, in_lo, in_hi, bounded});
    Tensor y = linear(c, bounded);
    c.run(Clamp{y, out_lo, out_hi, y});
    return y;
  }
  void params(ParamList& p, const std::string& n, int64_t rows, int64_t cols, bool clipped) {
    p.matrix(n + ".linear.weight", linear.w, rows, cols);
    if (!clipped) return;
    struct Bound { const char* name; Tensor* t; float dummy; };
    for (const Bound& b : {Bound{".input_min", &in_lo, -1e3f}, Bound{".input_max", &in_hi, 1e3f}, Bound{".output_min", &out_lo, -1e3f}, Bound{".output_max", &out_hi, 1e3f}}) {
      Param& bound = p.floats(n + b.name, *b.t, {1});
      bound.dummy_mean = b.dummy, bound.dummy_spread = 0;
    }
  }
};

// Every patch of an image sees every other one. q, k, v: [N, heads, dim]; returns [N, heads * dim].
inline Tensor attend_within_images(Ctx& c, Tensor q, Tensor k, Tensor v, Tensor cu, float scale) {
  Tensor y = c.temp({q.dim[0], q.dim[1], q.dim[2]});
  c.run(SegmentAttention{q, k, v, cu, y, scale, c.round_x});
  return flat_heads(y);
}

inline Tensor some_rows(Tensor x, int64_t from, int64_t n) {  // rows [from, from + n) of a matrix, as a view
  CHECK(x.rank == 2 && from + n <= x.dim[0], from, n, x.dim[0]);
  x.data = x.data ? x.as() + from * x.stride[0] : nullptr;
  x.dim[0] = n;
  return x;
}

// Frequencies of a head's half of `dim` dimensions, which turn with one axis of the grid: theta^(-2j / dim).
inline std::vector<float> axial_frequencies(const Config& vision, int64_t dim, double default_theta) {
  const Config rope = vision.child("rope_parameters");
  const double theta = rope.number_or("rope_theta", default_theta);
  if (theta <= 1) rope.fail("rope_theta of the vision model must be larger than 1");
  std::vector<float> f;
  for (int64_t j = 0; j < dim / 2; j++) f.push_back(float(std::pow(theta, -2.0 * double(j) / double(dim))));
  return f;
}

// f(from, count) for pieces of N rows: large images need no more temporaries than a piece does.
template <class F>
void in_pieces(Ctx& c, int64_t rows, F&& f) {
  constexpr int64_t kPiece = 4096;
  for (int64_t from = 0; from < rows; from += kPiece) {
    const ArenaScope scope(c);
    f(from, std::min(kPiece, rows - from));
  }
}

}  // namespace xylem
