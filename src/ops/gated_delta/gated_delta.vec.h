// Body of the GatedDelta kernels (see ops/vec_math.h). A work item is one head of one row of the step, from its first
// token to its last: what a row gives depends on nothing else, neither on other rows nor on the threads.
// The first one is used by the others.
// clang-format off
#include "ops/gated_delta/delta_math.vec.h"
#include "ops/gated_delta/delta_step.vec.h"
#include "ops/gated_delta/delta_chunk.vec.h"
// clang-format on

inline void head(const GatedDelta& a, int64_t row, int64_t head, DeltaWork& w) {
  const DeltaHead h{a, row, head};
  if (a.state.tokens(row) <= kMaxSteps)
    Steps(h, w).run();
  else
    Chunks(h, w).run();
}

inline void run(const GatedDelta& a, Device& d) {
  const int64_t H = a.v.dim[1], K = a.k.dim[2], V = a.v.dim[2], items = a.state.rows() * H;
  const int64_t floats = round_up(DeltaWork::floats(K, V), 16);
  ThreadPool& pool = cpu(d).pool();
  auto* memory = static_cast<float*>(cpu(d).scratch(size_t(pool.size() * floats) * sizeof(float)));
  bool alike = true;  // rows of one token: threads take neighbouring heads, whose states are neighbours
  for (int64_t b = 0; b < a.state.rows(); b++) alike = alike && a.state.tokens(b) <= 1;
  pool.run(int(std::min<int64_t>(pool.size(), items)), [&](CpuThread t) {
    const FlushDenormals flush;
    DeltaWork w(K, V, memory + t.thread * floats);
    if (alike) {
      const auto mine = t.range(items);
      for (int64_t i = mine.begin; i < mine.end; i++) head(a, i / H, i % H, w);
    } else {
      auto& next = t.pool->next_item();
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < items;) head(a, i / H, i % H, w);
    }
  });
}
