// Compiles the body of a kernel, the header named by XYLEM_VEC_BODY, once per instruction set: in the namespaces portable,
// avx2 and avx512, each with the vectors and functions of vec_math_lanes.h for its width. Everything a body defines is local to
// the file that includes this, and every other header is included before the instruction set is raised: no function shared with
// other files is ever compiled for a machine that may not be there. Include last.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "device/cpu/cpu_device.h"

#define XYLEM_VEC_LANES 4
namespace xylem {
namespace {
namespace portable {
#include "ops/vec_math_lanes.h"
#include XYLEM_VEC_BODY
}  // namespace portable
}  // namespace
}  // namespace xylem
#undef XYLEM_VEC_LANES

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#define XYLEM_VEC_LANES 8
namespace xylem {
namespace {
namespace avx2 {
#include "ops/vec_math_lanes.h"
#include XYLEM_VEC_BODY
}  // namespace avx2
}  // namespace
}  // namespace xylem
#undef XYLEM_VEC_LANES
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#define XYLEM_VEC_LANES 16
namespace xylem {
namespace {
namespace avx512 {
#include "ops/vec_math_lanes.h"
#include XYLEM_VEC_BODY
}  // namespace avx512
}  // namespace
}  // namespace xylem
#pragma GCC pop_options

// Bodies that have a use for bfloat16 products ask for a fourth namespace with XYLEM_VEC_BF16.
#if defined(XYLEM_VEC_BF16)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#define XYLEM_VEC_DOT
namespace xylem {
namespace {
namespace avx512_bf16 {
#include "ops/vec_math_lanes.h"
#include XYLEM_VEC_BODY
}  // namespace avx512_bf16
}  // namespace
}  // namespace xylem
#undef XYLEM_VEC_DOT
#pragma GCC pop_options
#endif
#undef XYLEM_VEC_LANES
#endif

// Registers the run(const Op&, Device&) of each namespace.
#if defined(__x86_64__)
#define XYLEM_VEC_KERNELS(Op)                                                                                      \
  const Kernel<Op> k##Op##Portable(Dev::kCpu, "portable", 10, nullptr, [](const Op& a, Device& d) { portable::run(a, d); }); \
  const Kernel<Op> k##Op##Avx2(Dev::kCpu, "avx2", 20, has_isa<Isa::kAvx2, Op>, [](const Op& a, Device& d) { avx2::run(a, d); }); \
  const Kernel<Op> k##Op##Avx512(Dev::kCpu, "avx512", 30, has_isa<Isa::kAvx512, Op>, [](const Op& a, Device& d) { avx512::run(a, d); })
#else
#define XYLEM_VEC_KERNELS(Op) \
  const Kernel<Op> k##Op##Portable(Dev::kCpu, "portable", 10, nullptr, [](const Op& a, Device& d) { portable::run(a, d); })
#endif
