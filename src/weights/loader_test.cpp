#include "weights/loader.h"

#include <cmath>
#include <random>
#include <set>

#include "weights/test_loader.h"

namespace xylem {
namespace {

using testing::element;
using testing::expect_rows;
using testing::expect_zero_padding;
using testing::FakeModel;
using testing::FileBuilder;
using testing::has;
using testing::Loader;
using testing::test_value;

// Shapes around the panel and the pair, each float type, data at odd and even addresses.
TEST_F(Loader, PacksEveryTypeAndShape) {
  const std::pair<const char*, DType> types[] = {{"BF16", DType::kBF16}, {"F16", DType::kF16}, {"F32", DType::kF32}};
  for (const auto& [name, type] : types) {
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 1}, {15, 3}, {16, 8}, {17, 33}, {48, 64}, {100, 7}}) {
      for (size_t shift = 0; shift < 3; shift++) {
        write(FileBuilder().add("w", name, {n, k}, 3), shift);
        FakeModel m([&, n = n, k = k](ParamList& p) { p.matrix("w", a_, n, k); });
        auto w = load(m);
        ASSERT_TRUE(w.ok()) << w.error().text;
        ASSERT_EQ(a_.dtype, type);
        ASSERT_EQ(a_.dim[0], n);
        ASSERT_EQ(a_.dim[1], k);
        ASSERT_EQ(reinterpret_cast<uintptr_t>(a_.data) % 64, 0u);
        expect_rows(a_, 0, 0, n, 3);
        expect_zero_padding(a_);
        EXPECT_EQ(w->dtype_stored, dtype_name(type));
        EXPECT_EQ(w->parameters, n * k);
        EXPECT_TRUE(w->files.empty());
      }
    }
  }
}

// Devices do not give all their memory in one piece.
TEST_F(Loader, SlabsComeInPiecesOfABoundedSize) {
  write(FileBuilder().add("a", "BF16", {32, 16}, 1).add("b", "BF16", {64, 64}, 2).add("c", "BF16", {16, 16}, 3).add("d", "BF16", {16, 16}, 4));
  FakeModel m([&](ParamList& p) { p.matrix("a", a_, 32, 16), p.matrix("b", b_, 64, 64), p.matrix("c", c_, 16, 16), p.matrix("d", d_, 16, 16); });
  LoadOptions options;
  options.max_piece_bytes = 1024;
  auto loader = WeightLoader::open(dir_.path(), m, options, nullptr);
  ASSERT_TRUE(loader.ok()) << loader.error().text;
  EXPECT_TRUE(a_.data && d_.data);  // there, but nowhere yet
  EXPECT_EQ(loader->plan().piece_bytes, (std::vector<int64_t>{1024, 8192, 1024}));  // the large one alone
  EXPECT_EQ(loader->plan().slab_bytes, 10240);
  auto w = loader->load(device_, nullptr);
  ASSERT_TRUE(w.ok()) << w.error().text;
  EXPECT_EQ(w->slab.size(), 3u);
  expect_rows(a_, 0, 0, 32, 1), expect_rows(b_, 0, 0, 64, 2), expect_rows(c_, 0, 0, 16, 3), expect_rows(d_, 0, 0, 16, 4);
}

TEST_F(Loader, VectorsBecomeScaledFloats) {
  write(FileBuilder().add("bf", "BF16", {5}, 1).add("h", "F16", {1, 5}, 2).add("f", "F32", {5}, 3).add("scalar", "BF16", {}, 4), 1);
  FakeModel m([&](ParamList& p) { p.vector("bf", a_, 5, 0.5f), p.vector("h", b_, 5), p.vector("f", c_, 5), p.vector("scalar", d_, 1); });
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  for (int64_t i = 0; i < 5; i++) {
    EXPECT_EQ(a_.as<>()[i], test_value(1, i) * 0.5f);
    EXPECT_EQ(b_.as<>()[i], test_value(2, i));
    EXPECT_EQ(c_.as<>()[i], test_value(3, i));
  }
  EXPECT_EQ(d_.as<>()[0], test_value(4, 0));
  EXPECT_TRUE(a_.contiguous());
}

TEST_F(Loader, ConstantsNeedNoFile) {
  write(FileBuilder().add("w", "BF16", {2, 2}, 1));
  FakeModel m([&](ParamList& p) { p.matrix("w", a_, 2, 2), p.constant("rope", b_, {1.5f, 2.5f, -3.0f}); });
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  EXPECT_EQ(b_.as<>()[1], 2.5f);
  EXPECT_EQ(b_.dim[0], 3);
}

// Parts that begin and end in the middle of panels.
TEST_F(Loader, FusesPartsAlongRows) {
  write(FileBuilder().add("m.q", "BF16", {24, 6}, 1).add("m.k", "BF16", {3, 6}, 2).add("m.v", "BF16", {9, 6}, 3));
  FakeModel m([&](ParamList& p) { p.fused("qkv", a_, 6, {{"q", 24}, {"k", 3}, {"none", 0}, {"v", 9}}); }, {"other.", "m."});
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  expect_rows(a_, 0, 0, 24, 1);
  expect_rows(a_, 0, 24, 3, 2);
  expect_rows(a_, 0, 27, 9, 3);
  expect_zero_padding(a_);
}

TEST_F(Loader, FusedTensorInTheFileWins) {
  write(FileBuilder().add("qkv", "F16", {36, 6}, 4));
  FakeModel m([&](ParamList& p) { p.fused("qkv", a_, 6, {{"q", 24}, {"k", 12}}); });
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  expect_rows(a_, 0, 0, 36, 4);
}

TEST_F(Loader, PartsOfDifferentTypesAreWidened) {
  write(FileBuilder().add("q", "BF16", {5, 7}, 1).add("k", "F16", {20, 7}, 2));
  FakeModel m([&](ParamList& p) { p.fused("qk", a_, 7, {{"q", 5}, {"k", 20}}); });
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  EXPECT_EQ(a_.dtype, DType::kF32);
  expect_rows(a_, 0, 0, 5, 1);
  expect_rows(a_, 0, 5, 20, 2);
  expect_zero_padding(a_);
  EXPECT_PRED2(has, log_.text(), "qk: its parts have different types");
}

TEST_F(Loader, ExpertsFusedInTheFile) {
  write(FileBuilder().add("experts.gate_up", "BF16", {3, 20, 5}, 1));
  FakeModel m([&](ParamList& p) { p.experts("experts.gate_up", a_, 3, 20, 5, {{"experts.{e}.gate", 10}, {"experts.{e}.up", 10}}); });
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  for (int64_t e = 0; e < 3; e++) expect_rows(a_, e, 0, 20, 1, e * 20);
  expect_zero_padding(a_);
}

TEST_F(Loader, ExpertsOneByOne) {
  FileBuilder b;
  for (int e = 0; e < 12; e++) b.add("x." + std::to_string(e) + ".gate", "BF16", {10, 5}, e).add("x." + std::to_string(e) + ".up", "BF16", {10, 5}, 50 + e);
  write(b);
  FakeModel m([&](ParamList& p) { p.experts("gate_up", a_, 12, 20, 5, {{"x.{e}.gate", 10}, {"x.{e}.up", 10}}); });
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  for (int e = 0; e < 12; e++) {
    expect_rows(a_, e, 0, 10, e);
    expect_rows(a_, e, 10, 10, 50 + e);
  }
  expect_zero_padding(a_);
}

TEST_F(Loader, TablesStayInTheFile) {
  write(FileBuilder().add("t", "BF16", {9, 5}, 1));
  FakeModel m([&](ParamList& p) { p.table("t", a_, 9, 5); });
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  EXPECT_EQ(w->mapped_bytes, 90);
  EXPECT_EQ(w->bytes, 0);
  ASSERT_EQ(w->files.size(), 1u);
  const auto* p = static_cast<const std::byte*>(a_.data);
  EXPECT_TRUE(p >= w->files[0]->data() && p + 90 <= w->files[0]->data() + w->files[0]->size());
  const LoadedWeights moved = *std::move(w);  // the mapping moves with its owner
  expect_rows(a_, 0, 0, 9, 1);
}

TEST_F(Loader, MisalignedTablesAreCopied) {
  for (const char* type : {"BF16", "F32"}) {
    write(FileBuilder().add("t", type, {9, 5}, 1), type[0] == 'B' ? 1 : 2);
    FakeModel m([&](ParamList& p) { p.table("t", a_, 9, 5); });
    auto w = load(m);
    ASSERT_TRUE(w.ok()) << w.error().text;
    EXPECT_EQ(w->mapped_bytes, 0);
    EXPECT_TRUE(w->files.empty());
    EXPECT_EQ(a_.layout, Layout::kStrided);
    expect_rows(a_, 0, 0, 9, 1);
  }
}

TEST_F(Loader, TiedWithoutOwnTensorIsAnAlias) {
  write(FileBuilder().add("m.embed", "BF16", {20, 4}, 1));
  FakeModel m([&](ParamList& p) { p.tied("/head", b_, 20, 4, a_), p.matrix("embed", a_, 20, 4); }, {"m."});
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  EXPECT_EQ(a_.data, b_.data);
  EXPECT_EQ(b_.layout, Layout::kPacked);
  EXPECT_EQ(w->parameters, 80);
}

TEST_F(Loader, TiedWithEqualTensorIsAnAlias) {
  write(FileBuilder().add("m.embed", "BF16", {20, 4}, 1).add("head", "BF16", {20, 4}, 1));
  FakeModel m([&](ParamList& p) { p.matrix("embed", a_, 20, 4), p.tied("/head", b_, 20, 4, a_); }, {"m."});
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  EXPECT_EQ(a_.data, b_.data);
  EXPECT_EQ(w->bytes, int64_t(a_.bytes()));
  EXPECT_FALSE(has(log_.text(), "head")) << "an equal copy is used, not ignored";
}

TEST_F(Loader, TiedWithOtherTensorIsItsOwn) {
  write(FileBuilder().add("a.b.embed", "BF16", {20, 4}, 1).add("a.head", "BF16", {20, 4}, 2));
  FakeModel m([&](ParamList& p) { p.matrix("embed", a_, 20, 4), p.tied("/head", b_, 20, 4, a_); }, {"a.b."});
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  expect_rows(a_, 0, 0, 20, 1);
  expect_rows(b_, 0, 0, 20, 2);
}

TEST_F(Loader, ShardsAreFollowed) {
  dir_.write("s-0", FileBuilder().add("q", "BF16", {8, 4}, 1).add("t", "BF16", {3, 4}, 5).aligned_bytes());
  dir_.write("s-1", FileBuilder().add("k", "BF16", {8, 4}, 2).aligned_bytes());
  dir_.write("model.safetensors.index.json", R"({"weight_map":{"q":"s-0","k":"s-1","t":"s-0"}})");
  FakeModel m([&](ParamList& p) { p.fused("qk", a_, 4, {{"q", 8}, {"k", 8}}), p.table("t", b_, 3, 4); });
  auto w = load(m);
  ASSERT_TRUE(w.ok()) << w.error().text;
  expect_rows(a_, 0, 0, 8, 1);
  expect_rows(a_, 0, 8, 8, 2);
  expect_rows(b_, 0, 0, 3, 5);
  EXPECT_EQ(w->files.size(), 1u) << "only the file of the table stays mapped";
}

TEST_F(Loader, NamesWhatIsMissing) {
  write(FileBuilder().add("m.a", "BF16", {2, 2}, 1).add("m.x.0.up", "BF16", {2, 2}, 2));
  FakeModel missing([&](ParamList& p) { p.matrix("a", a_, 2, 2), p.vector("norm.weight", b_, 4); }, {"m."});
  EXPECT_EQ(load_error(missing), dir_.file("model.safetensors") + ": tensor m.norm.weight is missing: the model of config.json needs it.");
  FakeModel part([&](ParamList& p) { p.matrix("a", a_, 2, 2), p.fused("ab", b_, 2, {{"a", 2}, {"b", 2}}); }, {"m."});
  EXPECT_PRED2(has, load_error(part), "tensor m.b is missing");
  FakeModel expert([&](ParamList& p) { p.matrix("a", a_, 2, 2), p.experts("ups", b_, 2, 2, 2, {{"x.{e}.up", 2}}); }, {"m."});
  EXPECT_PRED2(has, load_error(expert), "tensor m.x.1.up is missing");
  FakeModel root([&](ParamList& p) { p.matrix("a", a_, 2, 2), p.matrix("/lm_head.weight", b_, 2, 2); }, {"m."});
  EXPECT_PRED2(has, load_error(root), "tensor lm_head.weight is missing");
  FakeModel other([&](ParamList& p) { p.matrix("w", a_, 2, 2); }, {"n.", "o."});
  EXPECT_PRED2(has, load_error(other), "has no tensor n.w nor o.w. It has 2 tensors: m.a, m.x.0.up");
  EXPECT_EQ(load(missing).error().code, Code::kNotFound);
}

TEST_F(Loader, NamesWrongShapesAndTypes) {
  write(FileBuilder().add("a", "BF16", {2, 3}, 1).add("d", "F64", {2, 2}, 1).add("i", "I8", {4}, 1));
  FakeModel shape([&](ParamList& p) { p.matrix("a", a_, 3, 2); });
  EXPECT_PRED2(has, load_error(shape), "tensor a has the shape [2, 3], config.json asks for [3, 2]");
  FakeModel part([&](ParamList& p) { p.fused("w", a_, 3, {{"a", 5}}); });
  EXPECT_PRED2(has, load_error(part), "tensor a has the shape [2, 3], config.json asks for [5, 3]");
  FakeModel type([&](ParamList& p) { p.matrix("d", a_, 2, 2); });
  EXPECT_PRED2(has, load_error(type), "tensor d has the type F64; BF16, F16 and F32 are supported");
  FakeModel vector([&](ParamList& p) { p.vector("i", a_, 4); });
  EXPECT_PRED2(has, load_error(vector), "tensor i has the type I8");
}

TEST_F(Loader, TruncatedAtEveryByteIsAnError) {
  const std::string whole = FileBuilder().add("w", "BF16", {4, 4}, 1).add("n", "F32", {3}, 2).bytes();
  FakeModel m([&](ParamList& p) { p.matrix("w", a_, 4, 4), p.vector("n", b_, 3); });
  for (size_t n = 0; n <= whole.size(); n++) {
    dir_.write("model.safetensors", whole.substr(0, n));
    EXPECT_EQ(load_error(m).empty(), n == whole.size()) << n;
  }
}

// Files that open although their header was damaged must load or be refused.
TEST_F(Loader, FuzzedHeadersLoadOrFail) {
  const std::string good = FileBuilder().add("w", "BF16", {4, 4}, 1).add("n", "F32", {3}, 2).add("t", "F16", {3, 4}, 2).bytes();
  FakeModel m([&](ParamList& p) { p.matrix("w", a_, 4, 4), p.vector("n", b_, 3), p.table("t", c_, 3, 4); });
  std::mt19937 random(11);
  int loaded = 0;
  volatile float sum = 0;  // every number is read
  for (int round = 0; round < 1500; round++) {
    std::string s = good;
    s[8 + random() % (s.size() - 8 - 68)] = "0123456789,[]{}\"BF"[random() % 18];
    dir_.write("model.safetensors", s);
    auto w = load(m);
    ASSERT_TRUE(w.ok() || !w.error().text.empty()) << s;
    if (!w.ok()) continue;
    loaded++;
    ASSERT_EQ(a_.numel() + b_.numel() + c_.numel(), 16 + 3 + 12);
    for (int64_t i = 0; i < 16; i++) sum = sum + element(a_, 0, i / 4, i % 4);
    for (int64_t i = 0; i < 12; i++) sum = sum + element(c_, 0, i / 4, i % 4);
  }
  EXPECT_GT(loaded, 10);
}

TEST_F(Loader, ReportsUnusedTensorsOnce) {
  FileBuilder b;
  b.add("w", "BF16", {2, 2}, 1);
  for (int i = 0; i < 5; i++) b.add("vision.layer" + std::to_string(i), "U8", {2}, 1).add("dead" + std::to_string(i), "U8", {2}, 1);
  b.add("audio.x", "I8", {2}, 1);
  write(b);
  FakeModel m([&](ParamList& p) { p.matrix("w", a_, 2, 2); });
  m.unused_labels = {{"vision.", "vision"}, {"audio.", "audio"}};
  ASSERT_TRUE(load(m).ok());
  EXPECT_PRED2(has, log_.text(), "skipped 6 tensors: audio, vision");
  EXPECT_PRED2(has, log_.text(), "ignored 5 tensors that the model does not use: dead0, dead1, dead2, ...");
}

TEST_F(Loader, SaysHowMuchMemoryIsNeeded) {
  write(FileBuilder().add("w", "BF16", {1024, 1024}, 1));
  FakeModel m([&](ParamList& p) { p.matrix("w", a_, 1024, 1024); });
  LoadOptions options;
  options.available_bytes = 1 << 20;
  EXPECT_PRED2(has, load_error(m, options), "needs 2.0 MiB for weights, 1.0 MiB are available");
  options.dummy = true;
  EXPECT_EQ(load(m, options).error().code, Code::kNoCapacity);
  options.available_bytes = 4 << 20;
  EXPECT_TRUE(load(m, options).ok());
}

TEST_F(Loader, RefusesAbsurdShapesOfAConfig) {
  LoadOptions options;
  options.dummy = true;
  const int64_t big = int64_t(1) << 28;
  FakeModel m([&](ParamList& p) { p.experts("x", a_, big, big, big, {}); });
  EXPECT_PRED2(has, load_error(m, options), "too large");
  FakeModel l([&](ParamList& p) { p.matrix("x", a_, int64_t(1) << 20, int64_t(1) << 20); });
  options.available_bytes = int64_t(1) << 30;
  EXPECT_EQ(load(l, options).error().code, Code::kNoCapacity);
}

TEST_F(Loader, TensorsWithoutPlaceInTheModelAreChecked) {
  write(FileBuilder().add("w", "BF16", {2, 2}, 1));
  FakeModel m([](ParamList& p) {
    static Tensor t;
    p.matrix("w", t, 2, 2);
  });
  EXPECT_TRUE(load(m).ok());
}

// ---- random weights ----

struct Dummy : Loader {
  Dummy() { options.dummy = true, options.seed = 5; }
  FakeModel model{[this](ParamList& p) {
    p.matrix("w", a_, 1001, 257), p.vector("n", b_, 300, 2.0f), p.table("t", c_, 100, 50), p.experts("e", d_, 3, 40, 64, {}), p.tied("/h", h_, 1001, 257, a_);
    p.constant("c", k_, {7.0f});
  }};
  LoadOptions options;
  Tensor h_, k_;
};

struct Moments { double mean, stddev; bool zero; };
Moments moments(const Tensor& t) {
  double sum = 0, squares = 0;
  bool zero = false;
  const int64_t matrices = t.rank == 3 ? t.dim[0] : 1, rows = t.rank > 1 ? t.outputs() : 1;
  for (int64_t e = 0; e < matrices; e++)
    for (int64_t n = 0; n < rows; n++)
      for (int64_t k = 0; k < t.cols(); k++) {
        const double v = element(t, e, n, k);
        sum += v, squares += v * v, zero |= v == 0;
      }
  const double count = double(t.numel()), mean = sum / count;
  return {mean, std::sqrt(squares / count - mean * mean), zero};
}

TEST_F(Dummy, HasSaneNumbers) {
  auto w = load(model, options);
  ASSERT_TRUE(w.ok()) << w.error().text;
  EXPECT_EQ(a_.dtype, DType::kBF16);
  EXPECT_EQ(c_.layout, Layout::kStrided);
  const Moments matrix = moments(a_), vector = moments(b_), table = moments(c_), experts = moments(d_);
  EXPECT_NEAR(matrix.stddev * std::sqrt(257.0), 1, 0.02);
  EXPECT_NEAR(matrix.mean, 0, 0.001);
  EXPECT_NEAR(experts.stddev * 8, 1, 0.05);
  EXPECT_NEAR(vector.mean, 2, 0.05);
  EXPECT_NEAR(table.stddev, 0.02, 0.002);
  EXPECT_FALSE(matrix.zero || vector.zero || table.zero || experts.zero);
  expect_zero_padding(a_);
  expect_zero_padding(d_);
  EXPECT_EQ(h_.data, a_.data);
  EXPECT_EQ(k_.as<>()[0], 7.0f);
  EXPECT_EQ(w->dtype_stored, "bfloat16");
}

TEST_F(Dummy, DependsOnTheSeedAlone) {
  auto bytes = [&](int threads, uint64_t seed) {
    CpuDevice device(threads, Isa::kScalar);
    options.seed = seed;
    auto w = load_weights("", model, device, options);
    CHECK(w.ok());
    return std::string(static_cast<const char*>(a_.data), a_.bytes()) + std::string(static_cast<const char*>(b_.data), b_.bytes()) +
           std::string(static_cast<const char*>(c_.data), c_.bytes()) + std::string(static_cast<const char*>(d_.data), d_.bytes());
  };
  const std::string one = bytes(1, 5);
  EXPECT_EQ(one, bytes(3, 5));
  EXPECT_NE(one, bytes(1, 6));
}

TEST_F(Dummy, RowsDiffer) {
  auto w = load(model, options);
  ASSERT_TRUE(w.ok());
  std::set<std::vector<float>> rows;
  for (int64_t n = 0; n < 1001; n++) {
    std::vector<float> row;
    for (int64_t k = 0; k < 8; k++) row.push_back(element(a_, 0, n, k));
    rows.insert(row);
  }
  EXPECT_EQ(rows.size(), 1001u);
}

}  // namespace
}  // namespace xylem
