// A TextJob in the engine: submits its requests, sorts their events into choices, measures, and cancels what is left.
#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/mailbox.h"
#include "server/text_job.h"

namespace xylem {

// On the connection's strand. Destruction cancels every request that has not ended.
class JobRun {
 public:
  JobRun(App& app, std::shared_ptr<Connection> connection, TextJob job);
  ~JobRun();
  JobRun(const JobRun&) = delete;
  JobRun& operator=(const JobRun&) = delete;

  // All or nothing: kInvalid when a prompt does not fit, kUnavailable when the queue is full.
  Status submit();

  // Takes the events that have come. Streaming jobs append the server-sent events they make to out, the last ones
  // included.
  void advance(std::string& out);
  bool done() const { return running_ == 0; }
  bool overflowed() const { return mailbox_->overflowed(); }
  const Error* error() const { return error_ ? &*error_ : nullptr; }  // of the first choice that failed
  bool streams() const { return job_.stream; }
  std::string body() { return job_.formatter->body(choices_); }

 private:
  struct Slot {
    RequestId id = 0;
    const PromptJob* prompt = nullptr;
    double submitted = 0, last_token = 0;  // now_seconds(); 0: no token yet
    bool in_engine = false;
  };

  Status submit(const PromptJob& prompt, int index);
  void take(Mailbox::Item item, std::vector<bool>& touched);
  void measure(Slot& slot, const Mailbox::Item& item);
  void finish(size_t i, double seconds);
  void leave_engine(Slot& slot);

  App& app_;
  TextJob job_;
  std::shared_ptr<Mailbox> mailbox_;
  std::vector<Slot> slots_;
  std::vector<Choice> choices_;
  std::unordered_map<RequestId, size_t> by_id_;
  std::vector<Mailbox::Item> items_;
  std::optional<Error> error_;
  size_t running_ = 0;
};

}  // namespace xylem
