// A row's result is bit-identical whatever other rows are in the batch and whatever the number of threads: a sequence's
// tokens must not depend on its neighbours.
#include <gtest/gtest.h>

#include "device/cpu/cpu_device.h"
#include "device/op_spec.h"
#include "ops/matmul/matmul.h"
#include "ops/moe/moe.h"

namespace xylem {
namespace {

Tensor rows_of(const Tensor& t, int64_t begin, int64_t n) {
  Tensor r = t;
  r.data = t.as<std::byte>() + size_t(begin * t.stride[0]) * dtype_bytes(t.dtype), r.dim[0] = n;
  return r;
}

// For each instruction set of this machine and each kernel of A that runs on it: f(device of several threads, of one,
// kernel).
template <class A, class F>
void each_kernel(const A& a, F&& f) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa > best_isa()) continue;
    CpuDevice many(3, isa), one(1, isa);
    for (const Kernel<A>* k : Kernel<A>::all())
      if (k->dev == Dev::kCpu && (!k->supports || k->supports(a, many))) f(many, one, *k);
  }
}

TEST(RowsAlone, MatMulIsBitIdentical) {
  constexpr int64_t kM = 133, kN = 56;
  for (DType type : {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3, DType::kMxfp4})
    for (bool round : {false, true}) {
      const int64_t K = type == DType::kMxfp4 ? 1248 : 1230;  // 16-bit: two groups of K blocks, one block, and a rest
      CpuDevice host;
      CaseMemory memory(host);
      const MatMul all = OpSpec<MatMul>::materialise(
          {"", {shape({kM, K}), packed_shape({kN, K}, type), shape({kN}), shape({kM, kN}), round}, {}}, memory, 7);
      each_kernel(all, [&](CpuDevice& many, CpuDevice& one, const Kernel<MatMul>& k) {
        k.run(all, many);
        std::vector<float> y(kM * kN);
        for (int64_t n : {1, 7, 97})
          for (int64_t begin = 0; begin + n <= kM; begin += 36) {
            MatMul part = all;
            part.x = rows_of(all.x, begin, n), part.y = make_tensor(y.data(), DType::kF32, {n, kN});
            k.run(part, begin % 2 ? many : one);
            ASSERT_EQ(std::memcmp(y.data(), all.y.row(begin), size_t(n * kN) * sizeof(float)), 0)
                << k.name << ' ' << isa_name(one.isa()) << ' ' << dtype_name(type) << (round ? " rounded" : "") << ": "
                << n << " rows from " << begin;
          }
      });
    }
}

TEST(RowsAlone, ExpertsAreBitIdentical) {
  constexpr int64_t kT = 50, kE = 6, kChoices = 2;
  for (DType type : {DType::kBF16, DType::kF8E4M3, DType::kMxfp4})
    for (bool round : {false, true}) {
      const int64_t H = type == DType::kMxfp4 ? 352 : 300, I = type == DType::kMxfp4 ? 96 : 72;
      CpuDevice host;
      CaseMemory memory(host);
      MoeExperts all{shape({kT, H}),
                     shape({kT, kChoices}, DType::kI32),
                     shape({kT, kChoices}),
                     packed_shape({kE, 2 * I, H}, type),
                     packed_shape({kE, H, I}, type),
                     shape({kT, H}),
                     Act::kClampedSwiglu,
                     round,
                     1.5f,
                     shape({kE, 2 * I}),
                     shape({kE, H})};
      all = OpSpec<MoeExperts>::materialise(
          {"", all,
           [](MoeExperts& a) {
             for (int64_t t = 0; t < kT; t++)
               a.ids.as<int32_t>()[2 * t] = t % 5 ? 0 : 3, a.ids.as<int32_t>()[2 * t + 1] = int32_t(4 + t % 2);
           }},
          memory, 7);
      each_kernel(all, [&](CpuDevice& many, CpuDevice& one, const Kernel<MoeExperts>& k) {
        k.run(all, many);
        std::vector<float> y(H);
        for (int64_t t = 0; t < kT; t += 7) {
          MoeExperts part = all;
          part.x = rows_of(all.x, t, 1), part.ids = rows_of(all.ids, t, 1), part.weights = rows_of(all.weights, t, 1);
          part.y = make_tensor(y.data(), DType::kF32, {1, H});
          k.run(part, t % 2 ? many : one);
          ASSERT_EQ(std::memcmp(y.data(), all.y.row(t), size_t(H) * sizeof(float)), 0)
              << k.name << ' ' << dtype_name(type) << " token " << t;
        }
      });
    }
}

}  // namespace
}  // namespace xylem
