#include "text/jinja_interp.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "text/jinja_builtins.h"
#include "text/jinja_env.h"
#include "text/jinja_json.h"
#include "text/jinja_ops.h"

namespace xylem::jinja {

namespace {

// The variables of one running function. A macro keeps the activation it was defined in alive.
struct Activation : Obj {
  std::vector<Value> slots;
  std::shared_ptr<Activation> outer;
  bool kept = false;
  void clear() override {
    slots.clear();
    outer.reset();
  }
};

struct MacroObj : Macro {
  const Stmt* def = nullptr;
  std::shared_ptr<Activation> outer;
};

// The variable `loop`, and the loop's source of items.
struct LoopObj : Obj {
  const Stmt* def = nullptr;
  Activation* frame = nullptr;        // where a condition's variables are; null once the loop has ended
  std::shared_ptr<Activation> outer;  // of a recursive loop: the function around it
  Cursor source;
  std::vector<Value> rest;  // what length read ahead
  size_t rest_at = 0;
  bool drained = false;
  Value current, before, after, changed;
  int64_t index0 = -1, length = -1, depth0 = 0;
  void clear() override { changed = Value(); }
};

enum class Flow { kNext, kBreak, kContinue };

class Interp {
 public:
  Interp(const Template& t, Env& env) : t_(t), env_(env) { stack_base_ = stack_here(); }

  std::string run(const nlohmann::ordered_json& vars) {
    load_context(vars);
    auto root = std::make_shared<Activation>();
    root->slots.resize(static_cast<size_t>(t_.slots));
    frame_ = root;
    enter(t_.scope);
    std::string text;
    out_ = &text;
    block(t_.body);
    root->clear();
    return text;
  }

 private:
  // ---- limits

  static uintptr_t stack_here() { return reinterpret_cast<uintptr_t>(__builtin_frame_address(0)); }

  // False, with an error, when the C++ stack runs low or the steps are used up.
  bool step(int line) {
    env_.set_line(line);
    const uintptr_t here = stack_here();
    const uintptr_t used = stack_base_ > here ? stack_base_ - here : here - stack_base_;
    if (used > kMaxStackBytes) env_.fail("macros, loops or expressions recurse too deeply");
    return env_.charge(1);
  }

  // ---- variables

  void load_context(const nlohmann::ordered_json& vars) {
    for (const auto& name : t_.context_names) {
      auto it = vars.find(name);
      const Builtin* global = it == vars.end() ? find_global(name) : nullptr;
      context_.push_back(it != vars.end() ? from_json(env_, *it) : global ? env_.func(*global, Value()) : Value());
    }
  }

  Value& slot(const VarRef& r) {
    Activation* a = frame_.get();
    for (int i = 0; i < r.hops; ++i) a = a->outer.get();
    return a->slots[static_cast<size_t>(r.slot)];
  }
  Value& own(int i) { return frame_->slots[static_cast<size_t>(i)]; }

  void enter(const Scope& s) {
    env_.charge(s.slots.size() / 8);
    for (const auto& i : s.inits) {
      switch (i.from) {
        case Init::kNothing:
          own(i.slot) = Value();
          break;
        case Init::kContext:
          own(i.slot) = context_[static_cast<size_t>(i.context)];
          break;
        case Init::kOuter:
          own(i.slot) = Value(slot(i.outer));
          break;
      }
    }
  }
  void leave(const Scope& s) {
    for (int i : s.slots) own(i) = Value();
  }

  void assign(const Expr& target, const Value& v) {
    switch (target.op) {
      case Op::kName:
        slot(target.var) = v;
        return;
      case Op::kNsAttr: {
        Value& ns = slot(target.var);
        if (!ns.is(Kind::kNamespace)) {
          env_.fail("cannot assign attribute on non-namespace object");
          return;
        }
        ns.as<Dict>().set(target.value, v);
        return;
      }
      default:
        unpack(target, v);
    }
  }

  void unpack(const Expr& target, const Value& v) {
    if (!iterable(v)) {
      env_.fail("cannot unpack non-iterable " + std::string(type_name(v)) + " object");
      return;
    }
    std::vector<Value> items;
    if (!collect(env_, v, items)) return;
    const size_t want = target.args.size();
    if (items.size() > want) env_.fail("too many values to unpack (expected " + std::to_string(want) + ")");
    if (items.size() < want)
      env_.fail("not enough values to unpack (expected " + std::to_string(want) + ", got " +
                std::to_string(items.size()) + ")");
    for (size_t i = 0; i < want && !env_.failed(); ++i) assign(*target.args[i], items[i]);
  }

  // ---- statements

  Flow block(const Block& b) {
    for (const auto& s : b) {
      const Flow f = exec(*s);
      if (env_.failed()) return Flow::kBreak;
      if (f != Flow::kNext) return f;
    }
    return Flow::kNext;
  }

  Flow exec(const Stmt& s) {
    if (!step(s.line)) return Flow::kBreak;
    switch (s.kind) {
      case St::kText:
        write(s.text);
        return Flow::kNext;
      case St::kPrint:
        for (const auto& e : s.exprs) print(eval(*e));
        return Flow::kNext;
      case St::kSet: {
        const Value v = eval(*s.exprs[0]);
        env_.set_line(s.line);
        if (!env_.failed()) assign(*s.target, v);
        return Flow::kNext;
      }
      case St::kIf:
        return block(truthy(eval(*s.exprs[0])) ? s.body : s.else_body);
      case St::kFor:
        return for_loop(s);
      case St::kMacro:
        slot(s.var) = macro(s);
        return Flow::kNext;
      case St::kCall:
        call_block(s);
        return Flow::kNext;
      case St::kDo:
        eval(*s.exprs[0]);
        return Flow::kNext;
      case St::kBreak:
        return Flow::kBreak;
      case St::kContinue:
        return Flow::kContinue;
      case St::kSetBlock:
      case St::kFilter:
        return captured(s);
      case St::kWith:
        return with(s);
      case St::kBlock: {
        enter(s.scope);
        const Flow f = block(s.body);
        leave(s.scope);
        return f;
      }
    }
    return Flow::kNext;
  }

  void write(std::string_view text) {
    if (out_->size() + text.size() > kMaxOutputBytes) {
      env_.check_size(out_->size() + text.size());
      return;
    }
    out_->append(text);
    env_.charge_bytes(text.size());
  }

  void print(const Value& v) {
    if (env_.failed()) return;
    if (v.str()) return write(v.s());
    write(to_str(env_, v));
  }

  // {% set x %}...{% endset %} and {% filter f %}...{% endfilter %}
  Flow captured(const Stmt& s) {
    std::string text;
    enter(s.scope);
    std::string* out = std::exchange(out_, &text);
    const Flow f = block(s.body);
    out_ = out;
    if (f == Flow::kNext && !env_.failed()) {
      Value v = env_.str(std::move(text));
      if (!s.exprs.empty()) {
        block_text_ = v;
        v = eval(*s.exprs[0]);
      }
      if (s.kind == St::kSetBlock)
        assign(*s.target, v);
      else
        print(v);
    }
    leave(s.scope);
    return f;
  }

  Flow with(const Stmt& s) {
    enter(s.scope);
    for (size_t i = 0; i < s.targets.size() && !env_.failed(); ++i) assign(*s.targets[i], eval(*s.exprs[i]));
    const Flow f = block(s.body);
    leave(s.scope);
    return f;
  }

  // ---- loops

  Flow for_loop(const Stmt& s) {
    const Value items = eval(*s.exprs[0]);
    if (env_.failed()) return Flow::kBreak;
    env_.set_line(s.line);
    if (s.function)
      print(recursive_loop(s, frame_, items, 0));
    else
      return loop_over(s, items, 0, nullptr);
    return Flow::kNext;
  }

  Value recursive_loop(const Stmt& s, const std::shared_ptr<Activation>& outer, const Value& items, int64_t depth0) {
    auto frame = std::make_shared<Activation>();
    frame->outer = outer;
    frame->slots.resize(static_cast<size_t>(s.function->slots));
    return run_function(std::move(frame), [&] { loop_over(s, items, depth0, outer); });
  }

  Flow loop_over(const Stmt& s, const Value& items, int64_t depth0, const std::shared_ptr<Activation>& outer) {
    auto loop = std::make_shared<LoopObj>();
    loop->def = &s;
    loop->frame = frame_.get();
    loop->outer = outer;
    loop->depth0 = depth0;
    loop->source = Cursor(env_, items);
    if (!s.test) loop->length = loop->source.length();
    const Value loop_value = env_.object(Kind::kLoop, loop, {}, sizeof(LoopObj));
    bool any = false;
    Flow f = Flow::kNext;
    for (Value item; f != Flow::kBreak && advance(*loop, item); any = any || f == Flow::kNext) {
      assign(*s.target, item);
      enter(s.scope);
      own(s.loop_slot) = loop_value;
      f = block(s.body);
    }
    leave(s.scope);
    loop->frame = nullptr;
    if (env_.failed()) return Flow::kBreak;
    if (!any && !s.else_body.empty()) {
      enter(s.else_scope);
      f = block(s.else_body);
      leave(s.else_scope);
      return f;
    }
    return Flow::kNext;
  }

  // The next item of the source that satisfies the condition; peeked ones first.
  bool fetch(LoopObj& l, Value& item) {
    if (l.drained) {
      if (l.rest_at == l.rest.size()) return false;
      item = l.rest[l.rest_at++];
      return true;
    }
    while (!env_.failed() && l.source.next(env_, item)) {
      if (!l.def->test) return true;
      if (!l.frame) return false;
      enter(l.def->test_scope);
      assign(*l.def->test_target, item);
      if (!env_.failed() && truthy(eval(*l.def->test))) return !env_.failed();
    }
    return false;
  }

  bool peek(LoopObj& l) {
    if (l.after.missing() && !fetch(l, l.after)) l.after = Value();
    return !l.after.missing();
  }

  bool advance(LoopObj& l, Value& item) {
    if (env_.failed()) return false;
    if (!l.after.missing())
      item = std::exchange(l.after, Value());
    else if (!fetch(l, item))
      return false;
    ++l.index0;
    l.before = std::exchange(l.current, item);
    return true;
  }

  int64_t loop_length(LoopObj& l) {
    if (l.length >= 0) return l.length;
    std::vector<Value> rest;
    for (Value v; fetch(l, v);) rest.push_back(v);
    l.length = static_cast<int64_t>(rest.size()) + l.index0 + 1 + !l.after.missing();
    l.rest = std::move(rest);
    l.drained = true;
    return l.length;
  }

  Value loop_attr(const Value& v, const Value& name) {
    auto& l = v.as<LoopObj>();
    const std::string& n = name.s();
    auto integer = [](int64_t i) { return Value::integer(i); };
    if (n == "index") return integer(l.index0 + 1);
    if (n == "index0") return integer(l.index0);
    if (n == "first") return Value::boolean(l.index0 == 0);
    if (n == "last") return Value::boolean(!peek(l));
    if (n == "length") return integer(loop_length(l));
    if (n == "revindex") return integer(loop_length(l) - l.index0);
    if (n == "revindex0") return integer(loop_length(l) - l.index0 - 1);
    if (n == "depth") return integer(l.depth0 + 1);
    if (n == "depth0") return integer(l.depth0);
    if (n == "previtem") return l.index0 == 0 ? env_.undefined("there is no previous item") : l.before;
    if (n == "nextitem") return peek(l) ? l.after : env_.undefined("there is no next item");
    if (n == "cycle") return env_.func(kLoopMethods[0], v);
    if (n == "changed") return env_.func(kLoopMethods[1], v);
    return env_.undefined_item(v, name);
  }

  static Value cycle(Env& env, const Value& self, const Args& a) {
    if (a.pos.empty()) return env.fail("no items for cycling given");
    return a.pos[static_cast<size_t>(self.as<LoopObj>().index0) % a.pos.size()];
  }

  static Value changed(Env& env, const Value& self, const Args& a) {
    auto& l = self.as<LoopObj>();
    const Value now = env.tuple(a.pos);
    if (env.failed() || (!l.changed.missing() && equal(env, l.changed, now))) return Value::boolean(false);
    if (l.changed.missing()) env.keep(self.object());
    l.changed = now;
    return Value::boolean(true);
  }

  static constexpr Builtin kLoopMethods[] = {{"cycle", cycle}, {"changed", changed}};

  // ---- macros

  Value macro(const Stmt& s) {
    if (!std::exchange(frame_->kept, true)) env_.keep(frame_);
    auto m = std::make_shared<MacroObj>();
    m->def = &s;
    m->name = s.function->name;
    m->outer = frame_;
    return env_.object(Kind::kMacro, std::move(m), {}, sizeof(MacroObj) + frame_->slots.size() * sizeof(Value));
  }

  // Runs body with its own variables and collects what it writes.
  template <class Body>
  Value run_function(std::shared_ptr<Activation> frame, Body body) {
    std::string text;
    std::string* out = std::exchange(out_, &text);
    std::shared_ptr<Activation> caller = std::exchange(frame_, std::move(frame));
    body();
    frame_ = std::move(caller);
    out_ = out;
    return env_.failed() ? Value::none() : env_.str(std::move(text));
  }

  Value call_macro(const Value& callee, Args& a) {
    const auto& m = callee.as<MacroObj>();
    const Function& f = *m.def->function;
    auto frame = std::make_shared<Activation>();
    frame->outer = m.outer;
    frame->slots.resize(static_cast<size_t>(f.slots));
    env_.charge(frame->slots.size() / 8);
    if (!bind_params(f, a, *frame)) return Value::none();
    return run_function(std::move(frame), [&] {
      enter(m.def->scope);
      for (const auto& p : f.params) {
        Value& v = own(p.slot);
        if (!v.missing() || env_.failed()) continue;
        const Value d = p.default_value ? eval(*p.default_value)
                                        : env_.undefined("parameter " + str_repr(p.name) + " was not provided");
        own(p.slot) = d;
      }
      if (!env_.failed()) block(m.def->body);
    });
  }

  static Value take_keyword(Args& a, std::string_view name) {
    for (auto it = a.kw.begin(); it != a.kw.end(); ++it) {
      if (it->first != name) continue;
      Value v = std::move(it->second);
      a.kw.erase(it);
      return v;
    }
    return Value();
  }

  bool bind_params(const Function& f, Args& a, Activation& frame) {
    auto set = [&](int slot, Value v) { frame.slots[static_cast<size_t>(slot)] = std::move(v); };
    for (size_t i = 0; i < f.params.size(); ++i)
      set(f.params[i].slot, i < a.pos.size() ? a.pos[i] : take_keyword(a, f.params[i].name));
    if (f.caller_slot >= 0) {
      Value caller = take_keyword(a, "caller");
      set(f.caller_slot, caller.missing() || caller.none_() ? env_.undefined("No caller defined") : caller);
    }
    if (f.kwargs_slot >= 0) {
      auto d = std::make_shared<Dict>();
      for (auto& [k, v] : a.kw) d->set(env_.str(k), v);
      set(f.kwargs_slot, env_.dict(std::move(d)));
    } else if (!a.kw.empty()) {
      env_.fail("macro " + str_repr(f.name) + " takes no keyword argument " + str_repr(a.kw[0].first));
      return false;
    }
    const size_t n = std::min(a.pos.size(), f.params.size());
    if (f.varargs_slot >= 0) {
      set(f.varargs_slot, env_.tuple({a.pos.begin() + static_cast<ptrdiff_t>(n), a.pos.end()}));
    } else if (a.pos.size() > f.params.size()) {
      env_.fail("macro " + str_repr(f.name) + " takes not more than " + std::to_string(f.params.size()) +
                " argument(s)");
      return false;
    }
    return !env_.failed();
  }

  Value macro_attr(const Value& v, const Value& name) {
    const Function& f = *v.as<MacroObj>().def->function;
    const std::string& n = name.s();
    if (n == "name") return env_.str(f.name);
    if (n == "caller") return Value::boolean(f.caller_slot >= 0 || f.explicit_caller);
    if (n == "catch_kwargs") return Value::boolean(f.kwargs_slot >= 0);
    if (n == "catch_varargs") return Value::boolean(f.varargs_slot >= 0);
    if (n != "arguments") return env_.undefined_item(v, name);
    std::vector<Value> names;
    for (const auto& p : f.params) names.push_back(env_.str(p.name));
    return env_.tuple(std::move(names));
  }

  void call_block(const Stmt& s) {
    const Expr& e = *s.exprs[0];
    Args a;
    const Value callee = eval(*e.args[0]);
    if (env_.failed() || !eval_args(e, a)) return;
    a.kw.emplace_back("caller", macro(s));
    env_.set_line(e.line);
    print(call(callee, a));
  }

  // ---- expressions

  Value call(const Value& callee, Args& a) {
    switch (callee.kind()) {
      case Kind::kFunc:
        if (callee.as<Func>().self.str()) env_.charge(callee.weight() / 2);
        return callee.as<Func>().builtin->fn(env_, callee.as<Func>().self, a);
      case Kind::kMacro:
        return call_macro(callee, a);
      case Kind::kJoiner: {
        auto& j = callee.as<Joiner>();
        return std::exchange(j.used, true) ? j.sep : env_.str("");
      }
      case Kind::kLoop: {
        auto& l = callee.as<LoopObj>();
        if (!l.outer || a.pos.size() != 1)
          return env_.fail("The loop must have the 'recursive' marker to be called recursively.");
        return recursive_loop(*l.def, l.outer, a.pos[0], l.depth0 + 1);
      }
      case Kind::kUndefined:
        return env_.fail(undefined_text(callee));
      default:
        return env_.fail(str_repr(type_name(callee)) + " object is not callable");
    }
  }

  bool eval_args(const Expr& e, Args& a) {
    const size_t tail = e.kwargs.size() + e.star + e.star_star;
    const size_t positional = e.args.size() - 1 - tail;
    for (size_t i = 1; i <= positional; ++i) a.pos.push_back(eval(*e.args[i]));
    size_t at = 1 + positional;
    for (const auto& name : e.kwargs) a.kw.emplace_back(name, eval(*e.args[at++]));
    if (e.star) {
      std::vector<Value> more;
      if (!collect(env_, eval(*e.args[at++]), more)) return false;
      a.pos.insert(a.pos.end(), more.begin(), more.end());
    }
    if (e.star_star) add_keywords(eval(*e.args[at]), a);
    return !env_.failed();
  }

  void add_keywords(const Value& v, Args& a) {
    if (!v.dict()) {
      env_.fail("argument after ** must be a mapping, not " + std::string(type_name(v)));
      return;
    }
    for (const auto& [k, x] : v.as<Dict>().v) {
      if (!k.str()) {
        env_.fail("keywords must be strings");
        return;
      }
      if (!take_keyword(a, k.s()).missing()) env_.fail("got multiple values for keyword argument " + str_repr(k.s()));
      a.kw.emplace_back(k.s(), x);
    }
  }

  Value eval(const Expr& e) {
    if (!step(e.line)) return Value::none();
    switch (e.op) {
      case Op::kConst:
        return e.value;
      case Op::kName: {
        const Value& v = slot(e.var);
        return v.missing() ? env_.undefined_name(e.name) : v;
      }
      case Op::kTuple:
      case Op::kList:
        return eval_seq(e);
      case Op::kDict:
        return eval_dict(e);
      case Op::kNot:
        return Value::boolean(!truthy(eval(*e.args[0])));
      case Op::kAnd: {
        const Value a = eval(*e.args[0]);
        return truthy(a) ? eval(*e.args[1]) : a;
      }
      case Op::kOr: {
        const Value a = eval(*e.args[0]);
        return truthy(a) ? a : eval(*e.args[1]);
      }
      case Op::kCond:
        if (truthy(eval(*e.args[1]))) return eval(*e.args[0]);
        if (e.args.size() > 2) return eval(*e.args[2]);
        return env_.undefined("the inline if-expression on line " + std::to_string(e.line) +
                              " evaluated to false and no else section was defined.");
      case Op::kAttr:
        return eval_attr(e);
      case Op::kCompare:
        return eval_compare(e);
      case Op::kConcat:
        return eval_concat(e);
      case Op::kCall:
      case Op::kFilter:
      case Op::kTest:
        return eval_call(e);
      case Op::kSlice:
        return eval_slice(e);
      case Op::kNeg:
      case Op::kPos: {
        const Value a = eval(*e.args[0]);
        return env_.failed() ? a : at(e).negate_(e.op, a);
      }
      default:
        return eval_binary(e);
    }
  }

  // Errors of what follows belong to the line of e, not of its last operand.
  Interp& at(const Expr& e) {
    env_.set_line(e.line);
    return *this;
  }
  Value negate_(Op op, const Value& a) { return negate(env_, op, a); }

  Value eval_binary(const Expr& e) {
    const Value a = eval(*e.args[0]);
    if (env_.failed()) return a;
    const Value b = eval(*e.args[1]);
    if (env_.failed()) return b;
    env_.set_line(e.line);
    return e.op == Op::kItem ? get_item(env_, a, b) : arithmetic(env_, e.op, a, b);
  }

  Value eval_attr(const Expr& e) {
    const Value object = eval(*e.args[0]);
    if (env_.failed()) return object;
    env_.set_line(e.line);
    if (object.is(Kind::kLoop)) return loop_attr(object, e.value);
    if (object.is(Kind::kMacro)) return macro_attr(object, e.value);
    return get_attr(env_, object, e.value);
  }

  Value eval_slice(const Expr& e) {
    Value v[4];
    for (size_t i = 0; i < 4 && !env_.failed(); ++i)
      if (e.args[i]) v[i] = eval(*e.args[i]);
    env_.set_line(e.line);
    return env_.failed() ? v[0] : slice(env_, v[0], v[1], v[2], v[3]);
  }

  Value eval_seq(const Expr& e) {
    std::vector<Value> v;
    v.reserve(e.args.size());
    for (const auto& a : e.args) v.push_back(eval(*a));
    return e.op == Op::kList ? env_.list(std::move(v)) : env_.tuple(std::move(v));
  }

  Value eval_dict(const Expr& e) {
    auto d = std::make_shared<Dict>();
    for (size_t i = 0; i < e.args.size() && !env_.failed(); i += 2) {
      Value key = eval(*e.args[i]), value = eval(*e.args[i + 1]);
      env_.set_line(e.line);
      if (!check_hashable(env_, key)) break;
      d->set(std::move(key), std::move(value));
    }
    return env_.dict(std::move(d));
  }

  Value eval_compare(const Expr& e) {
    Value left = eval(*e.args[0]);
    for (size_t i = 0; i < e.compare.size() && !env_.failed(); ++i) {
      Value right = eval(*e.args[i + 1]);
      env_.set_line(e.line);
      if (env_.failed() || !compare(env_, e.compare[i], left, right)) return Value::boolean(false);
      left = std::move(right);
    }
    return Value::boolean(true);
  }

  Value eval_concat(const Expr& e) {
    std::string s;
    for (const auto& a : e.args) {
      const Value v = eval(*a);
      if (env_.failed()) return v;
      s += v.str() ? v.s() : to_str(env_, v);
      if (s.size() > kMaxOutputBytes) break;
    }
    return env_.str(std::move(s));
  }

  Value eval_call(const Expr& e) {
    Args a;
    const Value first = e.args[0] ? eval(*e.args[0]) : block_text_;
    if (env_.failed() || !eval_args(e, a)) return first;
    env_.set_line(e.line);
    if (e.op == Op::kCall) return call(first, a);
    if (first.str()) env_.charge(first.weight() / 2);
    if (e.builtin) return e.builtin->fn(env_, first, a);
    return env_.fail(std::string(e.op == Op::kFilter ? "No filter" : "No test") + " named " + str_repr(e.name) +
                     " found.");
  }

  const Template& t_;
  Env& env_;
  std::vector<Value> context_;
  std::shared_ptr<Activation> frame_;
  std::string* out_ = nullptr;
  Value block_text_;  // of the filter block being finished
  uintptr_t stack_base_ = 0;
};

}  // namespace

Result<std::string> render(const Template& t, const nlohmann::ordered_json& vars, std::tm now) {
  Env env(now);
  std::string text = Interp(t, env).run(vars);
  if (env.failed()) return invalid(env.error());
  return text;
}

}  // namespace xylem::jinja
