#include "device/cpu/cpu_device.h"

#include <sys/mman.h>

#include <cstdlib>
#include <string>

namespace xylem {
namespace {
constexpr size_t kHuge = size_t(2) << 20;
size_t mapped_size(size_t bytes) { return (bytes + kHuge - 1) / kHuge * kHuge; }
}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Bf16: return "avx512_bf16";
  }
  return "?";
}

Isa best_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  return bf16 ? Isa::kAvx512Bf16 : avx512 ? Isa::kAvx512 : avx2 ? Isa::kAvx2 : Isa::kScalar;
#else
  return Isa::kScalar;
#endif
}

Result<Isa> parse_isa(std::string_view name) {
  if (name == "auto" || name.empty()) return best_isa();
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (name != isa_name(isa)) continue;
    if (isa <= best_isa()) return isa;
    return unsupported("this machine has no " + std::string(name) + "; the best it has is " + isa_name(best_isa()));
  }
  return invalid("unknown instruction set '" + std::string(name) + "': use auto, scalar, avx2, avx512 or avx512_bf16");
}

CpuDevice::~CpuDevice() {
  if (scratch_) free(scratch_, scratch_bytes_);
}

void* CpuDevice::alloc(size_t bytes) {
  if (bytes < kHuge) {
    void* p = std::aligned_alloc(64, (std::max<size_t>(bytes, 1) + 63) / 64 * 64);
    return p;
  }
  // Over-map by one huge page and cut the ends off, so that the range starts on a huge page.
  const size_t size = mapped_size(bytes);
  char* p = static_cast<char*>(mmap(nullptr, size + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (p == MAP_FAILED) return nullptr;
  const size_t head = (kHuge - size_t(reinterpret_cast<uintptr_t>(p)) % kHuge) % kHuge;
  if (head) munmap(p, head);
  if (head != kHuge) munmap(p + head + size, kHuge - head);
  madvise(p + head, size, MADV_HUGEPAGE);
  return p + head;
}

void CpuDevice::free(void* p, size_t bytes) {
  if (bytes < kHuge) std::free(p);
  else munmap(p, mapped_size(bytes));
}

void* CpuDevice::scratch(size_t bytes) {
  if (bytes > scratch_bytes_) {
    if (scratch_) free(scratch_, scratch_bytes_);
    scratch_bytes_ = std::max(bytes, scratch_bytes_ * 3 / 2);
    scratch_ = alloc(scratch_bytes_);
    CHECK(scratch_ != nullptr, scratch_bytes_);
  }
  return scratch_;
}

}  // namespace xylem
