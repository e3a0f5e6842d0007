#include "cli/session.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "cli/setup.h"
#include "server/app.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/text_job.h"

namespace xylem {
namespace {

// Events of one request, from the engine thread to the one that waits for the answer.
class EventQueue : public EventSink {
 public:
  void on_event(EngineEvent event) override {
    std::lock_guard lock(mu_);
    events_.push_back(std::move(event));
    cv_.notify_one();
  }
  // Empty after `seconds` without an event.
  std::deque<EngineEvent> take(double seconds) {
    std::unique_lock lock(mu_);
    cv_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return !events_.empty(); });
    return std::exchange(events_, {});
  }

 private:
  std::mutex mu_;
  std::condition_variable cv_;
  std::deque<EngineEvent> events_;
};

const char* finish_name(Finish f) { return f == Finish::kStop ? "stop" : f == Finish::kLength ? "length" : "abort"; }

}  // namespace

struct Session::Impl {
  std::unique_ptr<Engine> engine;
  App app;
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;
Engine& Session::engine() { return *impl_->engine; }

Result<std::unique_ptr<Session>> Session::open(ModelOptionsCli& o, const std::string& log_level) {
  TRY_VOID(prepare(o, log_level));
  TRY(ModelContext context, load_model_context(o.engine.model, o.chat_template_file, o.reasoning_parser));
  TRY(std::unique_ptr<Engine> engine, Engine::create(o.engine));
  Engine& e = *engine;
  TRY_VOID(add_image_processor(context, e.info(), o.engine.images));
  return std::unique_ptr<Session>(new Session(std::unique_ptr<Impl>(new Impl{std::move(engine), App({}, std::move(context), e)})));
}

Result<Answer> Session::ask(const Json& body, const OnText& on_text, const std::atomic<bool>* stop) {
  App& app = impl_->app;
  const double begin = now_seconds();
  const bool raw = body.contains("prompt");
  BodyImages images;
  if (!raw) {
    TRY(images, load_images(app, find_chat_images(body)));
  }
  TRY(const TextJob job, raw ? parse_completions(app, body) : parse_chat(app, body, images));
  TRY(GenerateRequest request, to_engine(app, job, job.prompts.front(), 0));
  const RequestId id = request.id = app.engine.next_id();
  Answer answer;
  answer.prompt_tokens = int(request.prompt.size());
  Choice choice(app.model.tokenizer, request.prompt, job.prompts.front().options.output);
  auto events = std::make_shared<EventQueue>();
  TRY_VOID(app.engine.submit(std::move(request), events));
  size_t shown = 0, shown_reasoning = 0;
  auto show = [&](const std::string& text, size_t& from, bool reasoning) {
    if (on_text && text.size() > from) on_text(std::string_view(text).substr(from), reasoning);
    from = text.size();
  };
  bool cancelled = false;
  while (!choice.done()) {
    for (EngineEvent& event : events->take(0.05)) {
      if (choice.push(std::move(event))) app.engine.cancel(id);
      if (answer.first_token_seconds == 0 && !choice.tokens().empty()) answer.first_token_seconds = now_seconds() - begin;
    }
    show(choice.reasoning(), shown_reasoning, true);
    show(choice.text(), shown, false);
    if (stop && *stop && !std::exchange(cancelled, true)) app.engine.cancel(id);
  }
  if (choice.ending().reason == Finish::kError) return choice.ending().error;
  answer.text = choice.text();
  answer.finish = finish_name(choice.ending().reason);
  answer.tokens = int(choice.tokens().size());
  answer.cached_tokens = choice.cached_tokens();
  answer.seconds = now_seconds() - begin;
  return answer;
}

Json sampling_body(const SamplingFlags& s) {
  Json body = Json::object();
  auto set = [&](const char* name, const auto& value) {
    if (value) body[name] = *value;
  };
  set("max_tokens", s.max_tokens);
  set("min_tokens", s.min_tokens);
  set("temperature", s.temperature);
  set("top_k", s.top_k);
  set("top_p", s.top_p);
  set("min_p", s.min_p);
  set("frequency_penalty", s.frequency_penalty);
  set("presence_penalty", s.presence_penalty);
  set("repetition_penalty", s.repetition_penalty);
  set("seed", s.seed);
  if (!s.stop.empty()) body["stop"] = s.stop;
  if (s.ignore_eos) body["ignore_eos"] = true;
  return body;
}

std::string describe(const Answer& a) {
  const double decode = a.seconds - a.first_token_seconds;
  return fmt::format("{} prompt tokens ({} cached), {} tokens, first after {:.3f} s, then {:.1f} tokens/s, ended by {}", a.prompt_tokens,
                     a.cached_tokens, a.tokens, a.first_token_seconds, a.tokens > 1 && decode > 0 ? (a.tokens - 1) / decode : 0.0, a.finish);
}

}  // namespace xylem
