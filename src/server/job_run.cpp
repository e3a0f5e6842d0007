#include "server/job_run.h"

#include <algorithm>

#include "base/clock.h"
#include "server/app.h"

namespace xylem {
namespace {

// Events a client may fall behind before its request is cancelled: a few MiB.
constexpr size_t kMaxPendingEvents = 16384, kMaxPendingPerChoice = 256;

size_t count_choices(const TextJob& job) {
  size_t n = 0;
  for (const PromptJob& p : job.prompts) n += p.options.n;
  return n;
}

}  // namespace

JobRun::JobRun(App& app, std::shared_ptr<Connection> connection, TextJob job)
    : app_(app),
      job_(std::move(job)),
      mailbox_(app.mailboxes->open(std::move(connection),
                                   std::max(kMaxPendingEvents, kMaxPendingPerChoice * count_choices(job_)))) {}

JobRun::~JobRun() {
  app_.mailboxes->close(mailbox_);
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].in_engine) continue;
    app_.engine.cancel(slots_[i].id);
    leave_engine(slots_[i]);
    const Choice& c = choices_[i];
    if (!c.done())
      app_.metrics.finished(now_seconds() - slots_[i].submitted, static_cast<int>(slots_[i].prompt->prompt.size()),
                            c.cached_tokens(), static_cast<int>(c.tokens().size()), /*aborted=*/true);
  }
}

Status JobRun::submit() {
  for (const PromptJob& p : job_.prompts) TRY_VOID(check_fits(app_, p));
  for (const PromptJob& p : job_.prompts)
    for (int index = 0; index < p.options.n; ++index) TRY_VOID(submit(p, index));
  return {};
}

// One at a time, so that a request for more than the queue takes costs no more than the queue.
Status JobRun::submit(const PromptJob& p, int index) {
  TRY(GenerateRequest request, to_engine(app_, job_, p, index));
  const RequestId id = request.id;
  by_id_.emplace(id, slots_.size());
  slots_.push_back({.id = id, .prompt = &p, .submitted = now_seconds()});
  choices_.emplace_back(app_.model.tokenizer, p.prompt, p.options.output);
  app_.active.add(p.rid, id);  // before it runs: who sees it run can abort it
  Status submitted = app_.engine.submit(std::move(request), mailbox_);
  slots_.back().in_engine = submitted.ok();
  if (submitted.ok())
    ++running_;
  else
    app_.active.remove(p.rid, id);
  return submitted;
}

void JobRun::advance(std::string& out) {
  mailbox_->drain(items_);
  std::vector<bool> touched(choices_.size());
  for (Mailbox::Item& item : items_) take(std::move(item), touched);
  if (!job_.stream || items_.empty()) return;
  for (size_t i = 0; i < choices_.size(); ++i)
    if (touched[i]) job_.formatter->stream(i, choices_[i], out);
  if (done()) job_.formatter->stream_end(choices_, out);
}

void JobRun::take(Mailbox::Item item, std::vector<bool>& touched) {
  const auto it = by_id_.find(item.event.id);
  if (it == by_id_.end()) return;
  const size_t i = it->second;
  Slot& slot = slots_[i];
  if (item.event.finish != Finish::kNone) leave_engine(slot);
  if (choices_[i].done()) return;  // the rest of a request that a stop string has ended
  measure(slot, item);
  touched[i] = true;
  const double seconds = item.seconds;
  const bool cancel = choices_[i].push(std::move(item.event));
  if (!choices_[i].done()) return;
  if (cancel) {
    app_.engine.cancel(slot.id);
    leave_engine(slot);
  }
  finish(i, seconds);
}

void JobRun::measure(Slot& slot, const Mailbox::Item& item) {
  if (item.event.token < 0) return;
  if (slot.last_token == 0)
    app_.metrics.first_token(item.seconds - slot.submitted);
  else
    app_.metrics.next_token(item.seconds - slot.last_token);
  slot.last_token = item.seconds;
}

void JobRun::finish(size_t i, double seconds) {
  const Choice& c = choices_[i];
  --running_;
  if (c.ending().reason == Finish::kError && !error_) error_ = c.ending().error;
  const bool aborted = c.ending().reason == Finish::kAbort || c.ending().reason == Finish::kError;
  app_.metrics.finished(seconds - slots_[i].submitted, static_cast<int>(slots_[i].prompt->prompt.size()),
                        c.cached_tokens(), static_cast<int>(c.tokens().size()), aborted);
}

void JobRun::leave_engine(Slot& slot) {
  if (!slot.in_engine) return;
  slot.in_engine = false;
  app_.active.remove(slot.prompt->rid, slot.id);
}

}  // namespace xylem
