// Measured forms of matrix products: chosen, right, kept for the next start, and harmless when what is kept is damaged.
#include "ops/matmul/tune.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "device/opencl/opencl_device.h"
#include "ops/run_reference.h"

namespace xylem {
namespace {

namespace fs = std::filesystem;

class TuneTest : public testing::Test {
 protected:
  void SetUp() override {
    if (opencl_devices().empty()) GTEST_SKIP() << "there is no OpenCL device";
    folder_ = fs::temp_directory_path() / ("xylem_tune_" + std::to_string(getpid()));
    if (const char* old = std::getenv("XDG_CACHE_HOME")) old_ = old;
    setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
  }
  void TearDown() override {
    if (folder_.empty()) return;
    old_.empty() ? unsetenv("XDG_CACHE_HOME") : setenv("XDG_CACHE_HOME", old_.c_str(), 1);
    fs::remove_all(folder_);
  }
  static std::unique_ptr<OpenClDevice> open() {
    auto d = OpenClDevice::open(opencl_devices()[0]);
    EXPECT_TRUE(d.ok()) << (d.ok() ? "" : d.error().text);
    return d.ok() ? std::move(*d) : nullptr;
  }
  fs::path file() const {
    for (const auto& e : fs::directory_iterator(folder_ / "xylem"))
      if (e.path().extension() == ".tuning") return e.path();
    return {};
  }
  fs::path folder_;
  std::string old_;
};

// A product on the host, and the same in the memory of a device.
struct Product {
  std::vector<float> x, y;
  std::vector<uint16_t> w;
  MatMul host, call;
  Buffer dx, dw, dy;
  Product(OpenClDevice& d, int64_t rows) : x(size_t(rows * kIn)), y(size_t(rows * kOut)), w(size_t(kIn * kOut)) {
    std::mt19937 rng(3);
    for (float& v : x) v = float(int32_t(rng())) * 0x1p-31f;
    for (uint16_t& v : w) v = f32_to_bf16(float(int32_t(rng())) * 0x1p-31f);
    host.x = make_tensor(x.data(), DType::kF32, {rows, kIn}), host.y = make_tensor(y.data(), DType::kF32, {rows, kOut});
    host.w = packed_shape({kOut, kIn}, DType::kBF16), host.w.data = w.data(), host.round_x = true;
    dx = Buffer(d, x.size() * 4), dw = Buffer(d, w.size() * 2), dy = Buffer(d, y.size() * 4);
    d.copy_in(dx.data(), x.data(), dx.bytes()), d.copy_in(dw.data(), w.data(), dw.bytes());
    call = host, call.x.data = dx.data(), call.w.data = dw.data(), call.y.data = dy.data();
  }
  double error(OpenClDevice& d) {
    std::vector<float> got(y.size());
    d.copy_out(got.data(), dy.data(), dy.bytes());
    run_reference(host);
    double err = 0, ref = 0;
    for (size_t i = 0; i < got.size(); i++) err += std::pow(double(got[i]) - y[i], 2), ref += std::pow(double(y[i]), 2);
    return std::sqrt(err / ref);
  }
  static constexpr int64_t kIn = 256, kOut = 96;
};

Tuning::Key key(int64_t rows) { return {1, int64_t(DType::kBF16), 1, rows, Product::kOut, Product::kIn}; }

TEST_F(TuneTest, MeasuresEveryNumberOfRowsAndKeepsWhatItChose) {
  auto d = open();
  Product p(*d, 5);
  const MatMul calls[] = {p.call, p.call};
  const auto report = tune_products(calls, *d);
  ASSERT_TRUE(report.ok()) << report.error().text;
  EXPECT_EQ(report->measured, 4);  // 1, 2, 4, 8 rows
  EXPECT_EQ(size_t(report->changed), d->tuning().size());
  auto again = open();
  EXPECT_EQ(again->tuning().size(), d->tuning().size());
  for (int64_t rows : {1, 2, 4, 8}) {
    const std::string *a = d->tuning().find(key(rows)), *b = again->tuning().find(key(rows));
    EXPECT_EQ(a ? *a : "", b ? *b : "") << rows;
  }
}

TEST_F(TuneTest, RunsTheFormThatIsKept) {
  auto d = open();
  for (const char* form : {"tile", "gemv8", "gemv1"}) {
    d->tuning().set(key(8), form);
    Product p(*d, 6);
    const Kernel<MatMul>& k = select_kernel(p.call, *d);
    EXPECT_STREQ(k.name, "tuned") << form;
    k.run(p.call, *d);
    ASSERT_TRUE(d->sync().ok());
    EXPECT_LT(p.error(*d), 1e-5) << form;
  }
  d->tuning().set(key(8), "no_such_form");
  Product p(*d, 6);
  EXPECT_STRNE(select_kernel(p.call, *d).name, "tuned");
  Product other(*d, 9);  // of another number of rows
  EXPECT_STRNE(select_kernel(other.call, *d).name, "tuned");
}

TEST_F(TuneTest, NoChoiceIsAlsoAnAnswer) {
  ASSERT_TRUE(open()->tuning().save().ok());  // every rule was right
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  EXPECT_EQ(open()->tuning().size(), 0u);
  const std::string said = testing::internal::GetCapturedStdout() + testing::internal::GetCapturedStderr();
  EXPECT_EQ(said.find("damaged"), std::string::npos) << said;
}

TEST_F(TuneTest, DamagedAndForeignFilesCountForNothing) {
  {
    auto d = open();
    d->tuning().set(key(1), "tile");
    ASSERT_TRUE(d->tuning().save().ok());
    EXPECT_EQ(open()->tuning().size(), 1u);
  }
  std::ifstream in(file());
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  const auto size_with = [&](const std::string& text) {
    std::ofstream(file()) << text;
    return open()->tuning().size();
  };
  EXPECT_EQ(size_with(good), 1u);
  for (const std::string& bad : {good.substr(1), good.substr(0, good.size() - 6), good + "1 2 3\n", good + "1 2 3 4 5 6 tile more\n", good + "1 2 3 4 5 x tile\n", good + std::string("1 2 3 4 5 6 \xff\n"), std::string()})
    EXPECT_EQ(size_with(bad), 0u) << bad;
}

}  // namespace
}  // namespace xylem
