#include "text/tokenizer.h"

#include "text/tokenizer_file.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace xylem {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

// Encodes one text: what of the working memory lives for one call.
class Encoder {
 public:
  explicit Encoder(const Tokenizer::Impl& t) : t_(t) {}

  Result<std::vector<TokenId>> run(std::string_view text) {
    t_.added.split(text, /*normalized=*/false, parts_);
    for (const auto& part : parts_) {
      if (part.id >= 0) {
        ids_.push_back(part.id);
      } else {
        TRY_VOID(stretch(text.substr(part.range.begin, part.range.size()), part.range.begin == 0));
      }
    }
    return std::move(ids_);
  }

 private:
  // Text between added tokens of the raw kind.
  Status stretch(std::string_view text, bool at_start) {
    if (!t_.normalizer.empty()) {
      normalized_.assign(text);
      TRY_VOID(t_.normalizer.apply(normalized_, scratch_));
      text = normalized_;
    }
    t_.added.split(text, /*normalized=*/true, normalized_parts_);
    for (const auto& part : normalized_parts_) {
      if (part.id >= 0) {
        ids_.push_back(part.id);
        continue;
      }
      pieces_.reset(text.substr(part.range.begin, part.range.size()), at_start && part.range.begin == 0);
      TRY_VOID(t_.pre_tokenizer.run(pieces_, scratch_));
      for (size_t i = 0; i < pieces_.pieces.size(); ++i) {
        TRY_VOID(t_.bpe.encode(pieces_[i], !t_.pre_tokenizer.gives_bytes(), bpe_scratch_, ids_));
      }
    }
    return {};
  }

  const Tokenizer::Impl& t_;
  std::vector<TokenId> ids_;
  std::vector<AddedTokens::Part> parts_, normalized_parts_;
  std::string normalized_;
  PieceList pieces_;
  PatternScratch scratch_;
  BpeScratch bpe_scratch_;
};

Result<std::unique_ptr<Tokenizer::Impl>> parse_json(const simdjson::padded_string& json) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (const auto e = parser.parse(json).get(root); e != simdjson::SUCCESS) {
    return invalid(std::string("tokenizer.json is not valid JSON: ") + simdjson::error_message(e) + ".");
  }
  return Tokenizer::Impl::parse(root);
}

}  // namespace

Result<std::unique_ptr<Tokenizer::Impl>> Tokenizer::Impl::parse(tokenizer_json::Json root) {
  using tokenizer_json::member;
  auto impl = std::make_unique<Impl>();
  TRY(const std::string version, tokenizer_json::string_or(root, "version", "tokenizer", "1.0"));
  if (version != "1.0") return unsupported("tokenizer.json has version '" + version + "'; only 1.0 is known.");
  const auto model = member(root, "model");
  if (!model.set) return invalid("tokenizer.json has no model.");
  TRY(impl->bpe, Bpe::parse(model.value));
  if (const auto m = member(root, "normalizer"); m.set) {
    TRY(impl->normalizer, Normalizer::parse(m.value));
  }
  if (const auto m = member(root, "pre_tokenizer"); m.set) {
    TRY(impl->pre_tokenizer, PreTokenizer::parse(m.value));
  }
  if (const auto m = member(root, "post_processor"); m.set) {
    TRY(impl->post_processor, PostProcessor::parse(m.value));
  }
  if (const auto m = member(root, "decoder"); m.set) {
    TRY(impl->decoder, Decoder::parse(m.value));
  }
  if (const auto m = member(root, "added_tokens"); m.set) {
    TRY(impl->added, AddedTokens::parse(m.value, impl->bpe.vocabulary(), impl->normalizer));
  }
  return impl;
}

std::optional<std::string_view> Tokenizer::Impl::spelling(TokenId id, bool skip_special_tokens) const {
  std::string_view s;
  if (const AddedToken* token = added.find(id)) {
    s = token->spelling;
  } else if (bpe.vocabulary().contains(id)) {
    s = bpe.vocabulary().spelling(id);
  } else {
    return std::nullopt;
  }
  if (skip_special_tokens && added.skips(s)) return std::nullopt;
  return s;
}

Tokenizer::Tokenizer() = default;
Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const std::string& folder) {
  TRY(const simdjson::padded_string json, read_tokenizer_json(folder));
  auto tokenizer = std::shared_ptr<Tokenizer>(new Tokenizer);
  TRY(tokenizer->impl_, parse_json(json));
  TRY(tokenizer->impl_->roles, read_token_roles(folder));
  return std::shared_ptr<const Tokenizer>(tokenizer);
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::parse(std::string_view json) {
  auto tokenizer = std::shared_ptr<Tokenizer>(new Tokenizer);
  TRY(tokenizer->impl_, parse_json(simdjson::padded_string(json)));
  return std::shared_ptr<const Tokenizer>(tokenizer);
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  if (text.size() > kMaxTextBytes) return invalid("The text is longer than 1 GiB.");
  if (!utf8::valid(text)) return invalid("The text is not valid UTF-8.");
  TRY(std::vector<TokenId> ids, Encoder(*impl_).run(text));
  return impl_->post_processor.apply(std::move(ids), add_special_tokens);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::string text;
  DecoderStream stream(impl_->decoder);
  for (const TokenId id : ids) {
    if (const auto s = impl_->spelling(id, skip_special_tokens)) stream.push(*s, text);
  }
  stream.finish(text);
  return text;
}

int64_t Tokenizer::vocab_size() const { return std::max(impl_->bpe.vocabulary().end_id(), impl_->added.end_id()); }

bool Tokenizer::is_special(TokenId id) const {
  const AddedToken* token = impl_->added.find(id);
  return token && token->special;
}

std::string Tokenizer::token(TokenId id) const {
  if (const AddedToken* token = impl_->added.find(id)) return token->content;
  return std::string(impl_->bpe.vocabulary().spelling(id));
}

std::optional<TokenId> Tokenizer::id(std::string_view token) const {
  if (const auto id = impl_->added.find(token)) return id;
  return impl_->bpe.vocabulary().find(token);
}

std::string Tokenizer::role(std::string_view name) const {
  const auto it = impl_->roles.find(name);
  return it == impl_->roles.end() ? std::string() : it->second;
}

}  // namespace xylem
