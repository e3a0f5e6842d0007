#include "weights/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/clock.h"

namespace xylem {

ProgressBar::ProgressBar(std::string title, int64_t total_bytes, bool wanted)
    : title_(std::move(title)), total_(std::max<int64_t>(total_bytes, 1)), active_(wanted && isatty(STDERR_FILENO)), start_(now_seconds()) {}

ProgressBar::~ProgressBar() {
  if (active_) std::fputs("\r\033[K", stderr);
}

void ProgressBar::update(int64_t done_bytes) {
  constexpr double kInterval = 0.1;
  constexpr int kWidth = 30;
  const double now = now_seconds();
  if (!active_ || now < next_) return;
  next_ = now + kInterval;
  const double part = std::clamp(double(done_bytes) / double(total_), 0.0, 1.0);
  const int full = int(part * kWidth);
  std::fprintf(stderr, "\r%s [%s%s] %3.0f%%  %.1f of %.1f GB  %.1f GB/s\033[K", title_.c_str(), std::string(size_t(full), '#').c_str(),
               std::string(size_t(kWidth - full), '.').c_str(), part * 100, double(done_bytes) / 1e9, double(total_) / 1e9,
               double(done_bytes) / 1e9 / std::max(now - start_, 1e-3));
  std::fflush(stderr);
}

}  // namespace xylem
