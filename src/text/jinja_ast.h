// A parsed template. Immutable after parsing; names are resolved to slots (jinja_scope.h).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "text/jinja_value.h"

namespace xylem::jinja {

// A variable: slot of the function `hops` levels out from the one running.
struct VarRef {
  int hops = 0;
  int slot = -1;
};

enum class Op : uint8_t {
  kConst,
  kName,
  kTuple,
  kList,
  kDict,  // dict: key, value, key, value ...
  kNot,
  kNeg,
  kPos,
  kAnd,
  kOr,
  kConcat,
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kCompare,  // args: first operand, then one per entry of compare
  kCond,     // value, condition, [else]
  kAttr,
  kItem,
  kSlice,  // slice: object, start, stop, step (each may be null)
  kCall,
  kFilter,
  kTest,    // args[0]: callee or input (null: the text of the block)
  kNsAttr,  // assignment target name.attr
};

enum class Cmp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  Op op;
  int line;
  uint32_t depth = 1;  // of the tree
  std::string name;    // variable, attribute, filter or test
  Value value;         // the constant; the name of an attribute as a string
  VarRef var;
  std::vector<ExprPtr> args;  // calls: callee, positional, then one per kwargs, [*args], [**kwargs]
  std::vector<std::string> kwargs;
  bool star = false, star_star = false;
  std::vector<Cmp> compare;
  const Builtin* builtin = nullptr;  // of a filter or a test; null: unknown, an error when reached
};

// How a variable gets its first value when its scope is entered.
struct Init {
  enum From { kNothing, kContext, kOuter } from = kNothing;
  int slot = -1;
  int context = -1;  // index into Template::context_names
  VarRef outer;
};

struct Scope {
  std::vector<Init> inits;
  std::vector<int> slots;  // all of them: emptied when the scope is left
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

struct Param {
  std::string name;
  int slot = -1;
  ExprPtr default_value;  // null: none
};

// A macro, the body of a call block or of a recursive loop: has variables of its own.
struct Function {
  std::string name;
  std::vector<Param> params;
  int caller_slot = -1, kwargs_slot = -1, varargs_slot = -1;  // the special names its body reads; -1: none
  bool explicit_caller = false;
  int slots = 0;
};

enum class St : uint8_t {
  kText,
  kPrint,
  kSet,
  kSetBlock,
  kIf,
  kFor,
  kMacro,
  kCall,
  kFilter,
  kWith,
  kBlock,
  kDo,
  kBreak,
  kContinue
};

struct Stmt {
  St kind;
  int line;
  std::string text;
  ExprPtr target;                // set, for
  ExprPtr test_target;           // for with a condition: the target in the condition's own scope
  std::vector<ExprPtr> targets;  // with
  std::vector<ExprPtr> exprs;  // print: items; set: value; if: condition; for: iterable; with: values; call, do, filter
  ExprPtr test;                // for ... if
  Block body, else_body;       // an elif is an if in else_body
  Scope scope, else_scope, test_scope;
  VarRef var;  // macro: its name
  int loop_slot = -1;
  std::unique_ptr<Function> function;  // macro, call, recursive for
};

struct Template {
  Block body;
  Scope scope;
  int slots = 0;
  std::vector<std::string> context_names;  // every name that may come from outside
};

}  // namespace xylem::jinja
