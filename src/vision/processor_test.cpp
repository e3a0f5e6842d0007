// Size rules, pixels and prompts against specs and the goldens of the reference.
#include "vision/processor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "vision/test_files.h"

namespace xylem {
namespace {

using Json = nlohmann::json;
using Processor = std::shared_ptr<const ImageProcessor>;

const std::vector<std::string> kModels = {"gemma4-e", "gemma4-moe", "qwen3.5", "qwen3.5-moe"};
const bool kIsGemma[] = {true, true, false, false};

Processor golden_processor(const std::string& model, const ImageOptions& options = {}) {
  auto p = ImageProcessor::load(kGolden / model, options);
  EXPECT_TRUE(p.ok()) << (p.ok() ? "" : p.error().text);
  return p.ok() ? *p : nullptr;
}

Json gemma_config() {
  return {{"model_type", "gemma4"},
          {"vision_config", Json::object()},
          {"image_token_id", 7},
          {"boi_token_id", 6},
          {"eoi_token_id", 8}};
}
Json gemma_processor() { return {{"image_processor_type", "Gemma4ImageProcessor"}}; }
Json qwen_config() { return {{"model_type", "qwen3_5"}, {"vision_config", Json::object()}, {"image_token_id", 5}}; }
Json qwen_processor() {
  return {{"image_processor_type", "Qwen2VLImageProcessorFast"},
          {"patch_size", 16},
          {"merge_size", 2},
          {"temporal_patch_size", 2},
          {"size", {{"shortest_edge", 65536}, {"longest_edge", 16777216}}},
          {"image_mean", {0.5, 0.5, 0.5}},
          {"image_std", {0.5, 0.5, 0.5}}};
}

Result<Processor> load(const Json& config, const Json& preprocessor, const ImageOptions& options = {}) {
  const ScratchFolder folder;
  folder.write("config.json", config.dump());
  if (!preprocessor.is_null()) folder.write("preprocessor_config.json", preprocessor.dump());
  return ImageProcessor::load(folder.path(), options);
}

std::string error_of(const Result<Processor>& p) { return p.ok() ? "no error" : p.error().text; }

struct Tensor {
  std::vector<int> shape;
  std::vector<float> values;
};

// A tensor of float32 or int32 numbers.
Tensor read_tensor(const std::filesystem::path& path, const std::string& name) {
  const std::string file = read_text(path);
  uint64_t header = 0;
  std::memcpy(&header, file.data(), 8);
  const Json entry = Json::parse(file.substr(8, header))[name];
  Tensor t{entry["shape"], {}};
  const size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
  const char* data = file.data() + 8 + header + begin;
  t.values.resize((end - begin) / 4);
  if (entry["dtype"] == "F32") std::memcpy(t.values.data(), data, end - begin);
  for (size_t i = 0; entry["dtype"] == "I32" && i < t.values.size(); ++i) {
    int32_t v;
    std::memcpy(&v, data + i * 4, 4);
    t.values[i] = static_cast<float>(v);
  }
  return t;
}

ImagePatches patches_of(const ImageProcessor& p, const std::string& file) {
  auto patches = p.process(as_file(file));
  EXPECT_TRUE(patches.ok()) << (patches.ok() ? "" : patches.error().text);
  return patches.ok() ? *std::move(patches) : ImagePatches{};
}

struct SizeCase {
  int height, width, resized_height, resized_width, tokens;
};

TEST(Gemma4Processor, SizeRule) {
  const Processor p = load(gemma_config(), gemma_processor()).value();
  EXPECT_EQ(p->max_tokens(), 280);
  for (const SizeCase& c : {SizeCase{480, 640, 672, 912, 266},
                            {1080, 1920, 576, 1056, 264},
                            {224, 224, 768, 768, 256},
                            {20, 9000, 48, 13440, 280},
                            {9000, 20, 13440, 48, 280},
                            {1, 1, 768, 768, 256},
                            {1, 100, 48, 8016, 167},
                            {48, 48, 768, 768, 256}}) {
    EXPECT_EQ(p->tokens(c.width, c.height).value(), c.tokens) << c.width << " x " << c.height;
    const ImagePatches patches =
        p->process(Image{c.width, c.height, std::vector<uint8_t>(size_t(c.width) * c.height * 3)}).value();
    EXPECT_EQ(patches.grid_h * 16, c.resized_height);
    EXPECT_EQ(patches.grid_w * 16, c.resized_width);
    EXPECT_EQ(patches.tokens(), c.tokens);
  }
  EXPECT_FALSE(p->tokens(0, 5).ok());
  EXPECT_FALSE(p->tokens(5, -1).ok());
  EXPECT_EQ(p->tokens(INT32_MAX, 1).value(), 280);
  EXPECT_EQ(p->tokens(1, INT32_MAX).value(), 280);
}

TEST(Gemma4Processor, NoPictureHasMoreThanTheBudget) {
  for (const int budget : {70, 140, 280, 560, 1120}) {
    ImageOptions options;
    options.max_soft_tokens = budget;
    const Processor p = golden_processor("gemma4-e", options);
    EXPECT_EQ(p->max_tokens(), budget);
    for (int w = 1; w < 4000; w += 1 + w / 7)
      for (int h = 1; h < 4000; h += 1 + h / 7) {
        const int n = p->tokens(w, h).value();
        EXPECT_TRUE(n >= 1 && n <= budget) << w << " x " << h << ": " << n;
      }
  }
}

TEST(Gemma4Processor, Budgets) {
  EXPECT_EQ(golden_processor("gemma4-e")->max_tokens(), 70);
  for (const char* where : {"max_soft_tokens", "vision_soft_tokens_per_image"}) {
    Json config = gemma_config(), processor = gemma_processor();
    (std::string(where) == "max_soft_tokens" ? processor : config)[where] = 560;
    EXPECT_EQ(load(config, processor).value()->max_tokens(), 560) << where;
  }
  ImageOptions options;
  options.max_soft_tokens = 100;
  EXPECT_NE(error_of(load(gemma_config(), gemma_processor(), options)).find("70, 140, 280, 560, 1120"),
            std::string::npos);
  options.max_soft_tokens = -70;
  EXPECT_NE(error_of(load(gemma_config(), gemma_processor(), options)).find("--mm-max-soft-tokens is -70"),
            std::string::npos);
  Json odd = gemma_processor();
  odd["max_soft_tokens"] = 281;
  EXPECT_NE(error_of(load(gemma_config(), odd)).find("max_soft_tokens is 281"), std::string::npos);
}

TEST(Qwen2VlProcessor, SizeRule) {
  const Processor p = load(qwen_config(), qwen_processor()).value();
  EXPECT_EQ(p->max_tokens(), 16384);
  for (const SizeCase& c : {SizeCase{480, 640, 480, 640, 300},
                            {1080, 1920, 1088, 1920, 2040},
                            {100, 100, 256, 256, 64},
                            {5000, 5000, 4096, 4096, 16384},
                            {720, 1280, 704, 1280, 880},
                            {48, 80, 224, 352, 77},
                            {1040, 1040, 1024, 1024, 1024}}) {
    EXPECT_EQ(p->tokens(c.width, c.height).value(), c.tokens) << c.width << " x " << c.height;
    if (c.width > 2000) continue;
    const ImagePatches patches =
        p->process(Image{c.width, c.height, std::vector<uint8_t>(size_t(c.width) * c.height * 3)}).value();
    EXPECT_EQ(patches.grid_h * 16, c.resized_height);
    EXPECT_EQ(patches.grid_w * 16, c.resized_width);
    EXPECT_EQ(patches.pixels.size(), size_t(patches.patches()) * 1536);
  }
  EXPECT_TRUE(p->tokens(200, 1).ok());
  for (const auto& [w, h] : {std::pair(201, 1), {1, 201}, {INT32_MAX, 1}, {0, 1}}) EXPECT_FALSE(p->tokens(w, h).ok());
  EXPECT_EQ(p->tokens(INT32_MAX, INT32_MAX).value(), 16384);
}

TEST(Qwen2VlProcessor, NoPictureHasMoreThanMaxTokens) {
  for (const auto& [least, most] :
       {std::pair(1, 1024), {65536, 65536}, {4096, 262144}, {1000, 5000}, {200000, 300000}}) {
    ImageOptions options;
    options.min_pixels = least;
    options.max_pixels = most;
    const Processor p = load(qwen_config(), qwen_processor(), options).value();
    int seen = 0;
    for (int w = 1; w < 20000; w += 1 + w / 9)
      for (int h = std::max(1, (w + 199) / 200); h <= w; h += 1 + h / 9)
        seen = std::max({seen, p->tokens(w, h).value(), p->tokens(h, w).value()});
    EXPECT_LE(seen, p->max_tokens()) << least << " " << most;
    EXPECT_GE(seen, 1);
  }
}

TEST(Qwen2VlProcessor, Bounds) {
  Json processor = qwen_processor();
  processor["min_pixels"] = 1024;  // before those of size
  processor["max_pixels"] = 2048 * 32;
  EXPECT_EQ(load(qwen_config(), processor).value()->tokens(5000, 5000).value(), 64);
  EXPECT_EQ(load(qwen_config(), processor).value()->tokens(32, 32).value(), 1);
  ImageOptions options;
  options.max_pixels = 102400;
  EXPECT_EQ(load(qwen_config(), processor, options).value()->tokens(5000, 5000).value(), 100);
  for (const auto& [least, most] :
       {std::pair<int64_t, int64_t>(200, 100), {-1, 100000}, {1, 1023}, {1, int64_t(1) << 40}}) {
    options.min_pixels = least;
    options.max_pixels = most;
    EXPECT_NE(error_of(load(qwen_config(), qwen_processor(), options)).find("--mm-max-pixels-per-image"),
              std::string::npos);
  }
  Json absent = {{"image_processor_type", "Qwen2VLImageProcessor"}};  // 14 x 14 patches, 4 to 1280 tokens
  EXPECT_EQ(load(qwen_config(), absent).value()->tokens(1, 1).value(), 4);
  EXPECT_EQ(load(qwen_config(), absent).value()->tokens(28 * 100, 28 * 100).value(), 1225);
}

TEST(ImageProcessor, PixelsOfTheReference) {
  for (size_t m = 0; m < kModels.size(); ++m) {
    const auto folder = kGolden / kModels[m];
    const Tensor want = read_tensor(folder / "hidden.safetensors", "image-1.pixel_values");
    const ImagePatches got = patches_of(*golden_processor(kModels[m]), read_text(folder / "image-1.png"));
    const size_t numbers = want.shape.back();
    ASSERT_EQ(got.pixels.size(), size_t(got.patches()) * numbers) << kModels[m];
    if (!kIsGemma[m]) {
      const Tensor grid = read_tensor(folder / "hidden.safetensors", "image-1.image_grid_thw");
      EXPECT_EQ(grid.values, (std::vector<float>{1, float(got.grid_h), float(got.grid_w)}));
      EXPECT_EQ(got.pixels, want.values) << kModels[m];
      continue;
    }
    const Tensor positions = read_tensor(folder / "hidden.safetensors", "image-1.image_position_ids");
    for (int i = 0; i < got.patches(); ++i) {  // the reference's patches are in rows over the whole picture
      const auto [row, col] = got.at(i);
      const size_t j = size_t(row) * got.grid_w + col;
      EXPECT_EQ(positions.values[j * 2], col);
      EXPECT_EQ(positions.values[j * 2 + 1], row);
      EXPECT_TRUE(std::equal(&got.pixels[i * numbers], &got.pixels[i * numbers] + numbers, &want.values[j * numbers]))
          << kModels[m] << " " << i;
    }
    EXPECT_EQ(positions.values[size_t(got.patches()) * 2], -1) << "the reference has more patches";
  }
}

// The prompt before its images were expanded: one placeholder each, nothing around it that the processor adds.
std::vector<TokenId> collapsed(const std::vector<TokenId>& ids, TokenId image, TokenId begin, TokenId end) {
  std::vector<TokenId> out;
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] != begin && ids[i] != end && !(ids[i] == image && i > 0 && ids[i - 1] == image)) out.push_back(ids[i]);
  return out;
}

TEST(ImageProcessor, PromptsOfTheReference) {
  for (size_t m = 0; m < kModels.size(); ++m) {
    const auto folder = kGolden / kModels[m];
    const Json config = Json::parse(read_text(folder / "config.json")),
               golden = Json::parse(read_text(folder / "golden.json"));
    const Processor p = golden_processor(kModels[m]);
    EXPECT_EQ(p->placeholder(), config["image_token_id"]);
    int cases = 0;
    for (const Json& c : golden["cases"]) {
      if (!c.contains("images")) continue;
      ++cases;
      std::vector<std::shared_ptr<const ImagePatches>> images;
      for (const std::string file : c["images"])
        images.push_back(std::make_shared<ImagePatches>(patches_of(*p, read_text(folder / file))));
      const std::vector<TokenId> ids = c["prompt_ids"];
      const auto got = p->expand(
          collapsed(ids, p->placeholder(), config.value("boi_token_id", -1), config.value("eoi_token_id", -1)), images);
      ASSERT_TRUE(got.ok()) << got.error().text;
      EXPECT_EQ(got->ids, ids) << kModels[m] << " " << c["name"];
      ASSERT_EQ(got->first_token.size(), images.size());
      for (size_t i = 0; i < images.size(); ++i) {
        const auto first = ids.begin() + got->first_token[i];
        EXPECT_NE(first[-1], p->placeholder());
        EXPECT_EQ(std::count(first, first + images[i]->tokens(), p->placeholder()), images[i]->tokens());
        EXPECT_NE(first[images[i]->tokens()], p->placeholder());
      }
    }
    EXPECT_EQ(cases, 6) << kModels[m];
  }
}

TEST(ImageProcessor, CountsOfPlaceholdersMustMatch) {
  const Processor p = golden_processor("qwen3.5");
  const auto image = std::make_shared<const ImagePatches>(patches_of(*p, read_text(kGolden / "qwen3.5/image-0.png")));
  const std::vector<TokenId> none = {1, 2}, two = {5, 1, 5};
  EXPECT_EQ(p->expand(none, {})->ids, none);
  EXPECT_NE(p->expand(two, std::vector{image}).error().text.find("2 placeholders for images, but there are 1 images"),
            std::string::npos);
  EXPECT_NE(p->expand(none, std::vector{image}).error().text.find("0 placeholders"), std::string::npos);
  EXPECT_FALSE(p->expand(two, {}).ok());
}

TEST(ImageProcessor, HashesTellContentsApart) {
  const Processor p = golden_processor("gemma4-e");
  const std::string a = read_text(kGolden / "gemma4-e/image-0.png"), b = read_text(kGolden / "gemma4-e/image-1.png");
  EXPECT_EQ(patches_of(*p, a).hash, patches_of(*p, a).hash);
  EXPECT_NE(patches_of(*p, a).hash, patches_of(*p, b).hash);
  const Image black{96, 48, std::vector<uint8_t>(96 * 48 * 3)}, upright{48, 96, black.rgb};
  EXPECT_NE(p->process(black)->hash, p->process(upright)->hash) << "the same numbers in another grid";
  EXPECT_NE(p->process(black)->hash, (ContentHash{0, 0}));
}

TEST(ImageProcessor, BadImagesAreErrors) {
  ImageOptions options;
  options.max_decoded_pixels = 100;
  const Processor p = golden_processor("qwen3.5", options);
  EXPECT_NE(p->process(as_file(read_text(kGolden / "qwen3.5/image-0.png"))).error().text.find("--mm-max-pixels"),
            std::string::npos);
  EXPECT_FALSE(p->process(as_file("no image")).ok());
  options.max_decoded_pixels = 0;
  EXPECT_NE(error_of(load(qwen_config(), qwen_processor(), options)).find("--mm-max-pixels"), std::string::npos);
}

TEST(ImageProcessor, LoadFindsTheFamily) {
  Json text = gemma_config();
  text["vision_config"] = nullptr;
  EXPECT_EQ(load(text, gemma_processor()).value(), nullptr);
  text.erase("vision_config");
  EXPECT_EQ(load(text, nullptr).value(), nullptr);
  EXPECT_NE(error_of(load(gemma_config(), nullptr)).find("preprocessor_config.json is missing"), std::string::npos);
  EXPECT_NE(error_of(load(gemma_config(), Json::object())).find("no image_processor_type"), std::string::npos);
  EXPECT_NE(error_of(load(gemma_config(), {{"image_processor_type", "CLIPImageProcessor"}}))
                .find("CLIPImageProcessor is not supported"),
            std::string::npos);
  EXPECT_NE(error_of(ImageProcessor::load("/nonexistent", {})).find("config.json"), std::string::npos);
}

TEST(ImageProcessor, TheNewerFileComesFirst) {
  const ScratchFolder folder;
  folder.write("config.json", gemma_config().dump());
  Json inner = gemma_processor(), older = gemma_processor();
  inner["max_soft_tokens"] = 140;
  older["max_soft_tokens"] = 560;
  folder.write("processor_config.json", Json{{"image_processor", inner}}.dump());
  EXPECT_EQ(ImageProcessor::load(folder.path(), {}).value()->max_tokens(), 140);
  folder.write("preprocessor_config.json", older.dump());
  EXPECT_EQ(ImageProcessor::load(folder.path(), {}).value()->max_tokens(), 140);
  folder.write("processor_config.json", Json{{"processor_class", "Gemma4Processor"}}.dump());
  EXPECT_EQ(ImageProcessor::load(folder.path(), {}).value()->max_tokens(), 560);
  folder.write("processor_config.json", "{");
  EXPECT_NE(error_of(ImageProcessor::load(folder.path(), {})).find("not a JSON object"), std::string::npos);
}

TEST(ImageProcessor, OptionsOfAnotherFamilyNameTheRightFlag) {
  ImageOptions soft, pixels;
  soft.max_soft_tokens = 280;
  pixels.max_pixels = 100000;
  EXPECT_NE(error_of(load(qwen_config(), qwen_processor(), soft)).find("--mm-max-pixels-per-image"), std::string::npos);
  EXPECT_NE(error_of(load(gemma_config(), gemma_processor(), pixels)).find("--mm-max-soft-tokens"), std::string::npos);
}

TEST(ImageProcessor, OddConfigsAreErrors) {
  const std::vector<std::pair<const char*, Json>> bad = {{"patch_size", 0},
                                                         {"patch_size", int64_t(1) << 40},
                                                         {"patch_size", -16},
                                                         {"patch_size", "16"},
                                                         {"merge_size", 1000},
                                                         {"temporal_patch_size", 0},
                                                         {"do_resize", false},
                                                         {"do_rescale", false},
                                                         {"resample", 2},
                                                         {"rescale_factor", 0},
                                                         {"rescale_factor", -1},
                                                         {"image_std", {0, 0, 0}},
                                                         {"image_mean", {0.5}},
                                                         {"image_mean", "x"},
                                                         {"do_normalize", 3},
                                                         {"min_pixels", 1e300},
                                                         {"max_pixels", uint64_t(1) << 63},
                                                         {"size", {{"shortest_edge", "1"}}}};
  for (const auto& [key, value] : bad) {
    Json processor = qwen_processor();
    processor[key] = value;
    const auto p = load(qwen_config(), processor);
    EXPECT_FALSE(p.ok()) << key << " " << value;
  }
  for (const char* key : {"image_token_id", "boi_token_id", "eoi_token_id"}) {
    Json config = gemma_config();
    config[key] = -1;
    EXPECT_FALSE(load(config, gemma_processor()).ok()) << key;
    config.erase(key);
    EXPECT_NE(error_of(load(config, gemma_processor())).find(key), std::string::npos);
  }
}

}  // namespace
}  // namespace xylem
