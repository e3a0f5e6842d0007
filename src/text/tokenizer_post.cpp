#include "text/tokenizer_post.h"

#include "text/tokenizer_vocabulary.h"

namespace xylem {
namespace {

using namespace tokenizer_json;
constexpr std::string_view kWhere = "post_processor";

Result<std::vector<TokenId>> special_ids(Json processor, const std::string& name) {
  const auto missing = [&] {
    return invalid("tokenizer.json: post_processor.special_tokens has no ids for '" + name + "'.");
  };
  const Member tokens = member(processor, "special_tokens");
  if (!tokens.set) return missing();
  const Member token = member(tokens.value, name);
  if (!token.set) return missing();
  TRY(const auto ids, array_of(token.value, "ids", "post_processor.special_tokens"));
  std::vector<TokenId> out;
  for (const Json element : ids) {
    int64_t id = 0;
    if (element.get_int64().get(id) != simdjson::SUCCESS || id < 0 || id > kMaxTokenId) return missing();
    out.push_back(static_cast<TokenId>(id));
  }
  return out;
}

}  // namespace

Result<PostProcessor> PostProcessor::parse(Json json) {
  PostProcessor p;
  TRY_VOID(
      for_each_step(json, "processors", kWhere, [&](Json step, const std::string& type) { return p.add(step, type); }));
  return p;
}

Status PostProcessor::add(Json json, const std::string& type) {
  if (type == "ByteLevel") return {};  // changes offsets only
  if (type != "TemplateProcessing") {
    return unsupported("tokenizer.json: the post_processor '" + type + "' is not supported.");
  }
  Template items;
  TRY(const auto single, array_of(json, "single", kWhere));
  for (const Json piece : single) {
    const Member sequence = member(piece, "Sequence"), special = member(piece, "SpecialToken");
    Item item;
    if (sequence.set) {
      item.text = true;
    } else if (special.set) {
      TRY(const std::string name, string_of(special.value, "id", "post_processor.single"));
      TRY(item.special, special_ids(json, name));
    } else {
      return invalid("tokenizer.json: post_processor.single must hold Sequence and SpecialToken.");
    }
    items.push_back(std::move(item));
  }
  templates_.push_back(std::move(items));
  return {};
}

std::vector<TokenId> PostProcessor::apply(std::vector<TokenId> ids, bool add_special_tokens) const {
  for (const Template& items : templates_) {
    std::vector<TokenId> out;
    out.reserve(ids.size() + items.size());
    for (const Item& item : items) {
      if (item.text)
        out.insert(out.end(), ids.begin(), ids.end());
      else if (add_special_tokens)
        out.insert(out.end(), item.special.begin(), item.special.end());
    }
    ids = std::move(out);
  }
  return ids;
}

}  // namespace xylem
