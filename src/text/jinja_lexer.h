// Splits a template into tokens, with Jinja2's whitespace control (trim_blocks and lstrip_blocks on).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace xylem::jinja {

enum class Tok : uint8_t {
  kEof,
  kData,
  kBlockBegin,
  kBlockEnd,
  kVarBegin,
  kVarEnd,
  kName,
  kString,
  kInt,
  kFloat,
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kTilde,
  kLBracket,
  kRBracket,
  kLParen,
  kRParen,
  kLBrace,
  kRBrace,
  kEq,
  kNe,
  kGt,
  kGe,
  kLt,
  kLe,
  kAssign,
  kDot,
  kColon,
  kPipe,
  kComma,
  kSemicolon,
};

struct Token {
  Tok type = Tok::kEof;
  int line = 0;
  std::string text;  // data, name, string value, or the operator itself
  int64_t i = 0;
  double f = 0;
};

// The last token is kEof. Line breaks of any kind become \n; one at the very end is dropped, as Jinja does.
Result<std::vector<Token>> tokenize(const std::string& source);

Error template_error(int line, const std::string& text);

}  // namespace xylem::jinja
