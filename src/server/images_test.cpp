// Images of requests: with the processors and templates of small checkpoints, over a fake engine.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "server/app.h"
#include "server/body_images.h"
#include "server/native_generate.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/test_server.h"
#include "vision/media.h"

namespace xylem {
namespace {

const std::string kGolden = XYLEM_SOURCE_DIR "/tests/golden/";

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  CHECK(in, path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::string data_url(std::string_view bytes, const std::string& mime = "image/png") {
  return "data:" + mime + ";base64," + encode_base64(bytes);
}

ModelContext golden_model(const std::string& name, const ImageOptions& options = {}) {
  ModelContext m = load_model_context(kGolden + name).value();
  EngineInfo info;
  info.images = true;
  CHECK(add_image_processor(m, info, options).ok());
  return m;
}

Json image(const std::string& url) { return {{"type", "image_url"}, {"image_url", {{"url", url}}}}; }
Json text(const std::string& t) { return {{"type", "text"}, {"text", t}}; }
Json user(Json content) { return {{"role", "user"}, {"content", std::move(content)}}; }
Json chat(Json messages) { return {{"messages", std::move(messages)}}; }

// A model, its golden pictures, and the way of a request up to the engine.
class ImagesTest : public testing::TestWithParam<const char*> {
 protected:
  explicit ImagesTest(ServerConfig config = {}, ModelContext model = golden_model(GetParam()))
      : app_(std::move(config), std::move(model), engine_) {}

  std::string file(int i) const { return read(kGolden + GetParam() + fmt::format("/image-{}.png", i)); }
  std::string url(int i) const { return data_url(file(i)); }

  Result<GenerateRequest> request(const Json& body, bool native = false) {
    TRY(const BodyImages images, load_images(app_, native ? find_generate_images(body) : find_chat_images(body)));
    TRY(const TextJob job, native ? parse_generate(app_, body, images) : parse_chat(app_, body, images));
    return to_engine(app_, job, job.prompts[0], 0);
  }
  std::string error(const Json& body, bool native = false) {
    auto r = request(body, native);
    return r.ok() ? "" : r.error().text;
  }
  // Of a message with this part.
  std::string part_error(const Json& part) { return error(chat({user({part})})); }

  FakeEngine engine_{{.vocab_size = 1024}};
  App app_;
};

void expect_has(const std::string& text, std::initializer_list<const char*> needles) {
  for (const char* needle : needles) EXPECT_NE(text.find(needle), std::string::npos) << needle << " in: " << text;
}

// The prompt before its images took their room.
std::vector<TokenId> collapsed(const std::vector<TokenId>& ids, const ImageProcessor& p, bool gemma) {
  std::vector<TokenId> out;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == p.placeholder() && i > 0 && ids[i - 1] == p.placeholder()) continue;
    const bool before = i + 1 < ids.size() && ids[i + 1] == p.placeholder() && ids[i] != p.placeholder();
    const bool after = i > 0 && ids[i - 1] == p.placeholder();
    if (!gemma || !(before || after)) out.push_back(ids[i]);
  }
  return out;
}

TEST_P(ImagesTest, GoldenCasesHaveTheReferencesPrompts) {
  const Json golden = Json::parse(read(kGolden + GetParam() + "/golden.json"));
  const TokenId placeholder = app_.model.images->placeholder();
  int cases = 0;
  for (const Json& c : golden["cases"]) {
    if (!c.contains("images") || c["images"].empty()) continue;
    ++cases;
    Json messages = c["messages"], raw = Json::array();
    size_t next = 0;
    for (const Json& name : c["images"])
      raw.push_back(encode_base64(read(kGolden + GetParam() + "/" + name.get<std::string>())));
    for (Json& part : messages[0]["content"])
      if (part["type"] == "image") part = image("data:image/png;base64," + raw[next++].get<std::string>());
    const auto ids = c["prompt_ids"].get<std::vector<TokenId>>();
    const auto r = request(chat(messages));
    ASSERT_TRUE(r.ok()) << r.error().text;
    EXPECT_EQ(r->prompt, ids) << c["name"];
    ASSERT_EQ(r->images.size(), c["images"].size());
    for (const ImageInput& i : r->images) {
      EXPECT_NE(ids[i.first_token - 1], placeholder);
      EXPECT_EQ(ids[i.first_token + i.patches->tokens() - 1], placeholder);
      EXPECT_NE(ids[i.first_token + i.patches->tokens()], placeholder);
    }
    // The same by /generate: placeholders that are to grow, and those that have.
    const bool gemma = std::string_view(GetParam()).starts_with("gemma");
    for (const auto& given : {collapsed(ids, *app_.model.images, gemma), ids}) {
      const auto native = request({{"input_ids", given}, {"image_data", raw}}, /*native=*/true);
      ASSERT_TRUE(native.ok()) << native.error().text;
      EXPECT_EQ(native->prompt, ids);
      for (size_t i = 0; i < r->images.size(); ++i) {
        EXPECT_EQ(native->images[i].first_token, r->images[i].first_token);
        EXPECT_EQ(native->images[i].patches->hash, r->images[i].patches->hash);
      }
    }
  }
  EXPECT_GT(cases, 3);
}

TEST_P(ImagesTest, PartsMayBeWrittenInManyWays) {
  const auto hash = request(chat({user({image(url(1))})})).value().images[0].patches->hash;
  for (const Json& part : {Json{{"type", "image_url"}, {"image_url", url(1)}},
                           Json{{"type", "image_url"}, {"image_url", {{"url", url(1)}, {"detail", "low"}}}},
                           Json{{"type", "image_url"}, {"image_url", {{"url", url(1)}, {"detail", "high"}}}},
                           Json{{"type", "image_url"}, {"image_url", {{"url", url(1)}, {"detail", "auto"}}}},
                           Json{{"type", "image"}, {"url", url(1)}}, Json{{"type", "image"}, {"image", url(1)}},
                           Json{{"type", "image"}, {"image_url", {{"url", url(1)}}}}}) {
    const auto r = request(chat({user({part})}));
    ASSERT_TRUE(r.ok()) << r.error().text;
    EXPECT_EQ(r->images[0].patches->hash, hash);
  }
}

TEST_P(ImagesTest, ImagesOfSeveralMessagesStandBetweenTheirTexts) {
  const auto r = request(chat({user({text("one"), image(url(0)), text("two"), image(url(3))}),
                               {{"role", "assistant"}, {"content", "ok"}},
                               user({image(url(0)), text("three")})}));
  ASSERT_TRUE(r.ok()) << r.error().text;
  ASSERT_EQ(r->images.size(), 3u);
  EXPECT_EQ(r->images[0].patches, r->images[2].patches) << "the same source is loaded once";
  EXPECT_NE(r->images[0].patches->hash, r->images[1].patches->hash);
  const auto between = [&](int from, int to) {
    return app_.model.tokenizer->decode(std::span(r->prompt).subspan(from, to - from), true);
  };
  const auto end = [&](int i) { return r->images[i].first_token + r->images[i].patches->tokens(); };
  expect_has(between(0, r->images[0].first_token), {"one"});
  expect_has(between(end(0), r->images[1].first_token), {"two"});
  expect_has(between(end(1), r->images[2].first_token), {"ok"});
  expect_has(between(end(2), static_cast<int>(r->prompt.size())), {"three"});
}

TEST_P(ImagesTest, SystemMessagesAndToolsMayHoldImages) {
  const auto r = request(chat({{{"role", "system"}, {"content", {image(url(0)), text("a")}}}, user("b")}));
  ASSERT_TRUE(r.ok()) << r.error().text;
  EXPECT_EQ(r->images.size(), 1u);
}

TEST_P(ImagesTest, BadPartsAreRefusedByTheirPath) {
  EXPECT_EQ(part_error({{"type", "image_url"}}), "messages[0].content[0].image_url: is missing.");
  EXPECT_EQ(part_error({{"type", "image_url"}, {"image_url", Json::object()}}),
            "messages[0].content[0].image_url.url: is missing.");
  EXPECT_EQ(part_error({{"type", "image_url"}, {"image_url", 3}}),
            "messages[0].content[0].image_url: must be a JSON object, not a number.");
  EXPECT_EQ(part_error({{"type", "image_url"}, {"image_url", {{"url", 3}}}}),
            "messages[0].content[0].image_url.url: must be a string, not a number.");
  EXPECT_EQ(part_error({{"type", "image_url"}, {"image_url", {{"url", url(0)}, {"detail", "huge"}}}}),
            "messages[0].content[0].image_url.detail: must be auto, low or high.");
  expect_has(part_error({{"type", "video_url"}, {"video_url", {{"url", "x"}}}}), {"video_url", "image_url"});
  expect_has(part_error({{"type", "input_audio"}, {"input_audio", {{"data", "x"}}}}), {"input_audio"});
}

TEST_P(ImagesTest, BadFilesAreRefused) {
  const std::string png = file(0), at = "messages[0].content[0].image_url.url: ";
  const auto refused = [&](const std::string& source) {
    const auto r = request(chat({user({image(source)})}));
    EXPECT_FALSE(r.ok()) << source.substr(0, 60);
    if (r.ok()) return std::string();
    EXPECT_EQ(r.error().code, Code::kInvalid) << r.error().text;
    EXPECT_TRUE(r.error().text.starts_with(at)) << r.error().text;
    return r.error().text;
  };
  for (const size_t size : {0ul, 4ul, 20ul, png.size() / 2, png.size() - 20}) refused(data_url(png.substr(0, size)));
  expect_has(refused(data_url(png, "image/jpeg")), {"image/jpeg", "image/png"});
  expect_has(refused(data_url(png, "text/plain")), {"image/png"});
  expect_has(refused("data:image/png;base64,@@@@"), {"base64"});
  expect_has(refused("data:image/png,abc"), {"base64"});
  expect_has(refused("file:///etc/passwd"), {"--allowed-local-media-path"});
  expect_has(refused("http://127.0.0.1:9/a.png"), {"--allowed-media-domains"});
  expect_has(refused("https://example.com/a.png"), {"--allowed-media-domains"});
  refused("");
  refused("ftp://example.com/a.png");
  refused(encode_base64(png));  // bare base64 is for /generate
  std::string bomb = png;
  bomb.replace(16, 8, std::string("\0\0\xea\x60\0\0\xea\x60", 8));  // 60000 x 60000
  expect_has(refused(data_url(bomb)), {"--mm-max-pixels"});
}

TEST_P(ImagesTest, PlaceholdersInTextsAreRefused) {
  const std::string spelled = app_.model.tokenizer->token(app_.model.images->placeholder());
  expect_has(error(chat({user({image(url(0)), text("and " + spelled)})})),
             {"messages: ", "2 placeholders", "1 images"});
  expect_has(error(chat({user("just " + spelled)})), {"1 placeholders", "0 images"});
  expect_has(error({{"text", "a"}, {"image_data", url(0)}}, true), {"text: ", "0 placeholders", "1 images"});
  expect_has(error({{"text", spelled}}, true), {"1 placeholders"});
  const auto completion = parse_completions(app_, {{"prompt", "a" + spelled}});
  ASSERT_FALSE(completion.ok());
  expect_has(completion.error().text, {"prompt: ", "1 placeholders"});
  const auto ids = parse_chat(app_, {{"messages", {user("a")}}, {"input_ids", {app_.model.images->placeholder()}}});
  EXPECT_TRUE(ids.ok()) << ids.error().text;  // ids without images are what they are
  EXPECT_EQ(error({{"input_ids", {5, app_.model.images->placeholder()}}}, true), "");
}

TEST_P(ImagesTest, ImagesThatCannotFitStateBothCounts) {
  Json content = Json::array();
  const int each = request(chat({user({image(url(3))})})).value().images[0].patches->tokens();
  const int many = 4096 / each + 1;
  for (int i = 0; i < many; ++i) content.push_back(image(url(3)));
  expect_has(error(chat({user(content)})),
             {"context length is 4096", fmt::format("need {} tokens", many * each).c_str()});
  content.erase(content.size() - 1);  // they fit, but nothing beside them
  content.push_back(text(std::string(3000, 'x')));
  expect_has(error(chat({user(content)})), {"context length is 4096", "prompt has"});
}

TEST_P(ImagesTest, GenerateTakesOneImageOrLists) {
  const std::string mark = app_.model.tokenizer->token(app_.model.images->placeholder());
  const std::string raw = encode_base64(file(2));
  for (const Json& data : {Json(raw), Json(url(2)), Json::array({raw}), Json::array({url(2)})}) {
    const auto r = request({{"text", "a " + mark + " b"}, {"image_data", data}}, true);
    ASSERT_TRUE(r.ok()) << r.error().text;
    EXPECT_EQ(r->images.size(), 1u);
  }
  const Json batch = {{"text", {mark, "none", mark + mark}}, {"image_data", {raw, nullptr, {url(0), url(1)}}}};
  const BodyImages images = load_images(app_, find_generate_images(batch)).value();
  const auto job = parse_generate(app_, batch, images);
  ASSERT_TRUE(job.ok()) << job.error().text;
  EXPECT_EQ(job->prompts[0].images.size(), 1u);
  EXPECT_EQ(job->prompts[1].images.size(), 0u);
  EXPECT_EQ(job->prompts[2].images.size(), 2u);
  for (const char* bad : {R"({"text": ["a", "b"], "image_data": "x"})", R"({"text": ["a", "b"], "image_data": ["x"]})",
                          R"({"text": "a", "image_data": 3})", R"({"text": "a", "image_data": [["x"]]})",
                          R"({"text": "a", "image_data": {"url": "x"}})", R"({"text": "a", "image_data": "@@"})",
                          R"({"text": "a", "image_data": "/etc/passwd"})", R"({"text": "a", "video_data": "x"})",
                          R"({"text": "a", "audio_data": "x"})", R"({"text": "a", "image_data": ""})"})
    EXPECT_NE(error(Json::parse(bad), true), "") << bad;
}

TEST_P(ImagesTest, FilesBelowTheAllowedFolderAreRead) {
  ServerConfig config;
  config.media.local_path = kGolden + GetParam();
  App app(config, golden_model(GetParam()), engine_);
  const std::string mark = app.model.tokenizer->token(app.model.images->placeholder());
  const auto fine = [&](const Json& body, bool native) {
    auto images = load_images(app, native ? find_generate_images(body) : find_chat_images(body));
    return images.ok() ? "" : images.error().text;
  };
  const std::string path = std::filesystem::canonical(kGolden + GetParam() + "/image-1.png").string();
  EXPECT_EQ(fine(chat({user({image("file://" + path)})}), false), "");
  for (const std::string& name : {path, "file://" + path, std::string("image-1.png")})
    EXPECT_EQ(fine({{"text", mark}, {"image_data", name}}, true), "");
  const std::string none = fine(chat({user({image("file:///etc/passwd")})}), false);
  EXPECT_EQ(none, fine(chat({user({image("file:///no/such/file")})}), false)) << "what lies elsewhere is not told";
  EXPECT_NE(none, "");
}

TEST_P(ImagesTest, ARequestMayBeLimited) {
  ServerConfig config;
  config.max_images_per_request = 2;
  App app(config, golden_model(GetParam()), engine_);
  const auto count = [&](int n) {
    Json content = Json::array();
    const Json one = image(url(0));
    for (int i = 0; i < n; ++i) content.push_back(one);
    const Json body = chat({user(content)});
    const auto images = load_images(app, find_chat_images(body));
    return images.ok() ? "" : images.error().text;
  };
  EXPECT_EQ(count(2), "");
  expect_has(count(3), {"3 images", "at most 2", "--limit-mm-data-per-request"});
}

TEST_P(ImagesTest, FinalMessagesWithImagesCannotBeContinued) {
  Json body = chat({user("a"), {{"role", "assistant"}, {"content", {text("b"), image(url(0))}}}});
  body["continue_final_message"] = true;
  expect_has(error(body), {"continue_final_message"});
}

// Whatever a body holds, it ends in a job or an error, and the parsers ask for no image that was not found before.
TEST_P(ImagesTest, RandomBodiesAreParsedOrRefused) {
  std::mt19937 random(5);
  const char* names[] = {"messages", "content", "role", "type",       "image_url", "image",
                         "url",      "detail",  "text", "image_data", "input_ids"};
  const std::string mark = app_.model.tokenizer->token(app_.model.images->placeholder());
  const Json atoms[] = {nullptr,     true,   7,    1,      "",     "user",        "text",        "image",
                        "image_url", "auto", mark, url(0), url(1), Json::array(), Json::object()};
  const std::function<Json(int)> make = [&](int depth) -> Json {
    const unsigned kind = random() % (depth > 0 ? 5 : 2);
    if (kind < 2) return atoms[random() % std::size(atoms)];
    if (kind == 2) return image(url(static_cast<int>(random() % 2)));
    Json out = kind == 3 ? Json::array() : Json::object();
    for (unsigned k = random() % 5; k > 0; --k) {
      if (kind == 3)
        out.push_back(make(depth - 1));
      else
        out[names[random() % std::size(names)]] = make(depth - 1);
    }
    return out;
  };
  int jobs = 0;
  for (int i = 0; i < 800; ++i) {
    Json body = Json::object();
    const bool native = i % 2 == 0;
    if (native) {
      body[i % 4 == 0 ? "text" : "input_ids"] = i % 8 == 0 ? Json(mark) : make(2);
      body["image_data"] = i % 16 == 0 ? Json(url(0)) : make(2);
    } else {
      body["messages"] = {user({make(1), make(2), text("a")}), make(3)};
      if (i % 4 == 1) body["messages"].erase(1);
    }
    const auto r = request(body, native);
    jobs += r.ok();
    if (r.ok()) continue;
    EXPECT_EQ(r.error().text.find("this route takes no images"), std::string::npos) << r.error().text;
  }
  EXPECT_GT(jobs, 20);
}

INSTANTIATE_TEST_SUITE_P(Golden, ImagesTest, testing::Values("gemma4-e", "qwen3.5"), [](const auto& info) {
  return std::string(info.param).starts_with("g") ? "Gemma4" : "Qwen35";
});

TEST(Images, TextModelsRefuseThem) {
  FakeEngine engine;
  App app({}, test_model(), engine);
  const Json body = chat({user({image("data:image/png;base64,AAAA")})});
  const auto job = parse_chat(app, body);
  ASSERT_FALSE(job.ok());
  EXPECT_EQ(job.error().text, "messages[0].content[0].image_url.url: this model takes no images; send text only.");
  const auto native = parse_generate(app, {{"text", "a"}, {"image_data", "AAAA"}});
  ASSERT_FALSE(native.ok());
  expect_has(native.error().text, {"image_data: ", "takes no images"});
  EXPECT_TRUE(parse_generate(app, {{"text", "a"}, {"image_data", nullptr}}).ok());
}

TEST(Images, TemplatesWithoutPartsRefuseThem) {
  ModelContext model = golden_model("gemma4-e");
  model.chat_template = ChatTemplate::parse(kTestTemplate).value();
  model.template_takes_parts = probe_template_takes_parts(*model.chat_template);
  FakeEngine engine({.vocab_size = 1024});
  App app({}, model, engine);
  const Json body = chat({user({image(data_url(read(kGolden + "gemma4-e/image-0.png")))})});
  const auto job = parse_chat(app, body, load_images(app, find_chat_images(body)).value());
  ASSERT_FALSE(job.ok());
  expect_has(job.error().text, {"messages[0].content[0]", "template", "takes no images"});
}

class ImageServer : public testing::Test {
 protected:
  static FakeEngineOptions options() { return {.script = "fine", .vocab_size = 1024}; }
  static Json ask(const std::string& source, int n = 1) {
    Json content = Json::array();
    for (int i = 0; i < n; ++i) content.push_back(image(source));
    content.push_back(text("What is in the picture?"));
    return chat({user(content)});
  }
  const std::string url_ = data_url(read(kGolden + "gemma4-e/image-0.png"));
};

TEST_F(ImageServer, AnswersEveryRoute) {
  Running s(options(), test_config(), golden_model("gemma4-e"));
  const Json reply = s.post_json("/v1/chat/completions", dump(ask(url_)));
  EXPECT_EQ(reply["usage"]["prompt_tokens"], 88);
  EXPECT_EQ(s.engine.last_request().images.size(), 1u);
  const Json native = s.post_json("/generate", dump({{"text", "<|image|>"}, {"image_data", url_}}));
  EXPECT_EQ(native["meta_info"]["prompt_tokens"], s.engine.last_request().prompt.size());
  Json streamed = ask(url_);
  streamed["stream"] = true;
  EXPECT_NE(s.post("/v1/chat/completions", dump(streamed)).body.find("[DONE]"), std::string::npos);
  EXPECT_EQ(s.post("/v1/chat/completions", dump(ask(url_.substr(0, 200)))).status, 400);
  EXPECT_EQ(s.post("/tokenize", dump(ask(url_))).status, 400);
  EXPECT_EQ(Json::parse(s.call("GET", "/model_info").body)["has_image_understanding"], true);
  EXPECT_EQ(Json::parse(s.call("GET", "/server_info").body)["images"]["image_token_id"], 7);
  const std::string metrics = s.call("GET", "/metrics").body;
  expect_has(metrics, {"xylem:image_processing_seconds_count{model_name=\"", "xylem:images_encoded_total"});
}

TEST_F(ImageServer, EqualSourcesAreLoadedOnce) {
  Running s(options(), test_config(), golden_model("gemma4-e"));
  s.post_json("/v1/chat/completions", dump(ask(url_, 5)));
  const GenerateRequest r = s.engine.last_request();
  ASSERT_EQ(r.images.size(), 5u);
  for (const ImageInput& i : r.images) EXPECT_EQ(i.patches, r.images[0].patches);
}

TEST_F(ImageServer, LargeBodiesArePermittedAndParsed) {
  ServerConfig config = test_config();
  config.max_body_bytes = 1000;
  config.media.max_file_bytes = 4 << 20;
  Running s(options(), config, golden_model("gemma4-e"));
  std::string bytes = read(kGolden + "gemma4-e/image-0.png");
  bytes.resize(4 << 20);  // what follows the picture is not looked at
  const Json reply = s.post_json("/v1/chat/completions", dump(ask(data_url(bytes))));
  EXPECT_EQ(reply["usage"]["prompt_tokens"], 88);
  bytes.resize((4 << 20) + 3);
  const Reply refused = s.post("/v1/chat/completions", dump(ask(data_url(bytes))));
  EXPECT_EQ(refused.status, 400);
  expect_has(refused.body, {"4194304"});
  EXPECT_EQ(s.post("/v1/chat/completions", std::string(2 << 20, '[')).status, 400);
}

TEST_F(ImageServer, MemoryOfRequestsInFlightIsBounded) {
  ServerConfig config = test_config();
  config.max_request_memory_bytes = 3 << 20;  // an image of 70 tokens has two million bytes of patches
  Running s(options(), config, golden_model("gemma4-e"));
  s.engine.hold(true);
  TestClient first(s.port());
  first.post("/v1/chat/completions", dump(ask(url_)));
  ASSERT_TRUE(s.eventually([&] { return s.engine.stats().running == 1; }));
  const Reply refused = s.post("/v1/chat/completions", dump(ask(url_)));
  EXPECT_EQ(refused.status, 503) << refused.body;
  expect_has(refused.body, {"memory"});
  EXPECT_EQ(s.post("/v1/chat/completions", std::string(2 << 20, ' ')).status, 503) << "large bodies count too";
  s.engine.hold(false);
  EXPECT_EQ(first.reply().status, 200);
  EXPECT_TRUE(s.eventually([&] { return s.post("/v1/chat/completions", dump(ask(url_))).status == 200; }));
}

// A host that takes connections and never answers.
class Silent {
 public:
  Silent() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof a;
    CHECK(bind(fd_, reinterpret_cast<sockaddr*>(&a), size) == 0 && listen(fd_, 64) == 0);
    CHECK(getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &size) == 0);
    port_ = ntohs(a.sin_port);
  }
  ~Silent() { ::close(fd_); }
  std::string url() const { return fmt::format("http://127.0.0.1:{}/a.png", port_); }

 private:
  int fd_, port_ = 0;
};

TEST_F(ImageServer, SlowFetchesHoldUpNobodyAndAreDroppedWithTheirClient) {
  const Silent host;
  ServerConfig config = test_config();
  config.media.domains = {"127.0.0.1"};
  config.media.timeout_seconds = 3;
  config.mm_processor_workers = 1;
  config.http_threads = 2;
  Running s(options(), config, golden_model("gemma4-e"));
  std::vector<std::unique_ptr<TestClient>> slow;
  for (int i = 0; i < 8; ++i) {
    slow.push_back(std::make_unique<TestClient>(s.port()));
    slow.back()->post("/v1/chat/completions", dump(ask(host.url())));
  }
  const auto active = [&](int n) {
    return s.call("GET", "/metrics")
               .body.find(fmt::format("xylem:http_requests_active{{model_name=\"{}\"}} {}\n", kGolden + "gemma4-e",
                                      n + 1)) != std::string::npos;
  };
  EXPECT_TRUE(s.eventually([&] { return active(8); }));
  EXPECT_EQ(s.post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "hi"}]})").status, 200);
  for (size_t i = 1; i < slow.size(); ++i) slow[i]->close();
  EXPECT_TRUE(s.eventually([&] { return active(1); })) << "clients that leave wait for no fetch";
  const Reply late = slow[0]->reply();
  EXPECT_EQ(late.status, 400);
  expect_has(late.body, {"in time"});
  EXPECT_EQ(s.engine.submitted(), 1u);
}

TEST_F(ImageServer, StopsWhileImagesLoad) {
  const Silent host;
  ServerConfig config = test_config();
  config.media.domains = {"127.0.0.1"};
  config.media.timeout_seconds = 2;
  config.drain_timeout_seconds = 0.1;
  auto s = std::make_unique<Running>(options(), config, golden_model("gemma4-e"));
  TestClient client(s->port());
  client.post("/v1/chat/completions", dump(ask(host.url())));
  client.post("/health", "");
  ASSERT_TRUE(
      s->eventually([&] { return s->call("GET", "/metrics").body.find("requests_active") != std::string::npos; }));
  s.reset();
}

}  // namespace
}  // namespace xylem
