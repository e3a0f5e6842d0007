// MatMul by the form that was measured to be the fastest, and the measuring.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "ops/matmul/gpu_product.h"
#include "ops/matmul/tune.h"

namespace xylem {
namespace {

constexpr int64_t kMatMul = 1;          // of Tuning::Key
constexpr double kClearly = 0.97;       // of the time by the rules: less than that counts as faster
constexpr double kSampleSeconds = 3e-3;
constexpr double kMostError = 1e-5;     // of a form's results, squared and relative: more means that it does not work on this device

struct Name { GpuForm form; const char* name; };
constexpr Name kNames[] = {{GpuForm::kGemv1, "gemv1"},         {GpuForm::kGemv4, "gemv4"},   {GpuForm::kGemv8, "gemv8"},       {GpuForm::kTile, "tile"},
                           {GpuForm::kMadSkinny, "mad8"},      {GpuForm::kMadSkinny2, "mad16"}, {GpuForm::kMad, "mad64"},       {GpuForm::kMmaFew32, "few32"},
                           {GpuForm::kMmaFew64, "few64"},      {GpuForm::kMmaMid, "mid"},    {GpuForm::kMmaWide, "wide"},      {GpuForm::kSkinny8, "skinny8"},
                           {GpuForm::kSkinny16, "skinny16"}, {GpuForm::kWide8, "wide8"}, {GpuForm::kWide16, "wide16"}};

// Products of about as many rows are one kind.
int64_t bucket(int64_t rows) { return int64_t(std::bit_ceil(uint64_t(rows))); }
Tuning::Key key_of(const MatMul& a) { return {kMatMul, int64_t(a.w.dtype), a.round_x, bucket(a.x.rows()), a.w.outputs(), a.w.cols()}; }

std::optional<GpuForm> tuned_form(const MatMul& a, const OpenClDevice& d) {
  if (d.tuning().size() == 0 || a.x.rows() == 0) return std::nullopt;
  const std::string* name = d.tuning().find(key_of(a));
  if (name)
    for (const Name& n : kNames)
      if (*name == n.name && form_runs(n.form, a.w.dtype, a.round_x, d.info())) return n.form;
  return std::nullopt;
}

void run_form(const MatMul& a, GpuForm form, Device& d) {
  gpu_product(product_of(a), form, gpu(d));
}

const Kernel<MatMul> kernel(
    Dev::kOpenCl, "tuned", 40, [](const MatMul& a, const Device& d) { return tuned_form(a, static_cast<const OpenClDevice&>(d)).has_value(); },
    [](const MatMul& a, Device& d) { run_form(a, *tuned_form(a, gpu(d)), d); }, "products that --tune has measured");

// Of so many rows; those whose tasks are much smaller or larger cannot win.
bool worth_trying(GpuForm form, int64_t rows) {
  const int most = form_rows(form);
  if (form >= GpuForm::kWide8 && rows > most) return false;  // they have one task
  return most * 16 >= rows && (most <= 16 || most <= 8 * rows);
}

// Seconds of a call, the best of some samples; calls go through the weights in turn, so that caches hold no more than they would.
Result<double> seconds_of(const std::function<void(const MatMul&)>& call, std::span<const MatMul> calls, Device& d) {
  size_t next = 0;
  const auto some = [&](int n) -> Result<double> {
    const double t0 = now_seconds();
    for (int i = 0; i < n; i++) call(calls[next++ % calls.size()]);
    TRY_VOID(d.sync());
    return now_seconds() - t0;
  };
  if (const auto compiled = some(2); !compiled.ok()) return compiled.error();
  TRY(const double first, some(3));
  const int n = std::clamp(int(kSampleSeconds * 3 / first), 1, 300);
  double best = first / 3;
  for (int i = 0; i < 3; i++) {
    TRY(const double t, some(n));
    best = std::min(best, t / n);
  }
  return best;
}

// What a call writes.
Result<std::vector<float>> result_of(const std::function<void(const MatMul&)>& call, const MatMul& a, Device& d) {
  std::vector<float> y(size_t(a.y.numel()));
  call(a);
  TRY_VOID(d.sync());
  d.copy_out(y.data(), a.y.data, a.y.bytes());
  return y;
}
bool same(const std::vector<float>& got, const std::vector<float>& want) {  // up to the order of sums
  double error = 0, all = 0;
  for (size_t i = 0; i < want.size(); i++) error += std::pow(double(got[i]) - double(want[i]), 2), all += std::pow(double(want[i]), 2);
  return error <= kMostError * all;  // false when NaN
}

// Calls that differ in their weights alone, and how many rows they have at most.
struct Kind {
  std::vector<MatMul> calls;
  int64_t rows = 0;
};

// The rule's form against all others, for so many rows.
Status tune_kind(Kind& kind, int64_t rows, OpenClDevice& d, TuneReport& report) {
  const int64_t K = kind.calls[0].w.cols(), N = kind.calls[0].w.outputs();
  const DType type = kind.calls[0].w.dtype;
  const Buffer x(d, size_t(rows * K) * sizeof(float)), y(d, size_t(rows * N) * sizeof(float));
  if (!x || !y) return {};  // such a step would not fit either
  std::vector<float> random(size_t(rows * K));
  std::mt19937 rng(7);
  for (float& v : random) v = float(int32_t(rng())) * 0x1p-31f;
  d.copy_in(x.data(), random.data(), x.bytes());
  for (MatMul& a : kind.calls) a.x = make_tensor(x.data(), DType::kF32, {rows, K}), a.y = make_tensor(y.data(), DType::kF32, {rows, N});
  const Tuning::Key key = key_of(kind.calls[0]);
  d.tuning().erase(key);
  const Kernel<MatMul>& rule = select_kernel(kind.calls[0], d);
  TRY(const double by_rule, seconds_of([&](const MatMul& a) { rule.run(a, d); }, kind.calls, d));
  TRY(const std::vector<float> want, result_of([&](const MatMul& a) { rule.run(a, d); }, kind.calls[0], d));
  double best = by_rule * kClearly;
  const char* chosen = nullptr;
  for (const Name& n : kNames) {
    if (!form_runs(n.form, type, kind.calls[0].round_x, d.info()) || !worth_trying(n.form, rows)) continue;
    TRY(const double t, seconds_of([&](const MatMul& a) { run_form(a, n.form, d); }, kind.calls, d));
    if (t >= best) continue;
    TRY(const std::vector<float> got, result_of([&](const MatMul& a) { run_form(a, n.form, d); }, kind.calls[0], d));
    if (same(got, want)) best = t, chosen = n.name;
    else log::warn("products of {} rows with {} [{}, {}]: {} is left out, as its results differ from those of {}", rows, dtype_name(type), N, K, n.name, rule.name);
  }
  report.measured++;
  if (!chosen) return {};
  report.changed++;
  d.tuning().set(key, chosen);
  log::info("products of {} rows with {} [{}, {}]: {} takes {:.1f} us, {} by the rules {:.1f} us", rows, dtype_name(type), N, K, chosen, best * 1e6, rule.name, by_rule * 1e6);
  return {};
}

}  // namespace

Result<TuneReport> tune_products(std::span<const MatMul> products, Device& device) {
  TuneReport report;
  if (device.kind() != Dev::kOpenCl) return report;
  const double begun = now_seconds();
  OpenClDevice& d = gpu(device);
  std::map<Tuning::Key, Kind> kinds;
  for (const MatMul& a : products) {
    Tuning::Key key = key_of(a);
    key[3] = 0;  // of any number of rows
    Kind& kind = kinds[key];
    kind.calls.push_back(a), kind.rows = std::max(kind.rows, a.x.rows());
    kind.calls.back().bias = {};
  }
  for (auto& [key, kind] : kinds)
    for (int64_t rows = 1; rows <= bucket(kind.rows); rows *= 2) TRY_VOID(tune_kind(kind, rows, d, report));
  report.seconds = now_seconds() - begun;
  TRY_VOID(d.tuning().save());
  return report;
}

}  // namespace xylem
