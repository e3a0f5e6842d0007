// Hugging Face runs tokenizer patterns with Oniguruma in its Ruby syntax; this rewrites a pattern so that PCRE2 (UTF,
// UCP, MULTILINE) matches the same: \s and \w as Unicode defines them, nested and intersected character classes, \h,
// (?m:),
// {,n}, and '+' after an interval, which repeats it instead of making it possessive.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace xylem {

Result<std::string> onig_to_pcre2(std::string_view pattern);

}  // namespace xylem
