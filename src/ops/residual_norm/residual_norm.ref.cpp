#include "ops/add/add.h"
#include "ops/residual_norm/residual_norm.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/run_reference.h"
namespace xylem {
namespace {

void reference(const ResidualNorm& a) {
  const int64_t T = a.x.rows(), n = a.x.cols();
  std::vector<float> memory[2];
  const auto normed = [&](const Tensor& x, const Tensor& w, int at) {
    if (!w) return x;
    memory[at].resize(size_t(T * n));
    const Tensor y = make_tensor(memory[at].data(), DType::kF32, {T, n});
    run_reference(RmsNorm{x, w, y, a.eps, a.w_offset});
    return y;
  };
  Tensor s = normed(a.x, a.x_w, 0);
  std::vector<float> sum;
  if (a.z) {
    sum.resize(size_t(T * n));
    const Tensor y = make_tensor(sum.data(), DType::kF32, {T, n});
    run_reference(Add{s, normed(a.z, a.z_w, 1), y, 1.0f});
    s = y;
  }
  run_reference(Add{normed(s, a.s_w, 0), a.from ? a.from : a.r, a.r, a.scale ? a.scale.as()[0] : 1.0f});
  for (int i = 0; i < a.outputs(); i++) run_reference(RmsNorm{a.r, a.y_w[i], a.y[i], a.eps, a.w_offset});
}

// Which parts there are.
struct Parts { const char* label; bool x_w, z, z_w, s_w, scale; int outputs; float w_offset; bool from = false; };

ResidualNorm call(const Parts& p, int64_t T, int64_t n, int64_t gap) {
  const auto rows = [&](int64_t more) {
    Tensor t = shape({T, n});
    t.stride[0] += more;
    return t;
  };
  const auto vector = [&](bool there) { return there ? shape({n}) : Tensor{}; };
  ResidualNorm a{rows(2 * gap), vector(p.x_w), p.z ? rows(gap) : Tensor{}, vector(p.z_w), vector(p.s_w), rows(gap), p.scale ? shape({1}) : Tensor{}, {}, {}, 1e-6f, p.w_offset};
  if (p.from) a.from = rows(gap);
  for (int i = 0; i < p.outputs; i++) a.y[i] = rows(i * gap), a.y_w[i] = shape({n});
  return a;
}

CaseList<ResidualNorm> cases() {
  CaseList<ResidualNorm> list;
  const Parts parts[] = {
      {"add", false, false, false, false, false, 0, 0},
      {"add, norm", false, false, false, false, false, 1, 0},
      {"norm, add, norm", true, false, false, false, false, 1, 1},
      {"norm, add, scale", true, false, false, false, true, 0, 0},
      {"norm, add, scale, norm", true, false, false, false, true, 1, 0},
      {"norm, add, three norms", true, false, false, false, false, 3, 0},
      {"sum, add, norm", false, true, false, false, false, 1, 0},
      {"two norms, sum, norm, add, scale", true, true, true, true, true, 0, 0},
      {"two norms, sum, norm, add, scale, norm", true, true, true, true, true, 1, 1},
      {"sum with one norm, add, two norms", false, true, true, false, false, 2, 0},
      {"norm, add to another, scale, norm", true, false, false, false, true, 1, 0, true},
  };
  const auto add = [&](const Parts& p, int64_t T, int64_t n, int64_t gap) {
    list.push_back({std::string(p.label) + " " + std::to_string(T) + "x" + std::to_string(n), call(p, T, n, gap), {}});
  };
  for (const Parts& p : parts) add(p, 17, 128, 0);  // rows shorter than a work-group, one after the other
  for (int i : {2, 4, 5, 8}) add(parts[i], 1, 1536, 0), add(parts[i], 5, 1536, 512);
  for (int i : {2, 8, 10}) add(parts[i], 3, 1538, 5);
  add(parts[1], 2, 63, 0), add(parts[5], 3, 5376, 0), add(parts[8], 17, 2816, 0), add(parts[4], 2, 9216, 8);
  return list;
}
const OpSpec<ResidualNorm> spec(reference, cases, 1e-11);
const auto* const ref = register_reference<ResidualNorm, reference>();
}  // namespace
}  // namespace xylem
