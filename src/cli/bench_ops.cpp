#include <algorithm>
#include <thread>

#include <fmt/format.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/stats.h"
#include "device/cpu/cpu_device.h"
#include "device/op_spec.h"

namespace xylem {

Status bench_ops(BenchOpsOptions o) {
  TRY(const Isa isa, parse_isa(o.isa));
  CpuDevice device(o.threads > 0 ? o.threads : int(std::thread::hardware_concurrency()), isa);
  bool found = false;
  fmt::print("{:<16}{:<14}{:<44}{:>12}{:>10}\n", "op", "kernel", "case", "us (median)", "GB/s");
  for (const OpEntry& op : op_registry()) {
    if (!o.op.empty() && o.op != op.name) continue;
    found = true;
    op.bench(device, [&](const std::string& label, const char* kernel, size_t bytes, const std::function<void()>& call) {
      std::vector<double> seconds;
      call();  // faults pages in, grows scratch
      for (const double end = now_seconds() + o.seconds; seconds.size() < 3 || (now_seconds() < end && seconds.size() < 10000);) {
        const double begin = now_seconds();
        call();
        seconds.push_back(now_seconds() - begin);
      }
      const double median = summarize(std::move(seconds)).median;
      fmt::print("{:<16}{:<14}{:<44}{:>12.2f}{:>10.2f}\n", op.name, kernel, label, median * 1e6, double(bytes) / median / 1e9);
    });
  }
  if (found) return {};
  std::string names;
  for (const OpEntry& op : op_registry()) names += (names.empty() ? "" : ", ") + std::string(op.name);
  return invalid("unknown op '" + o.op + "'; known: " + names);
}

}  // namespace xylem
