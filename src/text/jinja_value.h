// Values of a chat template while it renders: Python's types as Jinja2 shows them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace xylem::jinja {

enum class Kind : uint8_t {
  kMissing,  // a variable without a value, an argument not given: never seen by a template
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kStr,
  kList,
  kTuple,
  kDict,
  kNamespace,
  kRange,
  kIter,  // what map, select, reverse ... return: read once
  kView,  // dict.keys(), .values(), .items()
  kMacro,
  kFunc,  // a builtin, or a method bound to its object
  kLoop,
  kCycler,
  kJoiner,
};

// What a render has used; objects report their bytes here while they live.
struct Memory {
  size_t bytes = 0;
};

// Base of everything on the heap. Immutable once built, except where clear() is overridden: those may form cycles, so
// the render registers them (Env::keep) and clears them at its end.
struct Obj {
  Obj() = default;
  Obj(const Obj&) = delete;
  Obj& operator=(const Obj&) = delete;
  virtual ~Obj() {
    if (memory) memory->bytes -= bytes;
  }
  virtual void clear() {}

  Memory* memory = nullptr;
  size_t bytes = 0;
  uint32_t depth = 1;   // nesting of containers below and including this one; bounds every recursion over values
  uint64_t weight = 1;  // what a walk over everything below costs: shared parts count each time they are reached
};

struct Str;
struct Seq;
struct Dict;

// 32 bytes; copying shares the object.
class Value {
 public:
  Value() : kind_(Kind::kMissing), i_(0) {}
  Value(Kind kind, std::shared_ptr<Obj> o) : kind_(kind), i_(0), o_(std::move(o)) {}
  static Value none() { return Value(Kind::kNone, nullptr); }
  static Value boolean(bool b) {
    Value v(Kind::kBool, nullptr);
    v.i_ = b;
    return v;
  }
  static Value integer(int64_t i) {
    Value v(Kind::kInt, nullptr);
    v.i_ = i;
    return v;
  }
  static Value real(double f) {
    Value v(Kind::kFloat, nullptr);
    v.f_ = f;
    return v;
  }

  // An integer of the input beyond 64 bits: counts as a float, but prints its digits (a Str).
  static Value digits(double f, std::shared_ptr<Obj> text) {
    Value v = real(f);
    v.o_ = std::move(text);
    return v;
  }

  Kind kind() const { return kind_; }
  bool is(Kind k) const { return kind_ == k; }
  bool missing() const { return kind_ == Kind::kMissing; }
  bool undefined() const { return kind_ == Kind::kUndefined; }
  bool none_() const { return kind_ == Kind::kNone; }
  bool str() const { return kind_ == Kind::kStr; }
  bool seq() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  bool dict() const { return kind_ == Kind::kDict; }
  bool integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }  // Python's bool is an int
  bool number() const { return integral() || kind_ == Kind::kFloat; }

  bool b() const { return i_ != 0; }
  int64_t i() const { return i_; }                                                   // integral()
  double f() const { return kind_ == Kind::kFloat ? f_ : static_cast<double>(i_); }  // number()
  template <class T>
  T& as() const {
    return static_cast<T&>(*o_);
  }
  const std::string& s() const;             // str()
  const std::vector<Value>& items() const;  // seq()
  const std::shared_ptr<Obj>& object() const { return o_; }
  uint32_t depth() const { return o_ ? o_->depth : 0; }
  uint64_t weight() const { return o_ ? o_->weight : 1; }

 private:
  Kind kind_;
  union {
    int64_t i_;
    double f_;
  };
  std::shared_ptr<Obj> o_;
};

struct Str : Obj {
  std::string s;
  bool ascii = true;  // every byte is one character
  bool safe = false;  // markupsafe's Markup: concatenation escapes the other side
};

struct Seq : Obj {
  std::vector<Value> v;
  bool named_group = false;  // of groupby: a pair with .grouper and .list
};

// Insertion-ordered. Keys must be hashable().
struct Dict : Obj {
  std::vector<std::pair<Value, Value>> v;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);  // only while the dict is being built, or by a namespace
  void clear() override {
    index_.clear();
    v.clear();
  }

 private:
  template <class Match>
  const Value* find_hashed(size_t hash, Match match) const;
  mutable std::unordered_multimap<size_t, uint32_t> index_;  // built when the dict is not small
};

struct Undefined : Obj {
  std::string hint;            // the whole message, or empty: then type and name make it
  const char* type = nullptr;  // Jinja's name of the object's type; null: a variable
  std::string name;
  bool name_is_str = true;
};

struct Range : Obj {
  int64_t start = 0, step = 1, length = 0;
};

struct Iter : Obj {
  std::vector<Value> v;
  size_t pos = 0;
};

struct View : Obj {
  enum What { kKeys, kValues, kItems } what = kKeys;
  Value dict;
};

struct Macro : Obj {
  std::string name;
};

struct Cycler : Obj {
  std::vector<Value> v;
  size_t pos = 0;
};

struct Joiner : Obj {
  Value sep;
  bool used = false;
};

// Positional and keyword arguments of a call.
struct Args {
  std::vector<Value> pos;
  std::vector<std::pair<std::string, Value>> kw;
};

// Depth and weight of an object from those of what it holds.
struct Extent {
  uint32_t depth = 0;
  uint64_t weight = 1;
  void add(const Value& v) {
    depth = std::max(depth, v.depth());
    weight = std::min(weight + v.weight(), uint64_t{1} << 40);
  }
};

class Env;
struct Builtin {
  std::string_view name;
  Value (*fn)(Env&, const Value& self, const Args&);
};

struct Func : Obj {
  const Builtin* builtin = nullptr;
  Value self;
};

inline const std::string& Value::s() const { return as<Str>().s; }
inline const std::vector<Value>& Value::items() const { return as<Seq>().v; }

const char* type_name(const Value& v);        // Python's: "str", "NoneType", "dict" ...
const char* jinja_type_name(const Value& v);  // as Jinja's messages have it: "str object", "None" ...
std::string undefined_text(const Value& v);   // the message of an undefined value
bool truthy(const Value& v);
bool hashable(const Value& v);
size_t hash_value(const Value& v);
bool equal(const Value& a, const Value& b);
bool same(const Value& a, const Value& b);  // Python's `is`

std::string float_repr(double f);
std::string float_repr(const Value& v);  // kFloat
std::string str_repr(std::string_view s);
// False when nested deeper than a namespace that holds itself should go.
bool append_repr(const Value& v, std::string& out, int depth = 0);
bool append_str(const Value& v, std::string& out);
std::string repr(const Value& v);

// A string constant of a template: belongs to no render.
Value constant(std::string s);

}  // namespace xylem::jinja
