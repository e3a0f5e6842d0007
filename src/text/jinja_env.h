// What a render shares among its parts: the first error, the limits, and how values are made.
#pragma once
#include <ctime>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_value.h"

namespace xylem::jinja {

// Generous for any real conversation, small enough that a hostile template ends within seconds.
inline constexpr size_t kMaxOutputBytes = 64u << 20;  // the text, and any one string
inline constexpr size_t kMaxLiveBytes = 512u << 20;   // all values alive
inline constexpr uint64_t kMaxSteps = 20'000'000;     // nodes evaluated; bulk work counts in proportion
inline constexpr uint32_t kMaxNesting = 400;          // lists in lists ...
inline constexpr size_t kMaxStackBytes = 2u << 20;    // recursion of macros and expressions
inline constexpr int64_t kMaxRange = 100'000;         // as Jinja's sandbox

// One render, one thread. After the first fail() every further result is meaningless and the render stops soon.
class Env {
 public:
  explicit Env(std::tm now) : now_(now) {}
  ~Env();
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;

  Value fail(std::string text);   // keeps the first error and the line; returns an undefined value
  Value raise(std::string text);  // raise_exception: the text stands alone
  bool failed() const { return failed_; }
  const std::string& error() const { return error_; }
  void set_line(int line) { line_ = line; }

  // False, with an error recorded, when the work so far exceeds the limit.
  bool charge(uint64_t steps);
  bool charge_bytes(size_t bytes) { return charge(bytes / 32 + 1); }
  bool check_size(size_t bytes);  // of a string about to be made

  Value str(std::string s, bool safe = false);
  Value list(std::vector<Value> v) { return seq(Kind::kList, std::move(v)); }
  Value tuple(std::vector<Value> v) { return seq(Kind::kTuple, std::move(v)); }
  Value iter(std::vector<Value> v);
  Value dict(std::shared_ptr<Dict> d, Kind kind = Kind::kDict);
  Value undefined(std::string hint);
  Value undefined_name(std::string_view name);                   // a variable
  Value undefined_item(const Value& object, const Value& name);  // object has no such attribute or element
  Value func(const Builtin& builtin, const Value& self);
  template <class T>
  Value object(Kind kind, std::shared_ptr<T> o, const Extent& below, size_t bytes) {
    return track(kind, std::move(o), below, bytes);
  }
  // o may end up in a cycle: cleared when the render ends.
  void keep(std::shared_ptr<Obj> o) { kept_.push_back(std::move(o)); }

  const std::tm& now() const { return now_; }

 private:
  Value seq(Kind kind, std::vector<Value> v);
  Value track(Kind kind, std::shared_ptr<Obj> o, const Extent& below, size_t bytes);

  Memory memory_;
  std::tm now_;
  uint64_t steps_ = 0;
  int line_ = 0;
  bool failed_ = false;
  std::string error_;
  std::vector<std::shared_ptr<Obj>> kept_;
};

Extent extent_of(const std::vector<Value>& v);
bool equal(Env& env, const Value& a, const Value& b);  // charges for the walk
bool check_hashable(Env& env, const Value& key);       // an error when it is not

// Distributes args over named parameters; those not given stay missing. A name "" takes positions only.
bool bind(Env& env, std::string_view function, const Args& args, std::initializer_list<std::string_view> names,
          size_t required, Value* out);

// Walks anything iterable, one value at a time.
class Cursor {
 public:
  Cursor() = default;
  // An error is recorded when v cannot be iterated.
  Cursor(Env& env, Value v);
  bool next(Env& env, Value& out);
  // Values left; -1 when only reading tells.
  int64_t length() const;

 private:
  Value v_;
  size_t pos_ = 0;
};

bool iterable(const Value& v);
bool collect(Env& env, const Value& v, std::vector<Value>& out);  // list(v)
int64_t length_of(Env& env, const Value& v);                      // len(v); -1 and an error when it has none
int64_t char_count(const Value& str);
std::string to_str(Env& env, const Value& v);  // str(v)

}  // namespace xylem::jinja
