#include "text/decoder.h"
#include "text/tokenizer_impl.h"

namespace xylem {

struct Detokenizer::Stream {
  DecoderStream decoder;
  bool skip_special;
};

Detokenizer::Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, std::span<const TokenId> prompt_tail,
                         bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)),
      stream_(std::make_unique<Stream>(DecoderStream(tokenizer_->impl_->decoder), skip_special_tokens)) {
  for (const TokenId id : prompt_tail) push(id);
  stream_->decoder.settle();
}

Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;
Detokenizer::~Detokenizer() = default;

std::string Detokenizer::push(TokenId id) {
  std::string text;
  if (const auto s = tokenizer_->impl_->spelling(id, stream_->skip_special)) stream_->decoder.push(*s, text);
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  stream_->decoder.finish(text);
  return text;
}

}  // namespace xylem
