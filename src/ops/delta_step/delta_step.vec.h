// Body of the DeltaStep kernels (see ops/vec_math.h): those of the two ops, over one memory.
// clang-format off
#include "ops/causal_conv/causal_conv.vec.h"
#include "ops/gated_delta/delta_math.vec.h"
#include "ops/gated_delta/delta_step.vec.h"
// clang-format on

inline void run(const DeltaStep& a, Device& d) {
  const int64_t B = a.qkv.rows(), C = a.qkv.cols(), H = a.y.dim[1], K = a.key_dim(), V = a.y.dim[2];
  ThreadPool& pool = cpu(d).pool();
  const int64_t between = round_up(B * C, 16), own = round_up(DeltaWork::floats(K, V), 16);
  const int64_t work = std::max(conv_memory(a.convolution({}), pool), pool.size() * own);
  auto* memory = static_cast<float*>(cpu(d).scratch(size_t(between + work) * sizeof(float)));
  const Tensor x = make_tensor(memory, DType::kF32, {B, C});
  run(a.convolution(x), pool, memory + between);
  const GatedDelta rule = a.rule(x);
  pool.run(int(std::min<int64_t>(pool.size(), B * H)), [&](CpuThread t) {
    const FlushDenormals flush;
    DeltaWork w(K, V, memory + between + t.thread * own);
    const auto mine = t.range(B * H);
    for (int64_t i = mine.begin; i < mine.end; i++) Steps(DeltaHead{rule, i / H, i % H}, w).run();
  });
}
