#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "vision/image.h"

namespace xylem {
namespace {

// What one sample of the result is made of: samples [begin, begin + count) of the source, with weights at `first`.
struct Taps {
  int begin, count;
  size_t first;
};

// An axis from m to n samples in fixed point: sample = (half + sum of weight * source) >> bits, clamped.
struct Axis {
  std::vector<Taps> taps;
  std::vector<int16_t> weights;
  int bits = 0;
  int half() const { return 1 << (bits - 1); }
};

double keys(double x) {
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

// The most fraction bits, at most 22, with which the largest weight stays a 16-bit number. Sums then fit into 32 bits.
int fraction_bits(double largest) {
  int bits = 0;
  while (bits < 22 && static_cast<int>(0.5 + largest * double(1 << (bits + 1))) < 1 << 15) ++bits;
  return bits;
}

Axis make_axis(int m, int n) {
  const double scale = double(m) / n, stretch = std::max(scale, 1.0), support = 2 * stretch;
  Axis axis;
  axis.taps.reserve(n);
  std::vector<double> exact;
  for (int i = 0; i < n; ++i) {
    const double centre = scale * (i + 0.5);
    const int begin = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int end = std::min(static_cast<int>(centre + support + 0.5), m);
    axis.taps.push_back({begin, end - begin, exact.size()});
    double sum = 0;
    for (int j = begin; j < end; ++j) sum += exact.emplace_back(keys((j - centre + 0.5) / stretch));
    for (size_t k = exact.size() - (end - begin); k < exact.size(); ++k) exact[k] /= sum;
  }
  axis.bits = fraction_bits(*std::max_element(exact.begin(), exact.end()));
  axis.weights.reserve(exact.size());
  for (const double w : exact)
    axis.weights.push_back(static_cast<int16_t>(w * double(1 << axis.bits) + (w < 0 ? -0.5 : 0.5)));
  return axis;
}

uint8_t clamp_to_byte(int v) { return static_cast<uint8_t>(std::clamp(v, 0, 255)); }

Image resize_width(const Image& in, int width) {
  const Axis axis = make_axis(in.width, width);
  Image out{width, in.height, std::vector<uint8_t>(size_t(width) * in.height * 3)};
  uint8_t* to = out.rgb.data();
  for (int y = 0; y < in.height; ++y) {
    const uint8_t* row = in.rgb.data() + size_t(y) * in.width * 3;
    for (const Taps& t : axis.taps) {
      int r = axis.half(), g = r, b = r;
      const uint8_t* from = row + size_t(t.begin) * 3;
      const int16_t* weight = axis.weights.data() + t.first;
      for (int k = 0; k < t.count; ++k, from += 3) {
        r += weight[k] * from[0];
        g += weight[k] * from[1];
        b += weight[k] * from[2];
      }
      *to++ = clamp_to_byte(r >> axis.bits);
      *to++ = clamp_to_byte(g >> axis.bits);
      *to++ = clamp_to_byte(b >> axis.bits);
    }
  }
  return out;
}

Image resize_height(const Image& in, int height) {
  const Axis axis = make_axis(in.height, height);
  const size_t row = size_t(in.width) * 3;
  Image out{in.width, height, std::vector<uint8_t>(row * height)};
  std::vector<int> sums(row);
  for (int y = 0; y < height; ++y) {
    const Taps& t = axis.taps[y];
    std::fill(sums.begin(), sums.end(), axis.half());
    for (int k = 0; k < t.count; ++k) {
      const int weight = axis.weights[t.first + k];
      const uint8_t* from = in.rgb.data() + row * (t.begin + k);
      for (size_t x = 0; x < row; ++x) sums[x] += weight * from[x];
    }
    uint8_t* to = out.rgb.data() + row * y;
    for (size_t x = 0; x < row; ++x) to[x] = clamp_to_byte(sums[x] >> axis.bits);
  }
  return out;
}

}  // namespace

Image resize_bicubic(const Image& image, int width, int height) {
  CHECK(width >= 1 && height >= 1, width, height);
  CHECK(image.rgb.size() == size_t(image.width) * image.height * 3, image.width, image.height);
  if (width == image.width) return height == image.height ? image : resize_height(image, height);
  Image wide = resize_width(image, width);
  return height == image.height ? wide : resize_height(wide, height);
}

}  // namespace xylem
