// The recurrent form, token by token.
#include <vector>

#include "ops/gated_delta/gated_delta.h"
#include "ops/state_cases.h"
namespace xylem {
namespace {

std::vector<double> normalised(const Tensor& x, int64_t t, int64_t head, double scale) {
  const int64_t n = x.dim[2];
  const float* p = x.as() + t * x.stride[0] + head * x.stride[1];
  double square = 1e-6;
  for (int64_t i = 0; i < n; i++) square += double(p[i]) * p[i];
  std::vector<double> v(p, p + n);
  for (double& e : v) e *= scale / std::sqrt(square);
  return v;
}

double softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

// One token of one head; S: [K, V].
void step(const GatedDelta& a, int64_t t, int64_t h, std::vector<double>& S) {
  const int64_t K = a.k.dim[2], V = a.v.dim[2], kh = h / (a.v.dim[1] / a.k.dim[1]);
  const std::vector<double> q = normalised(a.q, t, kh, 1.0 / std::sqrt(double(K))), k = normalised(a.k, t, kh, 1.0);
  const float* v = a.v.as() + t * a.v.stride[0] + h * a.v.stride[1];
  const double beta = 1.0 / (1.0 + std::exp(-double(a.b.row(t)[h]))), rate = -std::exp(double(a.a_log.as()[h]));
  for (int64_t d = 0; d < K; d++) {
    const int64_t at = a.per_channel() ? h * K + d : h;
    const double decay = std::exp(rate * softplus(double(a.a.row(t)[at]) + a.dt_bias.as()[at]));
    for (int64_t i = 0; i < V; i++) S[size_t(d * V + i)] *= decay;
  }
  float* y = a.y.as() + (t * a.v.dim[1] + h) * V;
  for (int64_t i = 0; i < V; i++) {
    double m = 0, o = 0;
    for (int64_t d = 0; d < K; d++) m += S[size_t(d * V + i)] * k[size_t(d)];
    for (int64_t d = 0; d < K; d++) o += (S[size_t(d * V + i)] += k[size_t(d)] * beta * (v[i] - m)) * q[size_t(d)];
    y[i] = float(o);
  }
}

void reference(const GatedDelta& a) {
  const StateCache& s = a.state;
  const int64_t H = a.v.dim[1], size = a.k.dim[2] * a.v.dim[2];
  for (int64_t b = 0; b < s.rows(); b++)
    for (int64_t h = 0; h < H; h++) {
      std::vector<double> S(static_cast<size_t>(size));
      if (const float* in = s.in(b)) S.assign(in + h * size, in + (h + 1) * size);
      for (int64_t i = 0; i < s.tokens(b); i++) {
        step(a, s.first_token(b) + i, h, S);
        if (float* out = s.out(b, s.begin(b) + i + 1))
          for (int64_t j = 0; j < size; j++) out[h * size + j] = float(S[size_t(j)]);
      }
    }
}

CaseList<GatedDelta> cases() {
  CaseList<GatedDelta> list;
  struct S { int64_t hk, hv, k, v; };
  for (bool channels : {false, true})
    for (S n : {S{2, 4, 32, 32}, S{1, 2, 128, 128}, S{1, 3, 20, 28}, S{2, 2, 96, 64}})
      for (const StateShape& s : state_shapes()) {
        if (channels && n.hk != n.hv) n.hk = n.hv;
        const int64_t T = s.tokens(), a_cols = channels ? n.hv * n.k : n.hv;
        Tensor q = shape({T, n.hk, n.k}), k = q, v = shape({T, n.hv, n.v}), a = shape({T, a_cols}), b = shape({T, n.hv});
        q.stride[0] = k.stride[0] = v.stride[0] = 2 * n.hk * n.k + n.hv * n.v;  // parts of one convolution
        a.stride[0] = b.stride[0] = a_cols + n.hv;
        GatedDelta op{q, k, v, a, b, shape({n.hv}), shape({a_cols}), make_state(s, n.hv * n.k * n.v), shape({T, n.hv, n.v})};
        list.push_back({std::string(channels ? "kda " : "gdn ") + s.label + ", " + std::to_string(n.hv) + " heads " + std::to_string(n.k) + "x" + std::to_string(n.v), op,
                        [&s](GatedDelta& g) {
                          fill_state(s, g.state);
                          // Decays of every size: from nearly none to one that forgets everything at once.
                          for (int64_t t = 0; t < g.a.rows(); t++)
                            for (int64_t i = 0; i < g.a.cols(); i++) g.a.row(t)[i] = g.a.row(t)[i] * 3.0f - (i % 3 == 1 ? 6.0f : 0.0f) + (t % 29 == 28 ? 60.0f : 0.0f);
                        }});
      }
  return list;
}

const OpSpec<GatedDelta> spec(reference, cases, 1e-10);
const auto* const ref = register_reference<GatedDelta, reference>();

}  // namespace
}  // namespace xylem
