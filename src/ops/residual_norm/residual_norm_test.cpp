// Calls whose tensors do not fit.
#include "ops/residual_norm/residual_norm.h"

#include <gtest/gtest.h>

#include "device/cpu/cpu_device.h"

namespace xylem {
namespace {

constexpr int kRows = 3, kColumns = 20;

struct Fixture {
  std::vector<float> memory = std::vector<float>(16 * kRows * kColumns, 1.0f);
  ResidualNorm op;
  Fixture() {
    op.x = rows(0), op.z = rows(1), op.r = rows(2), op.y[0] = rows(3), op.y[1] = rows(4);
    op.x_w = op.z_w = op.s_w = op.y_w[0] = op.y_w[1] = make_tensor(memory.data() + 8 * kRows * kColumns, DType::kF32, {kColumns});
    op.scale = make_tensor(memory.data() + 9 * kRows * kColumns, DType::kF32, {1});
  }
  Tensor rows(int i) { return make_tensor(memory.data() + i * kRows * kColumns, DType::kF32, {kRows, kColumns}); }
  void run() {
    CpuDevice d(1);
    Stream(d).run(op);
  }
};

TEST(ResidualNorm, RunsWithEveryPart) {
  Fixture f;
  f.run();
  EXPECT_NEAR(f.op.r.row(1)[0], 2.0f, 1e-5f);  // ones: (norm of twice a norm) + 1
  EXPECT_NEAR(f.op.y[1].row(2)[kColumns - 1], 1.0f, 1e-5f);
}

TEST(ResidualNormDeathTest, TensorsMustFit) {
  const auto refused = [](void (*change)(ResidualNorm&)) {
    Fixture f;
    change(f.op);
    EXPECT_DEATH(f.run(), "check failed");
  };
  refused([](ResidualNorm& a) { a.x.dim[0]--; });
  refused([](ResidualNorm& a) { a.z.dim[1]++; });
  refused([](ResidualNorm& a) { a.r.stride[0] = kColumns - 1; });  // rows would overlap
  refused([](ResidualNorm& a) { a.r = {}; });
  refused([](ResidualNorm& a) { a.z = {}; });                      // but its weights are there
  refused([](ResidualNorm& a) { a.scale.dim[0] = 2; });
  refused([](ResidualNorm& a) { a.s_w.dtype = DType::kBF16; });
  refused([](ResidualNorm& a) { a.y_w[1] = {}; });
  refused([](ResidualNorm& a) { a.y[0] = {}; });                   // before another one
}

}  // namespace
}  // namespace xylem
