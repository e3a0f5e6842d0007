#include "runtime/image_encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "device/cpu/cpu_device.h"
#include "models/vision_towers.h"
#include "nn/tower_alone.h"
#include "weights/loader.h"

namespace xylem {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();
constexpr const char* kConfig = R"({"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 2, "head_dim": 12, "use_clipped_linears": true,
  "position_embedding_size": 64})";
constexpr int kWidth = 20;

class ImageEncoderTest : public testing::Test {
 protected:
  void SetUp() override {
    LoadOptions load;
    load.dummy = true, load.progress = false;
    auto loaded = load_weights("", model_, device_, load);
    ASSERT_TRUE(loaded.ok()) << loaded.error().text;
    weights_ = *std::move(loaded);
  }
  // Room for `rows` rows and images of 9 * 40 patches.
  std::unique_ptr<ImageEncoder> encoder(int rows) {
    const VisionTower& tower = *model_.vision();
    auto e = std::make_unique<ImageEncoder>(stream_, tower, ImageEncoder::Limits{kPatches, rows, ImageEncoder::dry_arena_bytes(device_, tower, kPatches, false, nullptr)}, false);
    EXPECT_TRUE(e->ok());
    return e;
  }
  std::shared_ptr<const ImagePatches> image(int cells_h, int cells_w, uint64_t seed) {
    auto p = std::make_shared<ImagePatches>();
    p->cell = 3, p->grid_h = 3 * cells_h, p->grid_w = 3 * cells_w, p->hash = {seed, seed};
    p->pixels.resize(size_t(p->patches()) * 768);
    std::mt19937 rng{uint32_t(seed)};
    for (float& v : p->pixels) v = float(rng() % 256) / 255.0f;
    return p;
  }
  std::vector<float> alone(const std::shared_ptr<const ImagePatches>& p) { return *encoder(40)->encode(p); }
  static void expect_near(const std::vector<float>& got, const std::vector<float>& want, const std::string& where) {
    ASSERT_EQ(got.size(), want.size()) << where;
    for (size_t i = 0; i < got.size(); i++) ASSERT_NEAR(got[i], want[i], 1e-4) << where << " " << i;
  }
  // What place() makes of rows [first, first + count) of the image.
  std::vector<float> placed(ImageEncoder& e, const std::shared_ptr<const ImagePatches>& p, int first, int count) {
    std::vector<float> to(size_t((count + 2) * kWidth), -7.0f);
    const StepImage wanted[] = {{p, first, count, 1}};
    EXPECT_TRUE(e.place(wanted, make_tensor(to.data(), DType::kF32, {count + 2, kWidth})).ok());
    for (int i = 0; i < kWidth; i++) EXPECT_TRUE(to[size_t(i)] == -7.0f && to[to.size() - 1 - size_t(i)] == -7.0f) << i;
    return {to.begin() + kWidth, to.end() - kWidth};
  }

  static constexpr int kPatches = 9 * 40;
  CpuDevice device_{2};
  Stream stream_{device_};
  TowerAlone model_{make_gemma4_tower(Config(nlohmann::json::parse(kConfig)), kWidth)};  // with random weights
  LoadedWeights weights_;
};

TEST_F(ImageEncoderTest, WorksALayerAtATime) {
  const auto e = encoder(80);
  const auto one = image(2, 9, 1);
  for (int layer = 1; layer < 4; layer++) EXPECT_FALSE(*e->advance({one}, 0)) << layer;
  EXPECT_EQ(e->totals().encoded, 0u);
  EXPECT_TRUE(*e->advance({one}, 0));
  EXPECT_TRUE(*e->advance({one}, 0));
  EXPECT_EQ(e->totals().encoded, 1u);
  expect_near(placed(*e, one, 0, 18), alone(one), "in pieces");
}

TEST_F(ImageEncoderTest, ImagesOfOneCallDoNotSeeEachOther) {
  const auto e = encoder(80);
  const auto one = image(2, 9, 1), two = image(5, 2, 2), same = image(2, 9, 1);
  EXPECT_FALSE(*e->advance({one, two, same}, 0));
  EXPECT_TRUE(*e->advance({one, two, same}, kForever));
  EXPECT_EQ(e->totals().encoded, 2u);  // the third has the content of the first
  expect_near(placed(*e, one, 0, 18), alone(one), "first");
  expect_near(placed(*e, two, 0, 10), alone(two), "second");
  EXPECT_EQ(e->totals().found, 0u);
  EXPECT_TRUE(*e->advance({two, image(1, 1, 5)}, kForever));
  EXPECT_EQ(e->totals().found, 1u);
}

TEST_F(ImageEncoderTest, PlacesAnyPartOfAnImage) {
  const auto e = encoder(80);
  const auto one = image(5, 8, 3);
  const std::vector<float> all = alone(one);
  for (const auto& [first, count] : {std::pair(0, 40), {0, 1}, {15, 2}, {16, 16}, {3, 30}, {39, 1}})
    expect_near(placed(*e, one, first, count), {all.begin() + first * kWidth, all.begin() + (first + count) * kWidth}, std::to_string(first));
  EXPECT_EQ(e->totals().encoded, 1u);
}

TEST_F(ImageEncoderTest, TheImageUsedLongestAgoGivesWay) {
  const auto e = encoder(48);  // three pages of 16 rows
  const auto a = image(2, 8, 1), b = image(2, 8, 2), c = image(4, 8, 3);
  ASSERT_TRUE(*e->advance({a}, kForever) && *e->advance({b}, kForever));
  expect_near(placed(*e, a, 0, 16), alone(a), "a");  // used after b
  ASSERT_TRUE(*e->advance({c}, kForever));
  EXPECT_EQ(e->totals().encoded, 3u);
  expect_near(placed(*e, a, 0, 16), alone(a), "a stays");
  EXPECT_EQ(e->totals().encoded, 3u);
  expect_near(placed(*e, b, 0, 16), alone(b), "b is encoded again");
  expect_near(placed(*e, c, 0, 32), alone(c), "c too");
  EXPECT_EQ(e->totals().encoded, 5u);
}

TEST_F(ImageEncoderTest, WorkForOthersIsGivenUp) {
  const auto e = encoder(80);
  const auto a = image(2, 8, 1), b = image(3, 3, 2);
  EXPECT_FALSE(*e->advance({a}, 0));
  EXPECT_TRUE(*e->advance({b}, kForever));
  EXPECT_FALSE(*e->advance({a}, 0));
  expect_near(placed(*e, b, 0, 9), alone(b), "b");
  const auto c = image(1, 1, 4);
  expect_near(placed(*e, c, 0, 1), alone(c), "a step's needs come first");
  EXPECT_TRUE(*e->advance({a}, kForever));
  expect_near(placed(*e, a, 0, 16), alone(a), "a");
}

// More images than can be kept: as many of the first as fit, the others when a step needs them.
TEST_F(ImageEncoderTest, MoreImagesThanCanBeKept) {
  const auto e = encoder(48);  // three pages
  ImageList images;
  for (uint64_t i = 0; i < 4; i++) images.push_back(image(3, 6, 20 + i));  // two pages each
  EXPECT_TRUE(*e->advance(images, kForever));
  EXPECT_EQ(e->totals().encoded, 1u);
  for (const auto& p : images) expect_near(placed(*e, p, 0, 18), alone(p), "in turn");
  EXPECT_EQ(e->totals().encoded, 4u);
  ImageList tiny;
  for (uint64_t i = 0; i < 8; i++) tiny.push_back(image(1, 1, 40 + i));  // a page each, far fewer patches than a call takes
  EXPECT_TRUE(*e->advance(tiny, kForever));
  for (const auto& p : tiny) expect_near(placed(*e, p, 0, 1), alone(p), "tiny");
}

// More images than one call takes.
TEST_F(ImageEncoderTest, ManyImagesTakeSeveralCalls) {
  const auto e = encoder(160);
  ImageList images;
  for (uint64_t i = 0; i < 5; i++) images.push_back(image(3, 8, 10 + i));
  EXPECT_TRUE(*e->advance(images, kForever));
  EXPECT_EQ(e->totals().encoded, 5u);
  for (const auto& p : images) expect_near(placed(*e, p, 0, 24), alone(p), "many");
}

}  // namespace
}  // namespace xylem
