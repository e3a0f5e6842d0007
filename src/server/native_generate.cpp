#include "server/native_generate.h"

#include <fmt/format.h>

#include <map>

#include "base/clock.h"
#include "server/app.h"
#include "server/fields.h"
#include "server/wire.h"

namespace xylem {
namespace {

// What a response entry says of its prompt.
struct Source {
  std::string rid;
  std::vector<TokenId> prompt;
  LogprobOptions logprobs;
};

class GenerateFormatter : public Formatter {
 public:
  GenerateFormatter(const App& app, std::vector<Source> sources, int n, bool batch, bool logprob_text, bool incremental)
      : tokenizer_(app.model.tokenizer),
        sources_(std::move(sources)),
        n_(n),
        many_(batch || n > 1),
        logprob_text_(logprob_text),
        incremental_(incremental),
        started_(now_seconds()),
        sent_(sources_.size() * n) {}

  void stream(size_t i, const Choice& choice, std::string& out) override {
    Position& at = sent_[i];
    if (choice.ending().reason == Finish::kError) {
      out += sse_event(sse_error(choice.ending().error));
    } else if (choice.tokens().size() > at.tokens || choice.done()) {
      Json data = entry(i, choice, incremental_ ? at : Position{});
      if (many_) data["index"] = i;
      out += sse_event(data);
    }
    at = {choice.text().size(), choice.tokens().size()};
  }

  void stream_end(const std::vector<Choice>&, std::string&) override {}

  std::string body(const std::vector<Choice>& choices) override {
    if (!many_) return dump(entry(0, choices[0], {}));
    Json list = Json::array();
    for (size_t i = 0; i < choices.size(); ++i) list.push_back(entry(i, choices[i], {}));
    return dump(list);
  }

 private:
  struct Position {
    size_t text = 0, tokens = 0;
  };

  Json entry(size_t i, const Choice& choice, Position from) const {
    const Source& source = sources_[i / n_];
    Json meta = {{"id", n_ == 1 ? source.rid : fmt::format("{}_{}", source.rid, i % n_)}};
    meta["finish_reason"] = reason(choice);
    meta["prompt_tokens"] = source.prompt.size();
    meta["weight_version"] = "default";
    if (source.logprobs.output) add_logprobs(meta, source, choice, from.tokens);
    meta["completion_tokens"] = choice.tokens().size();
    meta["cached_tokens"] = choice.cached_tokens();
    meta["e2e_latency"] = choice.done() ? Json(now_seconds() - started_) : Json();
    Json ids = Json::array();
    for (size_t k = from.tokens; k < choice.tokens().size(); ++k) ids.push_back(choice.tokens()[k]);
    return {{"text", choice.text().substr(from.text)}, {"output_ids", std::move(ids)}, {"meta_info", std::move(meta)}};
  }

  static Json reason(const Choice& choice) {
    const Ending& ending = choice.ending();
    Json type = finish_reason(ending);
    if (type.is_null()) return type;
    if (ending.reason == Finish::kStop) return {{"type", type}, {"matched", matched_stop(ending)}};
    if (ending.reason == Finish::kLength) return {{"type", type}, {"length", choice.tokens().size()}};
    return {{"type", type}, {"message", "The request was aborted."}, {"status_code", nullptr}};
  }

  Json triple(TokenId id, Json logprob) const {
    return Json::array({std::move(logprob), id, logprob_text_ ? Json(token_text(*tokenizer_, id)) : Json()});
  }
  Json triples(const std::vector<std::pair<TokenId, float>>& list) const {
    Json out = Json::array();
    for (const auto& [id, logprob] : list) out.push_back(triple(id, finite_logprob(logprob)));
    return out;
  }

  // One list of triples, and beside it, where asked for, those of the best and of the chosen tokens.
  struct Lists {
    Json token = Json::array(), top = Json::array(), chosen = Json::array();
  };
  void add(Lists& lists, const TokenLogprob& p) const {
    lists.token.push_back(triple(p.token, finite_logprob(p.logprob)));
    lists.top.push_back(triples(p.top));
    lists.chosen.push_back(triples(p.chosen));
  }
  static void put(Json& meta, const std::string& which, Lists lists, const LogprobOptions& options) {
    meta[which + "_token_logprobs"] = std::move(lists.token);
    if (options.top > 0) meta[which + "_top_logprobs"] = std::move(lists.top);
    if (!options.ids.empty()) meta[which + "_token_ids_logprobs"] = std::move(lists.chosen);
  }

  void add_logprobs(Json& meta, const Source& source, const Choice& choice, size_t from) const {
    Lists input, output;
    if (const int first = source.logprobs.prompt_from; first >= 0 && from == 0) {
      input.token.push_back(triple(source.prompt[first], nullptr));  // no prediction of the first one was asked for
      input.top.push_back(nullptr);
      input.chosen.push_back(nullptr);
      for (const TokenLogprob& p : choice.prompt_logprobs()) add(input, p);
    }
    for (size_t k = from; k < choice.logprobs().size(); ++k) add(output, choice.logprobs()[k]);
    put(meta, "input", std::move(input), source.logprobs);
    put(meta, "output", std::move(output), source.logprobs);
  }

  const std::shared_ptr<const Tokenizer> tokenizer_;
  const std::vector<Source> sources_;
  const size_t n_;
  const bool many_, logprob_text_, incremental_;
  const double started_;
  std::vector<Position> sent_;
};

bool is_batch(const Json& given, bool text) {
  return given.is_array() && !given.empty() && (text || given[0].is_array());
}

// The images of one prompt: a string or a list of strings; null: none.
Status read_images(const Json& value, const std::string& path, int prompt, std::vector<ImageSource>& out) {
  const auto add = [&](const Json& item, std::string at) {
    out.push_back({&item.get_ref<const std::string&>(), std::move(at), /*raw_base64=*/true, prompt});
  };
  if (value.is_null()) return {};
  if (value.is_string()) return add(value, path), Status();
  if (!value.is_array())
    return invalid(fmt::format("{}: must be a string or a list of strings, not {}.", path, kind_name(value)));
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", path, i);
    if (!value[i].is_string()) return invalid(fmt::format("{}: must be a string, not {}.", at, kind_name(value[i])));
    add(value[i], at);
  }
  return {};
}

// image_data of one prompt, or a list with that of each prompt of a batch.
Result<std::vector<ImageSource>> read_image_data(const Json& body) {
  std::vector<ImageSource> sources;
  const auto field = [&](const char* name) {
    return body.contains(name) && !body[name].is_null() ? &body[name] : nullptr;
  };
  const Json* data = body.is_object() ? field("image_data") : nullptr;
  if (!data) return sources;
  const Json* text = field("text");
  const Json* prompts = text ? text : field("input_ids");
  if (!prompts || !is_batch(*prompts, text != nullptr)) {
    TRY_VOID(read_images(*data, "image_data", 0, sources));
    return sources;
  }
  if (!data->is_array() || data->size() != prompts->size())
    return invalid(
        fmt::format("image_data: must be a list with the images of each of the {} prompts.", prompts->size()));
  for (size_t i = 0; i < data->size(); ++i)
    TRY_VOID(read_images((*data)[i], fmt::format("image_data[{}]", i), static_cast<int>(i), sources));
  return sources;
}

using PromptImages = std::map<int, std::vector<ImagePtr>>;

Result<PromptImages> find_images(const App& app, const Json& body, const BodyImages& loaded) {
  PromptImages images;
  TRY(const std::vector<ImageSource> sources, read_image_data(body));
  for (const ImageSource& source : sources) {
    TRY(ImagePtr image, find_image(app, loaded, source));
    images[source.prompt].push_back(std::move(image));
  }
  return images;
}

// Exactly one of text and input_ids; each single or a list.
Result<std::vector<PlacedPrompt>> read_prompts(const App& app, Fields& fields, const PromptImages& images,
                                               bool& batch) {
  const Json* text = fields.get("text");
  const Json* ids = fields.get("input_ids");
  if (!text == !ids) return invalid("Exactly one of text and input_ids must be given.");
  const Json& given = text ? *text : *ids;
  const std::string name = text ? "text" : "input_ids";
  batch = is_batch(given, text != nullptr);
  if (text && !batch && !given.is_string())
    return invalid(fmt::format("text: must be a string or a list of strings, not empty."));
  if (batch) TRY_VOID(check_prompt_count(given.size(), name));
  std::vector<PlacedPrompt> prompts;
  for (size_t i = 0; i < (batch ? given.size() : 1); ++i) {
    const Json& item = batch ? given[i] : given;
    const std::string path = batch ? fmt::format("{}[{}]", name, i) : name;
    if (text && !item.is_string()) return invalid(fmt::format("{}: must be a string, not {}.", path, kind_name(item)));
    TRY(auto prompt, text ? encode_text(app, item.get_ref<const std::string&>(), true, path)
                          : parse_ids(item, path, app.engine.info().vocab_size));
    if (prompt.empty()) return invalid(fmt::format("{}: has no tokens. Send at least one.", path));
    const auto of_prompt = images.find(static_cast<int>(i));
    if (!text && of_prompt == images.end()) {  // ids without images are what they are, placeholders too
      prompts.push_back({std::move(prompt), {}});
      continue;
    }
    TRY(PlacedPrompt placed,
        place_images(app, std::move(prompt), of_prompt == images.end() ? std::vector<ImagePtr>() : of_prompt->second,
                     path));
    prompts.push_back(std::move(placed));
  }
  return prompts;
}

// The fields of prompt i, where the body gives a list with one value for each prompt.
Result<Json> fields_of_prompt(const Json& body, size_t i, size_t count, bool batch) {
  Json out = Json::object();
  for (const char* name :
       {"sampling_params", "rid", "return_logprob", "logprob_start_len", "top_logprobs_num", "token_ids_logprob"}) {
    const auto it = body.find(name);
    if (it == body.end()) continue;
    const bool ids = std::string_view(name) == "token_ids_logprob";  // a plain list of ids is one value
    const bool list =
        batch && it->is_array() && (!ids || (!it->empty() && ((*it)[0].is_array() || (*it)[0].is_null())));
    if (list && it->size() != count)
      return invalid(fmt::format("{}: has {} items for {} prompts.", name, it->size(), count));
    out[name] = list ? (*it)[i] : *it;
  }
  return out;
}

Result<PromptJob> read_prompt_job(const App& app, const Json& json, PlacedPrompt prompt, const std::string& suffix) {
  PromptJob p;
  const int size = static_cast<int>(prompt.ids.size());
  Fields fields(json, "");
  const Json* sampling = fields.get("sampling_params");
  const Json none = Json::object();
  Fields inner(sampling ? *sampling : none, "sampling_params");
  const bool plain_seed = sampling && sampling->is_object() && sampling->contains("seed");
  p.options = read_sampling(app, inner,
                            {.max_tokens = "max_new_tokens",
                             .min_tokens = "min_new_tokens",
                             .seed = plain_seed ? "seed" : "sampling_seed",
                             .max_temperature = 1e30f,
                             .max_bias = 1e30f,
                             .min_max_tokens = 0});
  p.options.default_max_new_tokens = 128;
  refuse_unbuilt(inner);
  inner.check_unknown(/*strict=*/true);
  if (auto s = inner.status(); !s.ok()) fields.fail(s.error());
  if (!fields.string("rid", p.rid))
    p.rid = random_id();
  else
    p.rid += suffix;
  if (p.rid.empty() || p.rid.size() > 256) fields.fail("rid", "must have 1 to 256 bytes.");
  fields.boolean("return_logprob", p.logprobs.output);
  int start = -1;
  fields.integer("logprob_start_len", start, -1, size - 1);
  fields.integer("top_logprobs_num", p.logprobs.top, 0, 128);
  fields.ids("token_ids_logprob", p.logprobs.ids, app.engine.info().vocab_size, 1024);
  TRY_VOID(fields.status());
  if (p.logprobs.output)
    p.logprobs.prompt_from = start;
  else
    p.logprobs = {};
  p.prompt = std::move(prompt.ids);
  p.images = std::move(prompt.images);
  return p;
}

}  // namespace

std::vector<ImageSource> find_generate_images(const Json& body) {
  auto sources = read_image_data(body);
  return sources.ok() ? *std::move(sources) : std::vector<ImageSource>();
}

Result<TextJob> parse_generate(const App& app, const Json& body, const BodyImages& images) {
  Fields fields(body, "");
  TRY_VOID(fields.status());
  TextJob job;
  bool batch = false, logprob_text = false, incremental = app.config.incremental_streaming_output;
  fields.boolean("stream", job.stream);
  fields.boolean("return_text_in_logprobs", logprob_text);
  fields.refuse({"background", "return_prompt_token_ids", "max_thinking_tokens"}, "is not supported.");
  read_scheduling(fields, job, app.hash_seed);
  refuse_unbuilt(fields);
  fields.ignore({"text", "input_ids", "image_data", "sampling_params", "rid", "return_logprob", "logprob_start_len",
                 "top_logprobs_num", "token_ids_logprob", "model", "return_entropy", "conversation_id", "modalities"});
  fields.check_unknown(/*strict=*/false);
  TRY_VOID(fields.status());
  TRY(const PromptImages prompt_images, find_images(app, body, images));
  TRY(auto prompts, read_prompts(app, fields, prompt_images, batch));
  std::vector<Source> sources;
  for (size_t i = 0; i < prompts.size(); ++i) {
    TRY(const Json json, fields_of_prompt(body, i, prompts.size(), batch));
    const bool shared_rid = batch && body.contains("rid") && body["rid"].is_string();
    TRY(PromptJob p, read_prompt_job(app, json, std::move(prompts[i]), shared_rid ? fmt::format("_{}", i) : ""));
    if (!job.prompts.empty() && p.options.n != job.prompts[0].options.n)
      return invalid("sampling_params: n must be the same for all prompts.");
    sources.push_back({p.rid, p.prompt, p.logprobs});
    job.prompts.push_back(std::move(p));
  }
  const int n = job.prompts[0].options.n;
  job.formatter = std::make_unique<GenerateFormatter>(app, std::move(sources), n, batch, logprob_text, incremental);
  return job;
}

}  // namespace xylem
