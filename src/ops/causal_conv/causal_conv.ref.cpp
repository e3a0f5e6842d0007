#include <vector>

#include "ops/causal_conv/causal_conv.h"
#include "ops/state_cases.h"
namespace xylem {
namespace {

void reference(const CausalConv& a) {
  const StateCache& s = a.state;
  const int64_t C = a.x.cols(), taps = a.w.cols(), past = taps - 1;
  for (int64_t b = 0; b < s.rows(); b++) {
    const int64_t n = s.tokens(b), t0 = s.first_token(b);
    std::vector<float> before(size_t(taps * C));  // read first: it may be written in place
    if (const float* in = s.in(b)) before.assign(in, in + taps * C);
    auto slot = [&](int64_t i) { return conv_slot(s.begin(b) + i, taps); };
    auto input = [&](int64_t i, int64_t c) { return i < 0 ? before[size_t(slot(i) * C + c)] : a.x.row(t0 + i)[c]; };
    for (int64_t i = 0; i < n; i++) {
      for (int64_t c = 0; c < C; c++) {
        double sum = 0;
        for (int64_t j = 0; j < taps; j++) sum += double(a.w.row(c)[j]) * input(i - past + j, c);
        a.y.row(t0 + i)[c] = float(sum / (1.0 + std::exp(-sum)));
      }
      if (float* out = s.out(b, s.begin(b) + i + 1))
        for (int64_t j = 0; j < taps; j++)
          for (int64_t c = 0; c < C; c++) out[slot(i - j) * C + c] = input(i - j, c);
    }
  }
}

CaseList<CausalConv> cases() {
  CaseList<CausalConv> list;
  struct S { int64_t channels, taps; };
  for (S k : {S{40, 4}, S{256, 4}, S{7, 2}, S{16, 1}})
    for (const StateShape& s : state_shapes()) {
      Tensor x = shape({s.tokens(), k.channels});
      x.stride[0] = k.channels + 24;
      CausalConv a{x, shape({k.channels, k.taps}), make_state(s, k.taps * k.channels), shape({s.tokens(), k.channels})};
      list.push_back({std::string(s.label) + ", " + std::to_string(k.channels) + " channels, " + std::to_string(k.taps) + " taps", a,
                      [&s](CausalConv& op) { fill_state(s, op.state); }});
    }
  return list;
}

const OpSpec<CausalConv> spec(reference, cases, 1e-11);
const auto* const ref = register_reference<CausalConv, reference>();

}  // namespace
}  // namespace xylem
