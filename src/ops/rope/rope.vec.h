// Body of the Rope and RopeTable kernels (see ops/vec_math.h).
#include "ops/rope/rotate.vec.h"

inline void run(const Rope& a, Device& d) {
  check(a);
  const int64_t R = a.table.cols(), H = a.x.dim[1], D = a.x.dim[2];
  parallel_rows(d, a.x.dim[0], a.x.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) {
      const float *cos = a.table.as() + t * 2 * R, *sin = cos + R;
      for (int64_t h = 0; h < H; h++) {
        const float* x = a.x.as() + t * a.x.stride[0] + h * a.x.stride[1];
        float* y = a.y.as() + t * a.y.stride[0] + h * a.y.stride[1];
        (a.interleaved ? rotate_pairs : rotate_halves)(x, cos, sin, y, R);
        if (x != y) std::memcpy(y + 2 * R, x + 2 * R, size_t(D - 2 * R) * sizeof(float));
      }
    }
  });
}

// Half as many doubles as a V has floats in the same bytes.
constexpr int kD = kN / 2;
typedef double VD __attribute__((vector_size(8 * kD)));
typedef int64_t VDI __attribute__((vector_size(8 * kD)));

inline VD poly(VD z, const double* c, int n) {
  VD p = c[0] - VD{};
  for (int i = 1; i < n; i++) p = p * z + c[i];
  return p;
}

// cos and sin of |x| < 2^22, error about 1e-10 absolute at the far end: the float they are rounded to is right.
inline void cos_sin(VD x, VD* cos, VD* sin) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  const VD shifted = x * 0.63661977236758134308 + kRound;
  const VD n = shifted - kRound;
  const VD r = (x - n * 1.57079632673412561417) - n * 6.07710050650619224932e-11;  // pi / 2 in two parts: the first product is exact
  const VD z = r * r;
  constexpr double kSin[] = {-7.6471637318198164759e-13, 1.6059043836821614599e-10, -2.5052108385441718775e-8,
                             2.7557319223985890653e-6,   -1.9841269841269841270e-4, 8.3333333333333333333e-3,
                             -1.6666666666666666667e-1};
  constexpr double kCos[] = {4.7794773323873852974e-14, -1.1470745597729724714e-11, 2.0876756987868098979e-9, -2.7557319223985890653e-7,
                             2.4801587301587301587e-5,  -1.3888888888888888889e-3,  4.1666666666666666667e-2, -0.5};
  const VD s = r + r * z * poly(z, kSin, 7), c = 1.0 + z * poly(z, kCos, 8);
  const VDI quadrant = (VDI)shifted;  // its low two bits
  const VDI odd = (quadrant & 1) != 0;
  const VD cc = odd ? s : c, ss = odd ? c : s;
  *cos = ((quadrant + 1) & 2) != 0 ? -cc : cc;
  *sin = (quadrant & 2) != 0 ? -ss : ss;
}

inline void run(const RopeTable& a, Device& d) {
  check(a);
  const int64_t R = a.inv_freq.numel();
  const float* freq = a.inv_freq.as();
  const int32_t* axis = a.axis.as<int32_t>();
  for (int64_t i = 0; axis && i < R; i++) CHECK(axis[i] >= 0 && axis[i] < a.positions.dim[0], i, axis[i], a.positions.dim[0]);
  parallel_rows(d, a.positions.cols(), a.y.numel() * 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) {
      const int32_t* positions = a.positions.as<int32_t>() + t;
      float* y = a.y.as() + t * 2 * R;
      for (int64_t i = 0; i < R; i += kD) {
        const int64_t n = std::min<int64_t>(kD, R - i);
        VD angle{}, cos, sin;
        for (int64_t j = 0; j < n; j++) angle[j] = double(float(positions[axis ? axis[i + j] * a.positions.stride[0] : 0]) * freq[i + j]);  // rounded to float, as the models were trained
        cos_sin(angle, &cos, &sin);
        for (int64_t j = 0; j < n; j++) y[i + j] = float(cos[j] * a.gain), y[R + i + j] = float(sin[j] * a.gain);
      }
    }
  });
}
