#include "device/opencl/lane_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace xylem {
namespace {

float a_at(int i, int k) { return float((i * 3 + k) % 7 - 3); }
float b_at(int k, int n) { return float((k * 5 + n * 2) % 11 - 5); }

}  // namespace

Status probe_lanes(OpenClDevice& d) {
  constexpr int kGroup = 32;  // WG of lane_probe.cl
  const int width = d.info().sub_group;
  std::vector<float> want;
  for (int i = 0; i < 8; i++)
    for (int n = 0; n < width; n++) {
      float sum = float(i);
      for (int k = 0; k < 16; k++) sum += a_at(i, k) * b_at(k, n);
      want.push_back(sum);
    }
  float most = 0;
  for (int l = 0; l < width; l++) most = std::max(most, float(l * 7 % 5));
  want.insert(want.end(), size_t(width), float(width * (width + 1) / 2));
  want.insert(want.end(), size_t(width), most);
  for (int l = 0; l < width; l++) want.push_back(float((width - 1 - l) * (width - 1 - l)));

  std::vector<float> got(want.size() * size_t(kGroup / width), -1.0f);
  Buffer memory(d, got.size() * sizeof(float));
  if (!memory) return no_capacity("no memory");
  d.copy_in(memory.data(), got.data(), memory.bytes());
  d.launch(d.kernel("lane_probe.cl", "lane_probe"), {{1, 1, 1}, size_t(kGroup)}, memory.data());
  d.copy_out(got.data(), memory.data(), memory.bytes());
  TRY_VOID(d.sync());
  for (size_t i = 0; i < got.size(); i++) {
    const size_t at = i % want.size();
    if (got[i] != want[at])
      return internal_error(fmt::format("{} are wrong: {} instead of {}", at < size_t(8 * width) ? "matrix products" : "sums and exchanges of lanes", got[i], want[at]));
  }
  return {};
}

}  // namespace xylem
