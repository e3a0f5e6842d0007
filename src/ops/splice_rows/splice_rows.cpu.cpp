#include "ops/splice_rows/splice_rows.h"

#include "device/cpu/cpu_device.h"

namespace xylem {
namespace {

void run(const SpliceRows& a, Device& d) {
  check(a);
  const int64_t n = a.x.cols(), R = a.from.dim[0];
  parallel_rows(d, a.x.dim[0], a.x.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t row = a.rows.as<int32_t>()[t];
      if (row < 0) continue;
      if (row < R) std::memcpy(a.x.row(t), a.from.row(row), size_t(n) * sizeof(float));
      else std::fill_n(a.x.row(t), n, 0.0f);
    }
  });
}

const Kernel<SpliceRows> kernel(Dev::kCpu, "portable", 10, nullptr, run);

}  // namespace
}  // namespace xylem
