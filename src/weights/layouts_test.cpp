// Parameters whose numbers lie in files otherwise than in memory.
#include "weights/test_loader.h"

namespace xylem {
namespace {

using testing::element;
using testing::expect_rows;
using testing::expect_zero_padding;
using testing::FakeModel;
using testing::FileBuilder;
using testing::has;
using testing::test_value;

struct Layouts : testing::Loader {
  void load_ok(const std::function<void(ParamList&)>& declare, std::vector<std::string> prefixes = {""}) {
    FakeModel m(declare, std::move(prefixes));
    auto w = load(m);
    ASSERT_TRUE(w.ok()) << w.error().text;
    weights_ = *std::move(w);
  }
  std::string error_of(const std::function<void(ParamList&)>& declare) {
    FakeModel m(declare);
    return load_error(m);
  }
  LoadedWeights weights_;
};

TEST_F(Layouts, VectorsOfAnyShape) {
  write(FileBuilder().add("w", "BF16", {1, 1}, 9).add("A_log", "BF16", {1, 1, 4, 1}, 1).add("conv", "F16", {6, 1, 4}, 2).add("dt", "F32", {4, 8}, 3));
  load_ok([&](ParamList& p) { p.floats("A_log", a_, {4}), p.floats("conv", b_, {6, 4}), p.floats("dt", c_, {32}).scale = 0.5f; });
  for (int64_t i = 0; i < 4; i++) EXPECT_EQ(a_.as<>()[i], test_value(1, i));
  for (int64_t i = 0; i < 24; i++) EXPECT_EQ(b_.as<>()[i], test_value(2, i));
  for (int64_t i = 0; i < 32; i++) EXPECT_EQ(c_.as<>()[i], test_value(3, i) * 0.5f);
  EXPECT_EQ(b_.rank, 2);
  EXPECT_TRUE(b_.contiguous());
  EXPECT_PRED2(has, error_of([&](ParamList& p) { p.floats("conv", b_, {4, 6}); }), "tensor conv has the shape [6, 1, 4], config.json asks for [4, 6]");
  EXPECT_PRED2(has, error_of([&](ParamList& p) { p.floats("dt", b_, {31}); }), "tensor dt has the shape [4, 8], config.json asks for [31]");
}

TEST_F(Layouts, VectorsOfParts) {
  write(FileBuilder().add("q.conv", "BF16", {5, 1, 4}, 1).add("k.conv", "F32", {3, 1, 4}, 2).add("q.bias", "BF16", {5}, 3).add("k.bias", "F16", {3}, 4));
  load_ok([&](ParamList& p) {
    p.floats("conv", a_, {8, 4}, {{"q.conv", 5}, {"v.conv", 0}, {"k.conv", 3}});
    p.floats("bias", b_, {8}, {{"q.bias", 5}, {"k.bias", 3}});
  });
  for (int64_t i = 0; i < 20; i++) EXPECT_EQ(a_.as<>()[i], test_value(1, i));
  for (int64_t i = 0; i < 12; i++) EXPECT_EQ(a_.as<>()[20 + i], test_value(2, i));
  for (int64_t i = 0; i < 5; i++) EXPECT_EQ(b_.as<>()[i], test_value(3, i));
  for (int64_t i = 0; i < 3; i++) EXPECT_EQ(b_.as<>()[5 + i], test_value(4, i));
  EXPECT_PRED2(has, error_of([&](ParamList& p) { p.floats("conv", a_, {9, 4}, {{"q.conv", 6}, {"k.conv", 3}}); }),
               "tensor q.conv has the shape [5, 1, 4], config.json asks for [6, 4]");
}

TEST_F(Layouts, InterleavedVectors) {
  write(FileBuilder().add("bias", "BF16", {3, 10}, 1));
  load_ok([&](ParamList& p) {
    Param& b = p.floats("bias", a_, {3, 10});
    b.interleaved = true, b.scale = 2.0f;
  });
  for (int64_t e = 0; e < 3; e++)
    for (int64_t j = 0; j < 5; j++) {
      EXPECT_EQ(a_.as<>()[e * 10 + j], 2 * test_value(1, e * 10 + 2 * j));
      EXPECT_EQ(a_.as<>()[e * 10 + 5 + j], 2 * test_value(1, e * 10 + 2 * j + 1));
    }
}

TEST_F(Layouts, OtherSpellingsOfNamesAndParts) {
  write(FileBuilder().add("m.0.moe.up", "BF16", {4, 3}, 1).add("m.0.moe.x.0.w", "BF16", {2, 3}, 2).add("m.0.moe.x.1.w", "BF16", {2, 3}, 3).add("m.norm", "BF16", {3}, 4));
  const auto declare = [&](ParamList& p) {
    p.also(".mlp.", ".moe.");
    p.matrix("0.mlp.up", a_, 4, 3), p.experts("0.mlp.all", b_, 2, 2, 3, {{"0.mlp.x.{e}.w", 2}}), p.vector("norm", c_, 3);
  };
  load_ok(declare, {"other.", "m."});
  expect_rows(a_, 0, 0, 4, 1);
  expect_rows(b_, 1, 0, 2, 3);
  FakeModel missing([&](ParamList& p) { p.also(".mlp.", ".moe."), p.matrix("0.mlp.up", a_, 4, 3), p.vector("0.mlp.bias", b_, 3); }, {"m."});
  EXPECT_PRED2(has, load_error(missing), "tensor m.0.mlp.bias is missing");
}

TEST_F(Layouts, RowsOfHeads) {
  for (const auto& [name, type] : {std::pair{"BF16", DType::kBF16}, {"F16", DType::kF16}, {"F32", DType::kF32}}) {
    for (const auto& [heads, rows, first, n, k] : {std::array<int64_t, 5>{3, 7, 2, 5, 9}, {2, 40, 0, 33, 16}, {5, 20, 17, 3, 21}, {1, 16, 0, 16, 64}}) {
      write(FileBuilder().add("w", name, {1, 1}, 1).add("kv_b", name, {heads * rows, k}, 2), 1);
      load_ok([&, heads = heads, rows = rows, first = first, n = n, k = k](ParamList& p) {
        p.matrix("w", d_, 1, 1), p.heads("kv_b", a_, heads, n, k, {rows, first, false}), p.heads("kv_b", b_, heads, n, k, {rows, first, true});
      });
      ASSERT_EQ(a_.dtype, type);
      ASSERT_EQ(b_.dtype, type);
      for (int64_t h = 0; h < heads; h++) {
        expect_rows(a_, h, 0, n, 2, h * rows + first);
        for (int64_t r = 0; r < n; r++)
          for (int64_t c = 0; c < k; c++) ASSERT_EQ(element(b_, h, c, r), test_value(2, (h * rows + first + r) * k + c)) << h << " " << c << " " << r;
      }
      expect_zero_padding(a_);
      expect_zero_padding(b_);
    }
  }
  EXPECT_PRED2(has, error_of([&](ParamList& p) { p.matrix("w", d_, 1, 1), p.heads("kv_b", a_, 2, 4, 64, {16, 0, false}); }),
               "tensor kv_b has the shape [16, 64], config.json asks for [32, 64]");
}

TEST_F(Layouts, ExpertsWithTheInputFirst) {
  for (const char* name : {"BF16", "F16", "F32"}) {
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{6, 5}, {34, 33}, {16, 64}, {50, 16}}) {
      for (const bool interleaved : {false, true}) {
        write(FileBuilder().add("x", name, {3, k, n}, 1));
        load_ok([&, n = n, k = k](ParamList& p) {
          Param& x = p.experts("x", a_, 3, n, k, {});
          x.input_first = true, x.interleaved = interleaved;
        });
        for (int64_t e = 0; e < 3; e++)
          for (int64_t r = 0; r < n; r++)
            for (int64_t c = 0; c < k; c++) {
              const int64_t column = !interleaved ? r : r < n / 2 ? 2 * r : 2 * (r - n / 2) + 1;
              ASSERT_EQ(element(a_, e, r, c), test_value(1, (e * k + c) * n + column)) << name << " " << e << " " << r << " " << c;
            }
        expect_zero_padding(a_);
      }
    }
  }
  EXPECT_PRED2(has, error_of([&](ParamList& p) { p.experts("x", a_, 3, 16, 50, {}).input_first = true; }),
               "tensor x has the shape [3, 16, 50], config.json asks for [3, 50, 16]");
}

// One model reads experts saved fused or one by one; the second kind in two spellings.
TEST_F(Layouts, ExpertsFusedOrOneByOne) {
  const auto declare = [&](ParamList& p) {
    p.also("mlp.", "moe.");
    p.experts("mlp.experts.gate_up_proj", a_, 2, 6, 4, {{"mlp.experts.{e}.w1.weight", 3}, {"mlp.experts.{e}.w3.weight", 3}});
    p.experts("mlp.experts.down_proj", b_, 2, 4, 3, {{"mlp.experts.{e}.w2.weight", 4}});
  };
  for (const std::string n : {"mlp.experts.", "moe.experts."}) {
    write(FileBuilder().add(n + "gate_up_proj", "BF16", {2, 6, 4}, 1).add(n + "down_proj", "BF16", {2, 4, 3}, 2));
    load_ok(declare);
    for (int64_t e = 0; e < 2; e++) expect_rows(a_, e, 0, 6, 1, e * 6), expect_rows(b_, e, 0, 4, 2, e * 4);
    FileBuilder single;
    for (int e = 0; e < 2; e++) {
      const std::string x = n + std::to_string(e) + ".w";
      single.add(x + "1.weight", "BF16", {3, 4}, 10 + e).add(x + "3.weight", "BF16", {3, 4}, 20 + e).add(x + "2.weight", "BF16", {4, 3}, 30 + e);
    }
    write(single);
    load_ok(declare);
    for (int e = 0; e < 2; e++) expect_rows(a_, e, 0, 3, 10 + e), expect_rows(a_, e, 3, 3, 20 + e), expect_rows(b_, e, 0, 4, 30 + e);
  }
}

TEST_F(Layouts, NamesPaddedVocabulariesAndMissingBiases) {
  write(FileBuilder().add("model.embed_tokens.weight", "BF16", {1088, 4}, 1).add("model.gate.weight", "BF16", {8, 4}, 2));
  FakeModel padded([&](ParamList& p) { p.table("embed_tokens.weight", a_, 1024, 4); }, {"model."});
  EXPECT_PRED2(has, load_error(padded), "tensor model.embed_tokens.weight has the shape [1088, 4], config.json asks for [1024, 4]");
  FakeModel bias([&](ParamList& p) { p.matrix("gate.weight", a_, 8, 4), p.floats("gate.e_score_correction_bias", b_, {8}); }, {"model."});
  EXPECT_PRED2(has, load_error(bias), "tensor model.gate.e_score_correction_bias is missing");
}

TEST_F(Layouts, SkipsLayersThatDraft) {
  write(FileBuilder().add("model.layers.6.w", "BF16", {2, 2}, 1).add("model.layers.61.w", "F8_E4M3", {2, 2}, 0).add("model.layers.61.w_scale_inv", "F32", {1, 1}, 0).add("mtp.fc.weight", "BF16", {2}, 1));
  FakeModel m([&](ParamList& p) { p.matrix("layers.6.w", a_, 2, 2); }, {"model."});
  m.unused_labels = {{"mtp.", "multi-token prediction"}, {"model.layers.61.", "multi-token prediction"}};
  ASSERT_TRUE(load(m).ok());
  EXPECT_PRED2(has, log_.text(), "skipped 3 tensors: multi-token prediction");
  EXPECT_FALSE(has(log_.text(), "ignored"));
}

TEST_F(Layouts, InterleavedRowsOfExperts) {
  write(FileBuilder().add("x", "BF16", {2, 70, 9}, 1));
  load_ok([&](ParamList& p) { p.experts("x", a_, 2, 70, 9, {}).interleaved = true; });
  for (int64_t e = 0; e < 2; e++)
    for (int64_t j = 0; j < 35; j++) {
      expect_rows(a_, e, j, 1, 1, e * 70 + 2 * j);
      expect_rows(a_, e, 35 + j, 1, 1, e * 70 + 2 * j + 1);
    }
  expect_zero_padding(a_);
}

}  // namespace
}  // namespace xylem
