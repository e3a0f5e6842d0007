#include <fstream>
#include <set>
#include <sstream>

#include <CLI/CLI.hpp>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/http_client.h"
#include "cli/image_file.h"
#include "cli/kernels.h"
#include "cli/model_path.h"
#include "cli/model_summary.h"
#include "cli/options.h"
#include "cli/stats.h"

namespace xylem {
namespace {

TEST(ParseBytes, TakesBytesAndUnitsOf1024) {
  EXPECT_EQ(*parse_bytes("4096"), 4096);
  EXPECT_EQ(*parse_bytes("512M"), 512ll << 20);
  EXPECT_EQ(*parse_bytes("2G"), 2ll << 30);
  EXPECT_EQ(*parse_bytes("1.5GiB"), 3ll << 29);
  EXPECT_EQ(*parse_bytes("3kb"), 3072);
  EXPECT_EQ(*parse_bytes("7B"), 7);
}

TEST(ParseBytes, RefusesEverythingElse) {
  for (const char* bad : {"", "G", "-1", "2X", "2GG", "12 3", "nan", "inf", "1e30", "0x10", "2G2"}) EXPECT_FALSE(parse_bytes(bad).ok()) << bad;
}

TEST(ParseImageLimit, TakesANumberOrSglangsObject) {
  EXPECT_EQ(*parse_image_limit("4"), 4);
  EXPECT_EQ(*parse_image_limit("0"), 0);
  EXPECT_EQ(*parse_image_limit(R"({"image": 3, "video": 1})"), 3);
  for (const char* bad : {"", "-1", "many", "{}", R"({"video": 1})", R"({"image": "3"})", "1.5", "[1]", "99999999999"})
    EXPECT_FALSE(parse_image_limit(bad).ok()) << bad;
}

TEST(ImageOptions, ReachTheEngineAndTheServer) {
  ModelOptionsCli model;
  ServerConfig server;
  CLI::App app;
  add_engine_options(app, model);
  add_server_options(app, server);
  app.parse("--mm-max-soft-tokens 140 --mm-min-pixels-per-image 1000 --mm-max-pixels-per-image 2000 --mm-max-pixels 3000 --mm-cache-size 5 "
            "--language-model-only --allowed-media-domains a.org,b.org --allowed-media-domains c.org --allowed-local-media-path / "
            "--media-url-max-file-size-mb 7 --media-timeout 2.5 --mm-processor-worker-num 3 --limit-mm-data-per-request 9");
  EXPECT_EQ(model.engine.images.max_soft_tokens, 140);
  EXPECT_EQ(model.engine.images.min_pixels, 1000);
  EXPECT_EQ(model.engine.images.max_pixels, 2000);
  EXPECT_EQ(model.engine.images.max_decoded_pixels, 3000);
  EXPECT_EQ(model.engine.mm_cache_bytes, 5 << 20);
  EXPECT_TRUE(model.engine.language_model_only);
  EXPECT_EQ(server.media.domains, (std::vector<std::string>{"a.org", "b.org", "c.org"}));
  EXPECT_EQ(server.media.local_path, "/");
  EXPECT_EQ(server.media.max_file_bytes, 7 << 20);
  EXPECT_EQ(server.media.timeout_seconds, 2.5);
  EXPECT_EQ(server.mm_processor_workers, 3);
  EXPECT_EQ(server.max_images_per_request, 9);
  app.parse("--mm-cache-size 0");
  EXPECT_EQ(model.engine.mm_cache_bytes, -1) << "none is kept; 0 in the engine's config is the default";
}

TEST(ImagePart, IsADataUrlOfAPicture) {
  const auto part = image_part(XYLEM_SOURCE_DIR "/tests/golden/gemma4-e/image-0.png");
  ASSERT_TRUE(part.ok()) << part.error().text;
  EXPECT_TRUE((*part)["image_url"]["url"].get<std::string>().starts_with("data:image/png;base64,iVBOR"));
  for (const char* bad : {"/no/such/file.png", XYLEM_SOURCE_DIR "/tests", XYLEM_SOURCE_DIR "/README.md"}) {
    const auto refused = image_part(bad);
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_NE(refused.error().text.find(bad), std::string::npos);
  }
  EXPECT_EQ(message_content("hi", Json::array()), "hi");
  EXPECT_EQ(message_content("hi", Json::array({*part})).size(), 2u);
}

TEST(FormatBytes, PicksTheUnit) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(2147483648.0), "2.00 GiB");
}

TEST(ParseUrl, SplitsHostPortAndPath) {
  const Url a = *parse_url("http://localhost:30000");
  EXPECT_EQ(a.host + "|" + a.port + "|" + a.path, "localhost|30000|");
  const Url b = *parse_url("http://[::1]:80/prefix//");
  EXPECT_EQ(b.host + "|" + b.port + "|" + b.path, "::1|80|/prefix");
  EXPECT_EQ((*parse_url("example.org")).port, "80");
  for (const char* bad : {"", "https://a", "http://", "a:", "a:b", "http://:1", "a:1234567"}) EXPECT_FALSE(parse_url(bad).ok()) << bad;
}

TEST(SseLines, JoinsPiecesAtAnyPlace) {
  const std::string stream = "data: one\n\ndata: two\r\n\r\n: comment\ndata: [DONE]\n\n";
  for (size_t size = 1; size <= stream.size(); size++) {
    SseLines lines;
    std::string got;
    for (size_t at = 0; at < stream.size(); at += size)
      lines.push(std::string_view(stream).substr(at, size), [&](std::string_view data) { got += std::string(data) + ";"; });
    EXPECT_EQ(got, "one;two;[DONE];") << size;
  }
}

TEST(Summarize, IsThatOfNumpy) {
  const Summary s = summarize({4, 1, 3, 2});
  EXPECT_EQ(s.min, 1);
  EXPECT_EQ(s.max, 4);
  EXPECT_EQ(s.mean, 2.5);
  EXPECT_EQ(s.median, 2.5);
  EXPECT_NEAR(s.p90, 3.7, 1e-12);
  EXPECT_EQ(summarize({}).max, 0);
}

TEST(ModelPath, FindsTheDemoModel) {
  const auto demo = model_or_demo("");
  ASSERT_TRUE(demo.ok());
  EXPECT_TRUE(std::ifstream(*demo + "/config.json").good());
  EXPECT_FALSE(model_or_demo("/no/such/folder").ok());
}

TEST(ModelSummary, CountsTheDemoModel) {
  const auto s = summarize_model(*model_or_demo(""), 2);
  ASSERT_TRUE(s.ok()) << s.error().text;
  EXPECT_TRUE(s->checkpoint.has_weights);
  // Sliding layers keep the last 64 tokens, so past them only the full layers grow.
  const double growth = s->cache_bytes(2001) - s->cache_bytes(2000);
  EXPECT_EQ(growth, 1 * 128 * 2 * 2);  // one full layer owns its cache: a head of 128, keys and values, bfloat16
  EXPECT_GT(s->step_bytes(1), 0);
  EXPECT_LE(s->step_bytes(1), double(s->checkpoint.weight_bytes) * 1.1);
}

TEST(ModelSummary, KnowsTheSizesToMeasure) {
  const auto gemma = summarize_model(XYLEM_SOURCE_DIR "/bench/configs/gemma4-e2b", 2);
  ASSERT_TRUE(gemma.ok()) << gemma.error().text;
  EXPECT_NEAR(double(gemma->checkpoint.parameters), 4.65e9, 0.1e9);  // 2.35e9 of them in the per-layer embeddings
  const auto qwen = summarize_model(XYLEM_SOURCE_DIR "/bench/configs/qwen3-0.6b", 2);
  ASSERT_TRUE(qwen.ok()) << qwen.error().text;
  EXPECT_NEAR(double(qwen->checkpoint.parameters), 0.596e9, 0.005e9);
  EXPECT_EQ(qwen->cache_bytes(1), 28 * 8 * 128 * 2 * 2);
}

// A kernel that registers itself can vanish from the program without any error: a lost object file is enough. New kernels
// need no entry; a removed one is taken out with `build/xylem devices --kernels > tests/golden/kernels.txt`.
TEST(Kernels, NoneIsLost) {
  std::istringstream now(kernel_dump());
  std::set<std::string> have;
  for (std::string line; std::getline(now, line);) have.insert(line);
  std::ifstream golden(XYLEM_SOURCE_DIR "/tests/golden/kernels.txt");
  int known = 0;
  for (std::string line; std::getline(golden, line); known++) EXPECT_TRUE(have.contains(line)) << line;
  EXPECT_GT(known, 20);
}

}  // namespace
}  // namespace xylem
