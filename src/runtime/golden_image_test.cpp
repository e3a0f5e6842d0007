// Prompts with images against transformers' outputs: the vision tower's rows, then tokens, however the steps are made.
#include <cstdlib>

#include "device/opencl/opencl_device.h"
#include "runtime/golden_cases.h"
#include "runtime/load.h"
#include "weights/safetensors.h"

namespace xylem {
namespace {

std::vector<Golden> with_images() {
  std::vector<Golden> list = goldens();
  std::erase_if(list, [](const Golden& g) {
    const json cases = golden_json(g).at("cases");
    return std::none_of(cases.begin(), cases.end(), [](const json& c) { return c.contains("images"); });
  });
  return list;
}

class GoldenImageTest : public testing::TestWithParam<Golden> {
 protected:
  // Every case at once; `together` copies of it, so that so many are in flight.
  void expect_all(Engine& engine, const std::vector<GoldenCase>& cases, const std::vector<TokenId>& eos, int together, const std::string& where) {
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < std::max(together, int(cases.size())); i++) sinks.push_back(send(engine, cases[size_t(i) % cases.size()], eos));
    for (size_t i = 0; i < sinks.size(); i++) expect_golden(cases[i % cases.size()], sinks[i]->wait(), where);
  }
};
INSTANTIATE_TEST_SUITE_P(Models, GoldenImageTest, testing::ValuesIn(with_images()), [](const auto& i) { return i.param.name; });

std::vector<float> floats(const StoredTensor& t) {
  std::vector<float> v(size_t(t.bytes) / 4);
  std::memcpy(v.data(), t.data, v.size() * 4);
  return v;
}

// Of the recorded pixel values: the patches are those of the picture, with these numbers in their places.
ImagePatches recorded_patches(const Golden& g, const std::map<std::string, StoredTensor, std::less<>>& tensors) {
  const auto cases = golden_json(g).at("cases");
  const auto it = std::find_if(cases.begin(), cases.end(), [](const json& c) { return c.at("name") == "image-1"; });
  auto processor = ImageProcessor::load(g.folder, {});
  EXPECT_TRUE(processor.ok() && *processor);
  const std::string file = read_file(g.data + "/" + it->at("images").at(0).get<std::string>());
  ImagePatches p = *(*processor)->process(std::as_bytes(std::span(file)));
  const std::vector<float> pixels = floats(tensors.find("image-1.pixel_values")->second);
  const size_t numbers = p.pixels.size() / size_t(p.patches());
  const bool by_position = tensors.count("image-1.image_position_ids") > 0;  // else in the order of the patches
  EXPECT_GE(pixels.size(), p.pixels.size());
  for (int i = 0; i < p.patches(); i++) {
    const size_t from = by_position ? size_t(p.at(i).row * p.grid_w + p.at(i).col) : size_t(i);
    std::copy_n(pixels.begin() + std::ptrdiff_t(from * numbers), numbers, p.pixels.begin() + std::ptrdiff_t(size_t(i) * numbers));
  }
  return p;
}

void expect_features(const Golden& g, const EngineConfig& config) {
  auto loaded = load_engine(config);
  ASSERT_TRUE(loaded.ok()) << loaded.error().text;
  auto file = MappedFile::open(g.data + "/hidden.safetensors");
  ASSERT_TRUE(file.ok());
  auto tensors = parse_safetensors(**file);
  ASSERT_TRUE(tensors.ok());
  const ImagePatches p = recorded_patches(g, {tensors->begin(), tensors->end()});
  const auto rows = loaded->runner->encode_image(std::make_shared<const ImagePatches>(p));
  ASSERT_TRUE(rows.ok()) << rows.error().text;
  const std::vector<float> want = floats(tensors->at("image-1.image_features"));
  ASSERT_EQ(rows->size(), want.size());
  double err = 0, ref = 0;
  for (size_t i = 0; i < want.size(); i++) err += std::pow(double((*rows)[i]) - want[i], 2), ref += std::pow(double(want[i]), 2);
  EXPECT_LT(std::sqrt(err / ref), 2e-3);
  testing::Test::RecordProperty("relative_error", std::to_string(std::sqrt(err / ref)));
}

TEST_P(GoldenImageTest, RowsOfTheVisionTower) { expect_features(GetParam(), float32(GetParam())); }

TEST_P(GoldenImageTest, ColdWarmAndInEveryChunk) {
  struct Variant { const char* name; int chunk, page, depth; bool cache; int64_t kept; };
  const Variant variants[] = {{"chunk 16", 16, 16, 1, true, 0}, {"chunk 64, depth 2", 64, 32, 2, true, 0}, {"chunk 2048", 2048, 64, 1, true, 0}, {"no caches", 16, 16, 2, false, -1}};
  std::vector<TokenId> eos;
  const auto cases = load_cases(GetParam(), Which::kImages, &eos);
  ASSERT_GE(cases.size(), 6u);
  for (const Variant& v : variants) {
    EngineConfig config = float32(GetParam());
    config.chunked_prefill_size = v.chunk, config.page_size = v.page, config.pipeline_depth = v.depth, config.disable_radix_cache = !v.cache, config.mm_cache_bytes = v.kept;
    config.max_running_requests = 16;
    auto engine = start(config);
    ASSERT_TRUE(engine);
    for (const auto& c : cases) expect_golden(c, send(*engine, c, eos)->wait(), std::string(v.name) + ", cold");
    const EngineStats cold = engine->stats();
    EXPECT_GE(cold.images_encoded, 5u) << v.name;
    expect_all(*engine, cases, eos, 16, std::string(v.name) + ", 16 in flight");
    if (!v.cache) continue;
    EXPECT_EQ(engine->stats().images_encoded, 5u) << v.name;  // as many as there are pictures: identical ones share their rows
    if (v.page == 16) {  // larger pages end within the images of these short prompts
      EXPECT_GT(engine->stats().cached_prompt_tokens, cold.cached_prompt_tokens) << v.name;
    }
  }
}

// Two prompts that differ in their picture alone share nothing from its first token on, and equal ones all but the last token's block.
TEST_P(GoldenImageTest, PrefixesAreSharedByContent) {
  std::vector<TokenId> eos;
  auto cases = load_cases(GetParam(), Which::kImages, &eos);
  EngineConfig config = float32(GetParam());
  config.page_size = 16;
  auto engine = start(config);
  ASSERT_TRUE(engine);
  const GoldenCase &one = cases.at(0), *other = nullptr;
  for (const auto& c : cases)
    if (c.prompt == one.prompt && c.name != one.name) other = &c;
  expect_golden(one, send(*engine, one, eos)->wait(), "first");
  if (other) {
    const auto got = send(*engine, *other, eos)->wait();
    expect_golden(*other, got, "another picture");
    EXPECT_LE(got.cached_tokens, one.images.at(0).first_token) << other->name;
  }
  const auto again = send(*engine, one, eos)->wait();
  expect_golden(one, again, "again");
  EXPECT_EQ(again.cached_tokens, (int(one.prompt.size()) - 1) / 16 * 16);
}

TEST_P(GoldenImageTest, OnOpenCl) {
  const char *wanted = std::getenv("XYLEM_OPENCL"), *all = std::getenv("XYLEM_OPENCL_ALL");
  if (opencl_devices().empty()) GTEST_SKIP() << "there is no OpenCL device";
  EngineConfig config = float32(GetParam());
  config.device = std::string("opencl:") + (wanted ? wanted : "0"), config.page_size = 16, config.max_running_requests = 16;
  std::vector<TokenId> eos;
  const auto cases = load_cases(GetParam(), Which::kImages, &eos);
  for (const int chunk : all ? std::vector<int>{16, 64, 2048} : std::vector<int>{64}) {
    config.chunked_prefill_size = chunk;
    if (chunk == 64) expect_features(GetParam(), config);
    auto engine = start(config);
    ASSERT_TRUE(engine);
    for (const char* round : {"opencl, cold", "opencl, warm"}) expect_all(*engine, cases, eos, all ? 16 : 1, round);
  }
}

// A prompt whose placeholders are not those of its images is refused, and nothing of it stays.
TEST_P(GoldenImageTest, PlaceholdersMustBeThoseOfTheImages) {
  std::vector<TokenId> eos;
  const auto cases = load_cases(GetParam(), Which::kImages, &eos);
  auto engine = start(float32(GetParam()));
  ASSERT_TRUE(engine);
  const auto refusal = [&](auto change) {
    GenerateRequest r;
    r.id = engine->next_id(), r.prompt = cases[0].prompt, r.images = cases[0].images, r.max_new_tokens = 1;
    change(r);
    const Status s = engine->submit(std::move(r), std::make_shared<Collector>());
    return s.ok() ? std::string() : s.error().text;
  };
  const TokenId placeholder = engine->info().image_token;
  EXPECT_EQ(refusal([](auto&) {}), "");
  EXPECT_EQ(refusal([](auto& r) { r.images.clear(); }), "");  // they are tokens like others then
  EXPECT_NE(refusal([&](auto& r) { r.prompt.push_back(placeholder); }).find("placeholder tokens of images"), std::string::npos);
  EXPECT_NE(refusal([](auto& r) { r.images[0].first_token++; }).find("not the placeholder"), std::string::npos);
  EXPECT_NE(refusal([](auto& r) { r.images.push_back(r.images[0]); }).find("one after the other"), std::string::npos);
  EXPECT_NE(refusal([](auto& r) { r.images[0].first_token = 1 << 30; }).find("within the prompt"), std::string::npos);
  expect_golden(cases[0], send(*engine, cases[0], eos)->wait(), "after refusals");
}

}  // namespace
}  // namespace xylem
