#include "text/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "text/jinja_lexer.h"
#include "text/jinja_scope.h"

namespace xylem::jinja {

namespace {

constexpr size_t kMaxSourceBytes = 4u << 20;
constexpr int kMaxDepth = 150;       // of parentheses, blocks ...
constexpr uint32_t kMaxTree = 1000;  // levels of one expression, chains of operators included

const char* token_name(Tok t) {
  switch (t) {
    case Tok::kEof:
      return "end of template";
    case Tok::kData:
      return "template text";
    case Tok::kBlockBegin:
      return "{%";
    case Tok::kBlockEnd:
      return "%}";
    case Tok::kVarBegin:
      return "{{";
    case Tok::kVarEnd:
      return "}}";
    case Tok::kName:
      return "a name";
    case Tok::kRParen:
      return ")";
    case Tok::kRBracket:
      return "]";
    case Tok::kRBrace:
      return "}";
    case Tok::kLParen:
      return "(";
    case Tok::kAssign:
      return "=";
    case Tok::kComma:
      return ",";
    case Tok::kColon:
      return ":";
    default:
      return "another token";
  }
}

// After the first error the stream is at its end, so that every loop stops.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : toks_(std::move(tokens)) {}

  Result<std::shared_ptr<const Template>> run() {
    auto t = std::make_shared<Template>();
    t->body = statements({});
    if (error_) return *error_;
    TRY_VOID(resolve(*t));
    return std::shared_ptr<const Template>(std::move(t));
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  struct Nest {
    explicit Nest(Parser& p) : p(p) {
      if (++p.depth_ > kMaxDepth) p.fail("nested deeper than " + std::to_string(kMaxDepth) + " levels");
    }
    ~Nest() { --p.depth_; }
    Parser& p;
  };

  const Token& cur() const { return toks_[pos_]; }
  const Token& look() const { return toks_[std::min(pos_ + 1, toks_.size() - 1)]; }
  bool at(Tok t) const { return cur().type == t; }
  bool at_name(std::string_view s) const { return at(Tok::kName) && cur().text == s; }
  Token take() {
    Token t = cur();
    if (pos_ + 1 < toks_.size()) ++pos_;
    return t;
  }
  bool skip(Tok t) { return at(t) ? (take(), true) : false; }
  bool skip_name(std::string_view s) { return at_name(s) ? (take(), true) : false; }
  Token expect(Tok t) {
    if (!at(t)) fail(std::string("expected ") + token_name(t) + ", got " + shown(cur()));
    return take();
  }
  static std::string shown(const Token& t) {
    return t.text.empty() || t.type == Tok::kData ? token_name(t.type) : "'" + t.text.substr(0, 60) + "'";
  }
  void fail(const std::string& text, int line = 0) {
    if (!error_) error_ = template_error(line ? line : cur().line, text);
    pos_ = toks_.size() - 1;
  }

  ExprPtr node(Op op, int line, std::string name = "") {
    auto e = std::make_unique<Expr>();
    e->op = op;
    e->line = line;
    e->name = std::move(name);
    return e;
  }
  template <class... Es>
  ExprPtr node_of(Op op, int line, Es... args) {
    auto e = node(op, line);
    (e->args.push_back(std::move(args)), ...);
    measure(*e);
    return e;
  }
  // After the operands of e are complete.
  void measure(Expr& e) {
    for (const auto& a : e.args)
      if (a) e.depth = std::max(e.depth, a->depth + 1);
    if (e.depth > kMaxTree) fail("an expression nests deeper than " + std::to_string(kMaxTree) + " levels", e.line);
  }
  ExprPtr measured(ExprPtr e) {
    measure(*e);
    return e;
  }
  ExprPtr const_node(int line, Value v) {
    auto e = node(Op::kConst, line);
    e->value = std::move(v);
    return e;
  }
  static StmtPtr stmt(St kind, int line) {
    auto s = std::make_unique<Stmt>();
    s->kind = kind;
    s->line = line;
    return s;
  }

  // ---- statements

  // Up to a block that begins with one of ends (left current, "{%" consumed), or the end of the template.
  Block statements(Ends ends) {
    Nest nest(*this);
    Block out;
    while (!at(Tok::kEof)) {
      if (at(Tok::kData)) {
        auto s = stmt(St::kText, cur().line);
        s->text = take().text;
        out.push_back(std::move(s));
      } else if (skip(Tok::kVarBegin)) {
        auto s = stmt(St::kPrint, cur().line);
        s->exprs.push_back(tuple());
        expect(Tok::kVarEnd);
        out.push_back(std::move(s));
      } else {
        expect(Tok::kBlockBegin);
        for (auto end : ends)
          if (at_name(end)) return out;
        if (auto s = statement(ends)) out.push_back(std::move(s));
        expect(Tok::kBlockEnd);
      }
    }
    return out;
  }

  // The body of a block: its "%}", statements, and "{%" with one of ends current.
  Block body(std::string_view what, int line, Ends ends) {
    skip(Tok::kColon);
    expect(Tok::kBlockEnd);
    Block b = statements(ends);
    if (at(Tok::kEof))
      fail("the " + std::string(what) + " block is not closed: " + std::string(*(ends.end() - 1)) + " is missing",
           line);
    return b;
  }

  StmtPtr statement(Ends ends) {
    if (!at(Tok::kName)) {
      fail("tag name expected, got " + shown(cur()));
      return nullptr;
    }
    const Token tag = take();
    const int line = tag.line;
    if (tag.text == "set") return set(line);
    if (tag.text == "if") return if_block(line);
    if (tag.text == "for") return for_block(line);
    if (tag.text == "macro") return macro(line);
    if (tag.text == "call") return call_block(line);
    if (tag.text == "filter") return filter_block(line);
    if (tag.text == "with") return with(line);
    if (tag.text == "print") return print(line);
    if (tag.text == "do") {
      auto s = stmt(St::kDo, line);
      s->exprs.push_back(tuple());
      return s;
    }
    if (tag.text == "break" || tag.text == "continue") {
      if (!loops_) fail("'" + tag.text + "' outside a loop", line);
      return stmt(tag.text == "break" ? St::kBreak : St::kContinue, line);
    }
    if (tag.text == "generation") {  // marks the assistant's tokens in transformers; no text of its own
      auto s = stmt(St::kBlock, line);
      s->body = body("generation", line, {"endgeneration"});
      take();
      return s;
    }
    unknown_tag(tag, ends);
    return nullptr;
  }

  void unknown_tag(const Token& tag, Ends ends) {
    for (std::string_view known :
         {"extends", "include", "import", "from", "block", "autoescape", "trans", "pluralize", "debug"})
      if (tag.text == known) return fail("the tag '" + tag.text + "' is not supported", tag.line);
    std::string text = "unknown tag '" + tag.text + "'";
    for (auto end : ends) text += (end == *ends.begin() ? "; expected " : " or ") + std::string(end);
    fail(text, tag.line);
  }

  StmtPtr set(int line) {
    ExprPtr target = assign_target(true, "");
    auto s = stmt(skip(Tok::kAssign) ? St::kSet : St::kSetBlock, line);
    s->target = std::move(target);
    if (s->kind == St::kSet) {
      s->exprs.push_back(tuple());
      return s;
    }
    if (at(Tok::kPipe)) s->exprs.push_back(filter(nullptr, false));
    s->body = body("set", line, {"endset"});
    take();
    return s;
  }

  StmtPtr if_block(int line) {
    auto s = stmt(St::kIf, line);
    s->exprs.push_back(tuple(false));
    s->body = body("if", line, {"elif", "else", "endif"});
    const Token next = take();
    if (next.text == "elif") {
      Nest nest(*this);
      // A long chain of elif must not become a deep tree: see kMaxDepth.
      s->else_body.push_back(if_block(next.line));
    } else if (next.text == "else") {
      s->else_body = body("if", line, {"endif"});
      take();
    }
    return s;
  }

  StmtPtr for_block(int line) {
    auto s = stmt(St::kFor, line);
    const size_t target_at = pos_;
    s->target = assign_target(false, "in");
    if (!skip_name("in")) fail("expected 'in' after the loop's variables, got " + shown(cur()));
    s->exprs.push_back(tuple(false, "recursive"));
    if (skip_name("if")) {
      s->test = expression();
      const size_t here = pos_;
      pos_ = target_at;
      s->test_target = assign_target(false, "in");
      pos_ = error_ ? toks_.size() - 1 : here;
    }
    if (skip_name("recursive")) s->function = std::make_unique<Function>();
    ++loops_;
    s->body = body("for", line, {"else", "endfor"});
    --loops_;
    if (take().text == "else") {
      s->else_body = body("for", line, {"endfor"});
      take();
    }
    return s;
  }

  void signature(Function& f) {
    expect(Tok::kLParen);
    while (!at(Tok::kRParen) && !at(Tok::kEof)) {
      if (!f.params.empty()) expect(Tok::kComma);
      Param p;
      p.name = name_target();
      if (skip(Tok::kAssign))
        p.default_value = expression();
      else if (!f.params.empty() && f.params.back().default_value)
        fail("non-default argument follows default argument");
      f.params.push_back(std::move(p));
    }
    expect(Tok::kRParen);
  }

  Block function_body(std::string_view what, int line, Ends ends) {
    const int loops = std::exchange(loops_, 0);
    Block b = body(what, line, ends);
    loops_ = loops;
    take();
    return b;
  }

  StmtPtr macro(int line) {
    auto s = stmt(St::kMacro, line);
    s->function = std::make_unique<Function>();
    s->function->name = s->text = name_target();
    signature(*s->function);
    s->body = function_body("macro", line, {"endmacro"});
    return s;
  }

  StmtPtr call_block(int line) {
    auto s = stmt(St::kCall, line);
    s->function = std::make_unique<Function>();
    s->function->name = "caller";
    if (at(Tok::kLParen)) signature(*s->function);
    s->exprs.push_back(expression());
    if (!error_ && s->exprs[0]->op != Op::kCall) fail("expected a call", line);
    s->body = function_body("call", line, {"endcall"});
    return s;
  }

  StmtPtr filter_block(int line) {
    auto s = stmt(St::kFilter, line);
    s->exprs.push_back(filter(nullptr, true));
    s->body = body("filter", line, {"endfilter"});
    take();
    return s;
  }

  StmtPtr with(int line) {
    auto s = stmt(St::kWith, line);
    while (!at(Tok::kBlockEnd) && !at(Tok::kEof)) {
      if (!s->targets.empty()) expect(Tok::kComma);
      s->targets.push_back(assign_target(false, ""));
      expect(Tok::kAssign);
      s->exprs.push_back(expression());
    }
    s->body = body("with", line, {"endwith"});
    take();
    return s;
  }

  StmtPtr print(int line) {
    auto s = stmt(St::kPrint, line);
    while (!at(Tok::kBlockEnd) && !at(Tok::kEof)) {
      if (!s->exprs.empty()) expect(Tok::kComma);
      s->exprs.push_back(expression());
    }
    return s;
  }

  // ---- assignment targets

  static bool is_constant_name(std::string_view s) {
    return s == "true" || s == "false" || s == "none" || s == "True" || s == "False" || s == "None";
  }

  std::string name_target() {
    const Token t = expect(Tok::kName);
    if (is_constant_name(t.text)) fail("cannot assign to '" + t.text + "'", t.line);
    return t.text;
  }

  ExprPtr assign_target(bool with_namespace, std::string_view end) {
    const int line = cur().line;
    std::vector<ExprPtr> items;
    bool is_tuple = false;
    while (items.empty() || skip(Tok::kComma)) {
      if (!items.empty()) is_tuple = true;
      if (at(Tok::kBlockEnd) || at(Tok::kRParen) || (!end.empty() && at_name(end))) break;
      items.push_back(single_target(with_namespace));
      if (error_) break;
    }
    if (items.empty()) fail("expected a variable to assign to");
    if (!is_tuple && !items.empty()) return std::move(items[0]);
    auto e = node(Op::kTuple, line);
    e->args = std::move(items);
    return measured(std::move(e));
  }

  ExprPtr single_target(bool with_namespace) {
    Nest nest(*this);
    const int line = cur().line;
    if (skip(Tok::kLParen)) {
      auto e = assign_target(with_namespace, "");
      expect(Tok::kRParen);
      return e;
    }
    if (!at(Tok::kName)) fail("cannot assign to " + shown(cur()));
    auto e = node(Op::kName, line, name_target());
    if (with_namespace && skip(Tok::kDot)) {
      e->op = Op::kNsAttr;
      e->value = constant(expect(Tok::kName).text);
    }
    return e;
  }

  // ---- expressions, loosest binding first

  ExprPtr expression(bool with_cond = true) {
    Nest nest(*this);
    return with_cond ? cond() : or_expr();
  }

  ExprPtr tuple(bool with_cond = true, std::string_view end = "", bool parenthesised = false) {
    const int line = cur().line;
    std::vector<ExprPtr> items;
    bool is_tuple = false;
    while (true) {
      if (!items.empty()) expect(Tok::kComma);
      if (at(Tok::kVarEnd) || at(Tok::kBlockEnd) || at(Tok::kRParen) || at(Tok::kEof) || (!end.empty() && at_name(end)))
        break;
      items.push_back(expression(with_cond));
      if (!at(Tok::kComma)) break;
      is_tuple = true;
    }
    if (!is_tuple && !items.empty()) return std::move(items[0]);
    if (items.empty() && !parenthesised) fail("expected an expression, got " + shown(cur()));
    auto e = node(Op::kTuple, line);
    e->args = std::move(items);
    return measured(std::move(e));
  }

  ExprPtr cond() {
    const int line = cur().line;
    ExprPtr e = or_expr();
    while (skip_name("if")) {
      ExprPtr test = or_expr();
      e = node_of(Op::kCond, line, std::move(e), std::move(test));
      if (skip_name("else")) {
        Nest nest(*this);
        e->args.push_back(cond());
        measure(*e);
      }
    }
    return e;
  }

  ExprPtr or_expr() {
    const int line = cur().line;
    ExprPtr e = and_expr();
    while (skip_name("or")) e = node_of(Op::kOr, line, std::move(e), and_expr());
    return e;
  }

  ExprPtr and_expr() {
    const int line = cur().line;
    ExprPtr e = not_expr();
    while (skip_name("and")) e = node_of(Op::kAnd, line, std::move(e), not_expr());
    return e;
  }

  ExprPtr not_expr() {
    const int line = cur().line;
    if (!skip_name("not")) return compare();
    Nest nest(*this);
    return node_of(Op::kNot, line, not_expr());
  }

  std::optional<Cmp> compare_op() {
    std::optional<Cmp> op;
    switch (cur().type) {
      case Tok::kEq:
        op = Cmp::kEq;
        break;
      case Tok::kNe:
        op = Cmp::kNe;
        break;
      case Tok::kLt:
        op = Cmp::kLt;
        break;
      case Tok::kLe:
        op = Cmp::kLe;
        break;
      case Tok::kGt:
        op = Cmp::kGt;
        break;
      case Tok::kGe:
        op = Cmp::kGe;
        break;
      default:
        break;
    }
    if (at_name("in")) op = Cmp::kIn;
    if (at_name("not") && look().type == Tok::kName && look().text == "in") {
      op = Cmp::kNotIn;
      take();
    }
    if (op) take();
    return op;
  }

  ExprPtr compare() {
    const int line = cur().line;
    ExprPtr e = sum();
    ExprPtr all;
    while (auto op = compare_op()) {
      if (!all) all = node_of(Op::kCompare, line, std::move(e));
      all->compare.push_back(*op);
      all->args.push_back(sum());
    }
    return all ? measured(std::move(all)) : std::move(e);
  }

  ExprPtr sum() {
    const int line = cur().line;
    ExprPtr e = concat();
    while ((at(Tok::kAdd) || at(Tok::kSub))) {
      const Op op = take().type == Tok::kAdd ? Op::kAdd : Op::kSub;
      e = node_of(op, line, std::move(e), concat());
    }
    return e;
  }

  ExprPtr concat() {
    const int line = cur().line;
    ExprPtr e = product();
    if (!at(Tok::kTilde)) return e;
    e = node_of(Op::kConcat, line, std::move(e));
    while (skip(Tok::kTilde)) e->args.push_back(product());
    return measured(std::move(e));
  }

  ExprPtr product() {
    const int line = cur().line;
    ExprPtr e = power();
    while (true) {
      Op op;
      switch (cur().type) {
        case Tok::kMul:
          op = Op::kMul;
          break;
        case Tok::kDiv:
          op = Op::kDiv;
          break;
        case Tok::kFloorDiv:
          op = Op::kFloorDiv;
          break;
        case Tok::kMod:
          op = Op::kMod;
          break;
        default:
          return e;
      }
      take();
      e = node_of(op, line, std::move(e), power());
    }
  }

  ExprPtr power() {
    const int line = cur().line;
    ExprPtr e = unary(true);
    while (at(Tok::kPow)) {
      take();
      e = node_of(Op::kPow, line, std::move(e), unary(true));
    }
    return e;
  }

  ExprPtr unary(bool with_filter) {
    const int line = cur().line;
    ExprPtr e;
    if (at(Tok::kSub) || at(Tok::kAdd)) {
      Nest nest(*this);
      const Op op = take().type == Tok::kSub ? Op::kNeg : Op::kPos;
      e = node_of(op, line, unary(false));
    } else {
      e = primary();
    }
    e = postfix(std::move(e));
    return with_filter ? filters(std::move(e)) : std::move(e);
  }

  ExprPtr primary() {
    const Token t = cur();
    switch (t.type) {
      case Tok::kName:
        take();
        if (t.text == "true" || t.text == "True") return const_node(t.line, Value::boolean(true));
        if (t.text == "false" || t.text == "False") return const_node(t.line, Value::boolean(false));
        if (t.text == "none" || t.text == "None") return const_node(t.line, Value::none());
        return node(Op::kName, t.line, t.text);
      case Tok::kString: {
        std::string s;
        while (at(Tok::kString)) s += take().text;
        return const_node(t.line, constant(std::move(s)));
      }
      case Tok::kInt:
        take();
        return const_node(t.line, Value::integer(t.i));
      case Tok::kFloat:
        take();
        return const_node(t.line, Value::real(t.f));
      case Tok::kLParen: {
        take();
        ExprPtr e = tuple(true, "", true);
        expect(Tok::kRParen);
        return e;
      }
      case Tok::kLBracket:
        return list();
      case Tok::kLBrace:
        return dict();
      default:
        fail("unexpected " + shown(t));
        return const_node(t.line, Value::none());
    }
  }

  ExprPtr list() {
    auto e = node(Op::kList, take().line);
    while (!at(Tok::kRBracket) && !at(Tok::kEof)) {
      if (!e->args.empty()) expect(Tok::kComma);
      if (at(Tok::kRBracket)) break;
      e->args.push_back(expression());
    }
    expect(Tok::kRBracket);
    return measured(std::move(e));
  }

  ExprPtr dict() {
    auto e = node(Op::kDict, take().line);
    while (!at(Tok::kRBrace) && !at(Tok::kEof)) {
      if (!e->args.empty()) expect(Tok::kComma);
      if (at(Tok::kRBrace)) break;
      e->args.push_back(expression());
      expect(Tok::kColon);
      e->args.push_back(expression());
    }
    expect(Tok::kRBrace);
    return measured(std::move(e));
  }

  ExprPtr postfix(ExprPtr e) {
    while ((at(Tok::kDot) || at(Tok::kLBracket) || at(Tok::kLParen))) {
      if (at(Tok::kLParen))
        e = call(std::move(e));
      else
        e = subscript(std::move(e));
    }
    return e;
  }

  ExprPtr filters(ExprPtr e) {
    while ((at(Tok::kPipe) || at_name("is") || at(Tok::kLParen))) {
      if (at(Tok::kPipe))
        e = filter(std::move(e), false);
      else if (at(Tok::kLParen))
        e = call(std::move(e));
      else
        e = test(std::move(e));
    }
    return e;
  }

  ExprPtr subscript(ExprPtr object) {
    const Token open = take();
    if (open.type == Tok::kDot) {
      const Token attr = take();
      if (attr.type == Tok::kInt)
        return node_of(Op::kItem, open.line, std::move(object), const_node(attr.line, Value::integer(attr.i)));
      if (attr.type != Tok::kName) fail("expected a name or a number after '.'", attr.line);
      auto e = node_of(Op::kAttr, open.line, std::move(object));
      e->value = constant(attr.text);
      return e;
    }
    auto e = subscribed(std::move(object), open.line);
    expect(Tok::kRBracket);
    return e;
  }

  // What stands between brackets: one key, a tuple of keys, or a slice.
  ExprPtr subscribed(ExprPtr object, int line) {
    ExprPtr start;
    if (!at(Tok::kColon)) start = expression();
    if (!at(Tok::kColon)) {
      if (!at(Tok::kComma)) return node_of(Op::kItem, line, std::move(object), std::move(start));
      auto keys = node_of(Op::kTuple, line, std::move(start));
      while (skip(Tok::kComma)) keys->args.push_back(expression());
      measure(*keys);
      return node_of(Op::kItem, line, std::move(object), std::move(keys));
    }
    take();
    auto part = [&]() -> ExprPtr { return at(Tok::kColon) || at(Tok::kRBracket) ? nullptr : expression(); };
    ExprPtr stop = part();
    ExprPtr step = skip(Tok::kColon) ? part() : nullptr;
    return node_of(Op::kSlice, line, std::move(object), std::move(start), std::move(stop), std::move(step));
  }

  // Appends the arguments of a call to e.
  void call_args(Expr& e) {
    expect(Tok::kLParen);
    std::vector<ExprPtr> kw;
    ExprPtr star, star_star;
    bool first = true;
    while (!at(Tok::kRParen) && !at(Tok::kEof)) {
      if (!std::exchange(first, false)) {
        expect(Tok::kComma);
        if (at(Tok::kRParen)) break;
      }
      if (at(Tok::kMul) && !star && !star_star) {
        take();
        star = expression();
      } else if (at(Tok::kPow) && !star_star) {
        take();
        star_star = expression();
      } else if (at(Tok::kName) && look().type == Tok::kAssign && !star_star) {
        e.kwargs.push_back(take().text);
        for (size_t i = 0; i + 1 < e.kwargs.size(); ++i)
          if (e.kwargs[i] == e.kwargs.back()) fail("the keyword argument '" + e.kwargs.back() + "' is repeated");
        take();
        kw.push_back(expression());
      } else if (!star && !star_star && kw.empty()) {
        e.args.push_back(expression());
      } else {
        fail("a positional argument follows a keyword or * argument");
      }
    }
    expect(Tok::kRParen);
    for (auto& x : kw) e.args.push_back(std::move(x));
    e.star = star != nullptr;
    e.star_star = star_star != nullptr;
    if (star) e.args.push_back(std::move(star));
    if (star_star) e.args.push_back(std::move(star_star));
    measure(e);
  }

  ExprPtr call(ExprPtr callee) {
    auto e = node_of(Op::kCall, cur().line, std::move(callee));
    call_args(*e);
    return e;
  }

  std::string dotted_name() {
    std::string name = expect(Tok::kName).text;
    while (skip(Tok::kDot)) name += "." + expect(Tok::kName).text;
    return name;
  }

  // One or more filters; bare: the first has no "|".
  ExprPtr filter(ExprPtr input, bool bare) {
    ExprPtr e = std::move(input);
    for (; bare || at(Tok::kPipe); bare = false) {
      if (!bare) take();
      const int line = cur().line;
      auto f = node(Op::kFilter, line, dotted_name());
      f->args.push_back(std::move(e));
      if (at(Tok::kLParen)) call_args(*f);
      e = measured(std::move(f));
    }
    return e;
  }

  ExprPtr test(ExprPtr subject) {
    const int line = take().line;
    const bool negated = skip_name("not");
    auto e = node(Op::kTest, line, dotted_name());
    e->args.push_back(std::move(subject));
    if (at(Tok::kLParen)) {
      call_args(*e);
    } else if (at(Tok::kString) || at(Tok::kInt) || at(Tok::kFloat) || at(Tok::kLBracket) || at(Tok::kLBrace) ||
               (at(Tok::kName) && !at_name("else") && !at_name("or") && !at_name("and"))) {
      if (at_name("is")) fail("tests cannot be chained with 'is'");
      e->args.push_back(postfix(primary()));
    }
    measure(*e);
    return negated ? node_of(Op::kNot, line, std::move(e)) : std::move(e);
  }

  std::vector<Token> toks_;
  size_t pos_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<std::shared_ptr<const Template>> parse_template(const std::string& source) {
  if (source.size() > kMaxSourceBytes)
    return invalid("the chat template is larger than " + std::to_string(kMaxSourceBytes >> 20) + " MiB");
  TRY(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace xylem::jinja
