#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/http_client.h"
#include "cli/image_file.h"
#include "cli/session.h"

namespace xylem {
namespace {

struct Item {
  std::string task, expected, reference;
  Json messages;
  bool reference_correct = false, with_images = false;
  std::string answer, error;
};

// Parts {"type": "image"} of the messages become the pictures of `names`, in their order.
Status put_images(Json& messages, const Json& names, const std::filesystem::path& folder) {
  size_t next = 0;
  for (Json& message : messages) {
    if (!message.is_object() || !message.contains("content") || !message["content"].is_array()) continue;
    for (Json& part : message["content"]) {
      if (!part.is_object() || part.value("type", "") != "image") continue;
      if (next == names.size() || !names[next].is_string()) return invalid("an item has more parts of type image than images");
      TRY(part, image_part(folder / names[next++].get<std::string>()));
    }
  }
  return next == names.size() ? Status{} : invalid("an item has more images than parts of type image");
}

Result<std::vector<Item>> read_items(const std::string& file) {
  std::ifstream in(file);
  if (!in) return not_found("cannot read " + file);
  const Json json = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  const Error bad = invalid(file + R"(: expected {"items": [{"task", "messages", "expected", "reference_text", "reference_correct"}, ...]})");
  if (!json.is_object() || !json.contains("items") || !json["items"].is_array()) return bad;
  std::vector<Item> items;
  for (const Json& j : json["items"]) {
    if (!j.is_object()) return bad;
    for (const char* key : {"task", "expected", "reference_text"})
      if (!j.contains(key) || !j[key].is_string()) return bad;
    if (!j.contains("messages") || !j.contains("reference_correct") || !j["reference_correct"].is_boolean()) return bad;
    Item& item = items.emplace_back(Item{j["task"], j["expected"], j["reference_text"], j["messages"], j["reference_correct"]});
    if (!j.contains("images") || j["images"].empty()) continue;
    if (!j["images"].is_array() || !item.messages.is_array()) return bad;
    item.with_images = true;
    TRY_VOID(put_images(item.messages, j["images"], std::filesystem::path(file).parent_path()));
  }
  return items;
}

using Ask = std::function<Result<std::string>(const Json& body)>;

Result<std::string> ask_url(const Url& url, const std::string& api_key, const Json& body) {
  const HttpReply reply = http_request(url, api_key, "/v1/chat/completions", body.dump(), 600);
  if (reply.status == 0) return unavailable(reply.error);
  const Json json = Json::parse(reply.body, nullptr, false);
  if (reply.status != 200) return unavailable(fmt::format("HTTP {}: {}", reply.status, reply.body.substr(0, 300)));
  const Json::json_pointer content("/choices/0/message/content");
  if (!json.is_object() || !json.contains(content) || !(json[content].is_string() || json[content].is_null())) return unavailable("not a chat completion: " + reply.body.substr(0, 300));
  return json[content].is_null() ? "" : json[content].get<std::string>();  // null: it only reasoned
}

void answer_all(std::vector<Item>& items, int concurrency, const Ask& ask) {
  std::atomic<size_t> next{0};
  std::mutex mu;
  size_t done = 0;
  const bool bar = isatty(2);
  auto work = [&] {
    for (size_t i; (i = next++) < items.size();) {
      const Json body = {{"model", "default"}, {"messages", items[i].messages}, {"temperature", 0}, {"max_tokens", 256}};
      auto answer = ask(body);
      if (answer) items[i].answer = *std::move(answer);
      else items[i].error = answer.error().text;
      std::lock_guard lock(mu);
      done++;
      const int filled = int(done * 40 / items.size());
      if (bar) fmt::print(stderr, "\r[{:<40}] {}/{}", std::string(size_t(filled), '#'), done, items.size());
    }
  };
  std::vector<std::jthread> threads;
  for (int t = 0; t < concurrency; t++) threads.emplace_back(work);
  threads.clear();
  if (bar) fmt::print(stderr, "\r{:60}\r", "");
}

std::string_view trimmed(std::string_view s) {
  const size_t begin = s.find_first_not_of(" \t\r\n"), end = s.find_last_not_of(" \t\r\n");
  return begin == s.npos ? std::string_view() : s.substr(begin, end - begin + 1);
}

// As the reference's answers in these files were scored: a worked answer counts when the number it should end with is in it,
// any other when it is the expected text.
bool is_correct(const Item& i) {
  constexpr std::string_view kEnd = "The answer is ";
  const std::string_view expected = i.expected;
  const size_t at = expected.rfind(kEnd);
  if (at == expected.npos) return trimmed(i.answer) == expected;
  std::string_view number = expected.substr(at + kEnd.size());
  while (number.ends_with('.')) number.remove_suffix(1);
  return i.answer.find(number) != std::string::npos;
}

struct Score {
  int total = 0, ours = 0, reference = 0, differ = 0;
  void add(const Item& i) {
    total++;
    ours += i.error.empty() && is_correct(i);
    reference += i.reference_correct;
    differ += i.answer != i.reference;
  }
};

// What a message says, its pictures left out.
std::string shown(const Json& message) {
  const Json content = message.value("content", Json());
  if (!content.is_array()) return content.dump();
  std::string text;
  for (const Json& part : content) text += part.value("type", "") == "text" ? part.value("text", "") : "[image] ";
  return text;
}

void print_row(const std::string& name, const Score& s) {
  fmt::print("{:<14}{:>6}{:>9}{:>12}{:>9}\n", name, s.total, s.ours, s.reference, s.differ);
}

}  // namespace

Status eval(EvalOptions o) {
  TRY(std::vector<Item> items, read_items(o.file));
  size_t left_out = 0;
  std::unique_ptr<Session> session;
  Ask ask;
  if (o.url.empty()) {
    TRY(session, Session::open(o.model, "warning"));
    if (!session->engine().info().images) left_out = std::erase_if(items, [](const Item& i) { return i.with_images; });
    ask = [&](const Json& body) -> Result<std::string> {
      TRY(Answer a, session->ask(body, {}));
      return std::move(a.text);
    };
  } else {
    TRY(const Url url, parse_url(o.url));
    ask = [url, key = o.api_key](const Json& body) { return ask_url(url, key, body); };
  }
  if (items.empty()) return invalid(o.file + ": no items that this model takes");
  const double begin = now_seconds();
  answer_all(items, o.concurrency, ask);
  const double seconds = now_seconds() - begin;

  std::vector<std::string> order;
  std::map<std::string, Score> by_task;
  Score all;
  for (const Item& i : items) {
    if (!by_task.contains(i.task)) order.push_back(i.task);
    by_task[i.task].add(i);
    all.add(i);
    if (o.show_differences && i.answer != i.reference)
      fmt::print("{}: {}\n  expected   {}\n  reference  {}\n  ours       {}\n", i.task, shown(i.messages.back()), i.expected,
                 i.reference, i.error.empty() ? i.answer : "error: " + i.error);
  }
  fmt::print("{:<14}{:>6}{:>9}{:>12}{:>9}\n", "task", "items", "correct", "reference", "differ");
  for (const std::string& task : order) print_row(task, by_task[task]);
  print_row("total", all);
  if (left_out) fmt::print("left out: {} items with images, which this model does not take\n", left_out);
  fmt::print("{:.1f} s, {:.1f} items/s\n", seconds, double(items.size()) / seconds);
  for (const Item& i : items)
    if (!i.error.empty()) return unavailable("some items got no answer; the first: " + i.error);
  return {};
}

}  // namespace xylem
