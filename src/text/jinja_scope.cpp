#include "text/jinja_scope.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

#include "text/jinja_builtins.h"
#include "text/jinja_lexer.h"

namespace xylem::jinja {

namespace {

// The variables of one function: template body, macro, call block, recursive loop.
struct Slots {
  Slots* outer = nullptr;
  int slots = 0;
  std::map<std::pair<int, std::string>, int> named;  // scopes of equal level share a slot per name, as in Jinja

  int slot(int level, const std::string& name) {
    auto [it, added] = named.try_emplace({level, name}, slots);
    slots += added;
    return it->second;
  }
};

struct Load {
  enum From { kParam, kContext, kAlias, kNothing } from;
  std::string name;  // kContext
  VarRef outer;      // kAlias
};

struct Symbols {
  Symbols(Symbols* parent, Slots* fn, int level) : parent(parent), fn(fn), level(level) {}

  Symbols* parent;
  Slots* fn;
  int level;
  std::unordered_map<std::string, int> refs;
  std::map<int, Load> loads;  // by slot
  std::set<std::string> stores;

  std::optional<VarRef> find(const std::string& name, const Slots* from) const {
    for (const Symbols* s = this; s; s = s->parent) {
      auto it = s->refs.find(name);
      if (it == s->refs.end()) continue;
      int hops = 0;
      for (const Slots* f = from; f != s->fn; f = f->outer) ++hops;
      return VarRef{hops, it->second};
    }
    return std::nullopt;
  }
  int define(const std::string& name, Load load) {
    const int slot = fn->slot(level, name);
    refs[name] = slot;
    loads[slot] = std::move(load);
    return slot;
  }
  int param(const std::string& name) {
    stores.insert(name);
    return define(name, {Load::kParam});
  }
  void store(const std::string& name) {
    stores.insert(name);
    if (refs.count(name)) return;
    if (parent) {
      if (auto outer = parent->find(name, fn)) {
        define(name, {Load::kAlias, "", *outer});
        return;
      }
    }
    define(name, {Load::kNothing});
  }
  void load(const std::string& name) {
    if (!find(name, fn)) define(name, {Load::kContext, name});
  }
  void merge(const std::vector<Symbols>& branches) {
    std::set<std::string> fresh;
    for (const auto& b : branches)
      for (const auto& s : b.stores)
        if (!stores.count(s)) fresh.insert(s);
    for (const auto& b : branches) {
      refs.insert(b.refs.begin(), b.refs.end());
      for (const auto& [slot, load] : b.loads) loads[slot] = load;
      stores.insert(b.stores.begin(), b.stores.end());
    }
    for (const auto& name : fresh) {
      auto outer = parent ? parent->find(name, fn) : std::nullopt;
      loads[refs.at(name)] = outer ? Load{Load::kAlias, "", *outer} : Load{Load::kContext, name};
    }
  }
};

// First pass over one scope: who is read and written here, not inside nested scopes.
class Collect {
 public:
  explicit Collect(Symbols& s) : s_(&s) {}

  void block(const Block& b) {
    for (const auto& x : b) stmt(*x);
  }
  void target(const Expr& e, bool as_param) {
    if (e.op == Op::kTuple) {
      for (const auto& a : e.args) target(*a, as_param);
    } else if (e.op == Op::kNsAttr) {
      s_->load(e.name);
    } else if (as_param) {
      s_->param(e.name);
    } else {
      s_->store(e.name);
    }
  }
  void expr(const ExprPtr& e) {
    if (!e) return;
    if (e->op == Op::kName) s_->load(e->name);
    for (const auto& a : e->args) expr(a);
  }

 private:
  void stmt(const Stmt& x) {
    switch (x.kind) {
      case St::kIf:
        return branches(x);
      case St::kMacro:
        return s_->store(x.text);
      case St::kSetBlock:
        return target(*x.target, false);
      case St::kBlock:
        return;
      default:
        for (const auto& e : x.exprs) expr(e);
        if (x.kind == St::kSet) target(*x.target, false);
    }
  }
  void branches(const Stmt& x) {
    expr(x.exprs[0]);
    Symbols* own = s_;
    std::vector<Symbols> copies(2, *own);
    s_ = &copies[0];
    block(x.body);
    s_ = &copies[1];
    block(x.else_body);
    s_ = own;
    s_->merge(copies);
  }

  Symbols* s_;
};

// Names of the set that are read in a body, nested ones included.
class Reads {
 public:
  explicit Reads(std::set<std::string> names) : names_(std::move(names)) {}
  std::set<std::string> in(const Block& b) {
    block(b);
    return found_;
  }

 private:
  void block(const Block& b) {
    for (const auto& x : b) {
      if (x->target) target(*x->target);
      for (const auto& e : x->targets) target(*e);
      for (const auto& e : x->exprs) expr(e);
      expr(x->test);
      if (x->function)
        for (const auto& p : x->function->params) {
          names_.erase(p.name);
          expr(p.default_value);
        }
      block(x->body);
      block(x->else_body);
    }
  }
  void target(const Expr& e) {
    if (e.op == Op::kName) names_.erase(e.name);
    for (const auto& a : e.args) target(*a);
  }
  void expr(const ExprPtr& e) {
    if (!e) return;
    if (e->op == Op::kName && names_.count(e->name)) found_.insert(e->name);
    for (const auto& a : e->args) expr(a);
  }
  std::set<std::string> names_, found_;
};

// Second pass: writes slots into the tree, scope by scope.
class Resolver {
 public:
  explicit Resolver(Template& t) : t_(t) {}

  Status run() {
    Slots root;
    Symbols s(nullptr, &root, 0);
    Collect(s).block(t_.body);
    block(t_.body, s, false);
    t_.scope = scope_of(s);
    t_.slots = root.slots;
    if (error_) return *error_;
    return {};
  }

 private:
  void block(Block& b, Symbols& s, bool soft) {
    for (auto& x : b) stmt(*x, s, soft);
  }

  // soft: inside an if, where an unknown filter is an error only when it is reached.
  void stmt(Stmt& x, Symbols& s, bool soft) {
    switch (x.kind) {
      case St::kText:
      case St::kBreak:
      case St::kContinue:
        return;
      case St::kPrint:
      case St::kDo:
        return exprs(x, s, soft);
      case St::kSet:
        exprs(x, s, soft);
        return target(*x.target, s);
      case St::kSetBlock:
        inner(x, x.exprs, s);
        return target(*x.target, s);
      case St::kIf:
        expr(x.exprs[0], s, true);
        block(x.body, s, true);
        return block(x.else_body, s, true);
      case St::kFor:
        return for_loop(x, s, soft);
      case St::kMacro:
        x.var = ref(x.text, s);
        if (x.text == "loop" && loops_) fail(x.line, "cannot assign to the special variable 'loop' inside a loop");
        return function(x, s);
      case St::kCall:
        exprs(x, s, soft);
        return function(x, s);
      case St::kFilter:
        return inner(x, x.exprs, s);
      case St::kBlock: {
        std::vector<ExprPtr> none;
        return inner(x, none, s);
      }
      case St::kWith:
        return with(x, s, soft);
    }
  }

  void exprs(Stmt& x, Symbols& s, bool soft) {
    for (auto& e : x.exprs) expr(e, s, soft);
  }

  // A body with variables of its own; its filter, if any, is read there too.
  void inner(Stmt& x, std::vector<ExprPtr>& filters, Symbols& outer) {
    Symbols s(&outer, outer.fn, outer.level + 1);
    Collect c(s);
    for (const auto& f : filters) c.expr(f);
    c.block(x.body);
    for (auto& f : filters) expr(f, s, false);
    block(x.body, s, false);
    x.scope = scope_of(s);
  }

  void with(Stmt& x, Symbols& outer, bool soft) {
    exprs(x, outer, soft);
    Symbols s(&outer, outer.fn, outer.level + 1);
    Collect c(s);
    for (const auto& t : x.targets) c.target(*t, true);
    c.block(x.body);
    for (auto& t : x.targets) target(*t, s);
    block(x.body, s, false);
    x.scope = scope_of(s);
  }

  void for_loop(Stmt& x, Symbols& outer, bool soft) {
    expr(x.exprs[0], outer, soft);
    Slots own{outer.fn};
    Slots* fn = x.function ? &own : outer.fn;
    if (x.test) {
      // The condition has the loop's variables, but runs ahead of the body: slots of its own.
      Symbols s(&outer, fn, outer.level + 1 + kTestLevels);
      Collect c(s);
      c.target(*x.test_target, true);
      c.expr(x.test);
      target(*x.test_target, s);
      expr(x.test, s, false);
      x.test_scope = scope_of(s);
    }
    Symbols s(&outer, fn, outer.level + 1);
    x.loop_slot = s.param("loop");
    Collect c(s);
    c.target(*x.target, true);
    c.block(x.body);
    ++loops_;
    target(*x.target, s);
    block(x.body, s, false);
    --loops_;
    x.scope = scope_of(s);
    Symbols e(&outer, fn, outer.level + 1);
    Collect(e).block(x.else_body);
    block(x.else_body, e, false);
    x.else_scope = scope_of(e);
    if (x.function) x.function->slots = own.slots;
  }

  void function(Stmt& x, Symbols& outer) {
    Function& f = *x.function;
    Slots fn{outer.fn};
    Symbols s(&outer, &fn, outer.level + 1);
    std::set<std::string> special{"caller", "kwargs", "varargs"};
    const auto reads = Reads(special).in(x.body);
    for (auto& p : f.params) {
      p.slot = s.param(p.name);
      special.erase(p.name);
      if (p.name != "caller") continue;
      f.explicit_caller = true;
      if (!p.default_value && reads.count("caller")) fail(x.line, "the parameter 'caller' must have a default value");
    }
    auto declare = [&](const char* name) { return special.count(name) && reads.count(name) ? s.param(name) : -1; };
    f.caller_slot = declare("caller");
    f.kwargs_slot = declare("kwargs");
    f.varargs_slot = declare("varargs");
    Collect c(s);
    for (const auto& p : f.params) c.expr(p.default_value);
    c.block(x.body);
    for (auto& p : f.params) expr(p.default_value, s, false);
    const int loops = std::exchange(loops_, 0);
    block(x.body, s, false);
    loops_ = loops;
    x.scope = scope_of(s);
    f.slots = fn.slots;
  }

  void target(Expr& e, Symbols& s) {
    if (e.op != Op::kTuple) e.var = ref(e.name, s);
    if (e.op == Op::kName && e.name == "loop" && loops_)
      fail(e.line, "cannot assign to the special variable 'loop' inside a loop");
    for (auto& a : e.args) target(*a, s);
  }

  void expr(ExprPtr& p, Symbols& s, bool soft) {
    if (!p) return;
    Expr& e = *p;
    if (e.op == Op::kName) e.var = ref(e.name, s);
    if (e.op == Op::kFilter || e.op == Op::kTest) builtin(e, soft);
    for (auto& a : e.args) expr(a, s, soft || e.op == Op::kCond);
  }

  void builtin(Expr& e, bool soft) {
    const bool filter = e.op == Op::kFilter;
    e.builtin = filter ? find_filter(e.name) : find_test(e.name);
    if (e.builtin || soft) return;
    if (filter && is_omitted_filter(e.name)) return fail(e.line, "the filter '" + e.name + "' is not supported");
    fail(e.line, std::string(filter ? "no filter" : "no test") + " named '" + e.name + "'");
  }

  VarRef ref(const std::string& name, Symbols& s) {
    auto r = s.find(name, s.fn);
    CHECK(r.has_value(), name);
    return *r;
  }

  Scope scope_of(const Symbols& s) {
    Scope out;
    for (const auto& [slot, load] : s.loads) {
      Init i;
      i.slot = slot;
      out.slots.push_back(slot);
      if (load.from == Load::kParam) continue;
      if (load.from == Load::kContext) {
        i.from = Init::kContext;
        i.context = context(load.name);
      } else if (load.from == Load::kAlias) {
        i.from = Init::kOuter;
        i.outer = load.outer;
      }
      out.inits.push_back(i);
    }
    return out;
  }

  int context(const std::string& name) {
    auto [it, added] = context_.try_emplace(name, static_cast<int>(t_.context_names.size()));
    if (added) t_.context_names.push_back(name);
    return it->second;
  }

  void fail(int line, const std::string& text) {
    if (!error_) error_ = template_error(line, text);
  }

  static constexpr int kTestLevels = 1 << 20;  // apart from every level that occurs

  Template& t_;
  int loops_ = 0;
  std::unordered_map<std::string, int> context_;
  std::optional<Error> error_;
};

}  // namespace

Status resolve(Template& t) { return Resolver(t).run(); }

}  // namespace xylem::jinja
